"""Examples as token ids on disk: made once per (rows, task, tokenizer), memory-mapped ever after.

A table is a folder named by a hash of what decides its content. It holds, for inputs and for targets, all ids laid end
to end and the offsets between examples, so that any example and any length is one look-up and memory stays flat.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal, final

import numpy as np
from numpy.typing import NDArray

from textfer.batch import Example, Int32
from textfer.data.digest import cache_dir
from textfer.data.source import Rows, open_rows
from textfer.data.task import Task
from textfer.errors import CheckpointError, DataError
from textfer.tokenizers import Tokenizer

FORMAT = 1
SIDES = ("inputs", "targets")
CHUNK_EXAMPLES = 2048
MAX_SKIPPED_KEPT = 1000
OnBad = Literal["stop", "skip"]


def examples_of(
    task: Task,
    rows: Rows,
    *,
    start: int = 0,
    stop: int | None = None,
    on_bad: OnBad = "stop",
    skipped: list[str] | None = None,
) -> Iterator[tuple[int, Example]]:
    """(row index, example) pairs of rows `start:stop`. A bad row stops the run, or is noted in `skipped`."""
    for index, row in rows.read(start, len(rows) if stop is None else stop):
        origin = f"{task.name}/{rows.origin(index)}"
        try:
            yield from ((index, example) for example in task.to_examples(row, origin))
        except DataError as error:
            if on_bad == "stop":
                raise
            if skipped is not None:
                skipped.append(str(error))


@final
@dataclass(frozen=True, slots=True)
class TokenTable:
    """One task's split in ids, memory-mapped. `ids[side]` [all tokens], `offsets[side]` [num_examples + 1]."""

    path: Path
    name: str
    """For messages and random addresses: `"squad/train"`."""
    ids: dict[str, NDArray[Any]]
    offsets: dict[str, NDArray[np.int64]]
    rows: NDArray[np.int64]
    """[num_examples] the source row of each example."""
    meta: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def get(self, side: str, index: int) -> Int32:
        """Ids of one side of one example, without end mark."""
        offsets = self.offsets[side]
        return self.ids[side][offsets[index] : offsets[index + 1]].astype(np.int32)

    def lens(self, side: str) -> NDArray[np.int64]:
        """[num_examples] tokens of that side, end mark not counted."""
        return np.diff(self.offsets[side])

    def num_tokens(self, side: str = "targets") -> int:
        """All tokens of one side."""
        return int(self.offsets[side][-1])

    def joined(self, start: int, stop: int, *, eos: int | None) -> Int32:
        """Tokens `start:stop` of all targets laid end to end, each followed by `eos` unless that is None."""
        offsets = self.offsets["targets"]
        if eos is None:
            return self.ids["targets"][start:stop].astype(np.int32)
        first = bisect_right(range(len(offsets)), start, key=lambda n: int(offsets[n]) + n) - 1
        pieces: list[Int32] = []
        at = int(offsets[first]) + first
        for document in range(first, len(self)):
            if at >= stop:
                break
            whole = np.append(self.get("targets", document), np.int32(eos))
            pieces.append(whole[max(0, start - at) : stop - at])
            at += len(whole)
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int32)

    def origin(self, index: int) -> str:
        """Where example `index` comes from: `"squad/train:17"` (row, counted from 0)."""
        return f"{self.name}:{self.rows[index]}"


def open_table(path: Path) -> TokenTable:
    """The finished table in `path`."""
    try:
        meta = json.loads((path / "meta.json").read_text())
        offsets = {side: np.load(path / f"{side}_offsets.npy", mmap_mode="r") for side in SIDES}
        ids = {}
        for side in SIDES:
            size = int(offsets[side][-1])
            kind = np.dtype(meta["dtype"])
            ids[side] = (
                np.memmap(path / f"{side}.bin", dtype=kind, mode="r", shape=(size,)) if size else np.zeros(0, kind)
            )
        rows = np.load(path / "rows.npy", mmap_mode="r")
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path}: not a whole token table ({error}). Delete the folder; it will be made again."
        ) from None
    return TokenTable(path, meta["name"], ids, offsets, rows, meta)


def prepare(
    task: Task,
    split: str,
    tokenizer: Tokenizer,
    *,
    data_dir: Path | None = None,
    cache: Path | None = None,
    limit: int | None = None,
    on_bad: OnBad = "stop",
    on_progress: Callable[[int, int], None] | None = None,
) -> TokenTable:
    """The token table of a task's split: from the cache, or made now. Safe to interrupt; half a table never counts."""
    rows = open_rows(task.source, split, data_dir=data_dir)
    key = [FORMAT, task.name, task.version, split, rows.digest, tokenizer.digest, limit, on_bad]
    path = (cache or cache_dir()) / "tokens" / sha256(json.dumps(key).encode()).hexdigest()[:32]
    if not (path / "meta.json").exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".making-", dir=path.parent))
        try:
            _write(work, task, split, rows, tokenizer, limit=limit, on_bad=on_bad, on_progress=on_progress)
            try:
                work.rename(path)
            except OSError:  # another process was faster, with the same content
                if not (path / "meta.json").exists():
                    raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return open_table(path)


def _write(
    work: Path,
    task: Task,
    split: str,
    rows: Rows,
    tokenizer: Tokenizer,
    *,
    limit: int | None,
    on_bad: OnBad,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    kind = np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.int32)
    skipped: list[str] = []
    lens: dict[str, list[NDArray[np.int64]]] = {side: [] for side in SIDES}
    indices: list[NDArray[np.int64]] = []
    stop = len(rows) if limit is None else min(limit, len(rows))
    pairs = examples_of(task, rows, stop=stop, on_bad=on_bad, skipped=skipped)
    with (work / "inputs.bin").open("wb") as inputs, (work / "targets.bin").open("wb") as targets:
        while chunk := list(islice(pairs, CHUNK_EXAMPLES)):
            for side, file in zip(SIDES, (inputs, targets), strict=True):
                texts = [getattr(example, side) for _, example in chunk]
                lens[side].append(_append(file, tokenizer.encode_many(texts), kind))
            indices.append(np.array([index for index, _ in chunk], np.int64))
            if on_progress:
                on_progress(chunk[-1][0] + 1, stop)
    if not indices:
        why = f" {len(skipped)} bad rows were skipped, the first: {skipped[0]}" if skipped else ""
        raise DataError(f"{task.name}/{split}: no example in {len(rows)} rows.{why}")
    for side in SIDES:
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(lens[side]))]).astype(np.int64)
        np.save(work / f"{side}_offsets.npy", offsets)
    np.save(work / "rows.npy", np.concatenate(indices))
    meta = {
        "name": f"{task.name}/{split}",
        "dtype": kind.name,
        "tokenizer": tokenizer.digest,
        "rows": rows.digest,
        "num_skipped": len(skipped),
        "skipped": skipped[:MAX_SKIPPED_KEPT],
    }
    (work / "meta.json").write_text(json.dumps(meta, indent=1))


def _append(file: BinaryIO, sequences: Sequence[Sequence[int]], kind: np.dtype[Any]) -> NDArray[np.int64]:
    lens = np.array([len(sequence) for sequence in sequences], np.int64)
    flat = np.fromiter((token for sequence in sequences for token in sequence), kind, count=int(lens.sum()))
    file.write(flat.tobytes())
    return lens
