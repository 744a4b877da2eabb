"""Examples as token ids on disk: made once per (rows, task, tokenizer), memory-mapped ever after.

A table is a folder named by a hash of what decides its content. It holds, for inputs and for targets, all ids laid end
to end and the offsets between examples, so that any example and any length is one look-up and memory stays flat.
"""

from __future__ import annotations

import json
import mmap
import os
import shutil
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from textfer.batch import Example, Int32
from textfer.data.digest import cache_dir
from textfer.data.source import Rows, open_rows
from textfer.data.task import Task
from textfer.data.without import WithoutBy, load_without, without_digest
from textfer.errors import CheckpointError, DataError, MachineError
from textfer.tokenizers import Tokenizer

FORMAT = 1
SIDES = ("inputs", "targets")
CHUNK_EXAMPLES = 2048
MAX_SKIPPED_KEPT = 1000
KEEP_BYTES = 1 << 20
"""Smaller files may stay in memory: giving them back would cost more than it frees."""
OnBad = Literal["stop", "skip"]
Pair: TypeAlias = tuple[int, Example]
"""The number of a row, and an example made of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChoice:
    """Which rows are read, and what a bad one does."""

    data_dir: Path | None = None
    """A mirror of hub data sets."""
    limit: int | None = None
    """Only the first rows; None = all."""
    on_bad: OnBad = "stop"
    without: tuple[str, ...] = ()
    """What no example may say: `task/split`, or tasks and mixtures for all that they are marked on."""
    without_by: WithoutBy = "field"

    @property
    def without_digest(self) -> str:
        """What changes when other examples are left out; "" where none is."""
        return without_digest(self.without, self.without_by, data_dir=self.data_dir)


ALL_ROWS = RowChoice()


@final
class Skipped:
    """Bad rows that were left out: all are counted, the first are told of."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def __call__(self, error: DataError) -> None:
        """Notes one."""
        self.count += 1
        if len(self.first) < MAX_SKIPPED_KEPT:
            self.first.append(str(error))


def examples_of(
    task: Task, rows: Rows, *, start: int = 0, stop: int | None = None, skipped: Skipped | None = None
) -> Iterator[Pair]:
    """(row index, example) pairs of rows `start:stop`. A bad line or row stops the run, or is noted in `skipped`."""
    for index, row in rows.read(start, len(rows) if stop is None else stop, on_bad=skipped):
        try:
            examples = list(task.to_examples(row, f"{task.name}/{rows.origin(index)}"))
        except DataError as error:
            if skipped is None:
                raise
            skipped(error)
            continue
        yield from ((index, example) for example in examples)


@final
class Removed:
    """Examples that were left out because they say what must not be said: all are counted, the first are named."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def __call__(self, example: Example) -> None:
        """Notes one."""
        self.count += 1
        if len(self.first) < MAX_SKIPPED_KEPT:
            self.first.append(example.origin)


def learnt_pairs(
    task: Task, rows: Rows, choice: RowChoice, *, skipped: Skipped | None = None, removed: Removed | None = None
) -> Iterator[Pair]:
    """(row index, example) pairs of the chosen rows that a model may learn from."""
    stop = len(rows) if choice.limit is None else min(choice.limit, len(rows))
    found = (pair for pair in examples_of(task, rows, stop=stop, skipped=skipped) if task.learnt(pair[1]))
    if not choice.without:
        return found
    without = load_without(choice.without, choice.without_by, choice.data_dir)
    return without.kept(found, removed or Removed())


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
    maps: tuple[mmap.mmap, ...] = ()
    """The larger files behind the arrays."""

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

    def release(self) -> None:
        """Gives mapped pages back. They stay in the system's cache, but no longer count as this process's memory."""
        for pages in self.maps:
            pages.madvise(mmap.MADV_DONTNEED)

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
        mapped = [array for array in (*ids.values(), *offsets.values(), rows) if isinstance(array, np.memmap)]
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path}: not a whole token table ({error}). Delete the folder; it will be made again."
        ) from None
    large: list[Any] = [array.base for array in mapped if array.nbytes > KEEP_BYTES and hasattr(mmap, "MADV_DONTNEED")]
    maps = tuple(base for base in large if isinstance(base, mmap.mmap))
    # Views without the class: np.memmap takes ten times as long to be sliced.
    ids, offsets = ({side: np.asarray(array) for side, array in both.items()} for both in (ids, offsets))
    return TokenTable(path, meta["name"], ids, offsets, np.asarray(rows), meta, maps)


def prepare(
    task: Task,
    split: str,
    tokenizer: Tokenizer,
    choice: RowChoice = ALL_ROWS,
    *,
    cache: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> TokenTable:
    """The token table of a task's split: from the cache, or made now. Safe to interrupt; half a table never counts.

    `on_progress(rows done, rows in all)`. Errors: DataError at a bad row; MachineError when the disk is full.
    """
    rows = open_rows(task.source, split, data_dir=choice.data_dir)
    path = table_path(task, rows, tokenizer, choice, cache=cache)
    if not is_made(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _make(path, f"{task.name}/{split}", _pairs(task, rows, choice), tokenizer, on_progress)
        except OSError as error:
            raise MachineError(
                f"{path}: cannot be written ({error.strerror or error}). Make room, or set TEXTFER_CACHE elsewhere."
            ) from error
    return open_table(path)


def table_path(
    task: Task, rows: Rows, tokenizer: Tokenizer, choice: RowChoice = ALL_ROWS, *, cache: Path | None = None
) -> Path:
    """The folder of a task's token table, there or not: named by all that decides its content."""
    key = [FORMAT, task.name, task.version, rows.split, rows.digest, tokenizer.digest, choice.limit, choice.on_bad]
    key += [choice.without_digest] if choice.without else []
    return (cache or cache_dir()) / "tokens" / sha256(json.dumps(key).encode()).hexdigest()[:32]


def is_made(path: Path) -> bool:
    """Whether the token table in `path` is whole."""
    return (path / "meta.json").exists()


@dataclass(frozen=True, slots=True)
class _Pairs:
    """The examples to be written, and what is known of their rows."""

    each: Iterator[Pair]
    skipped: Skipped | None
    removed: Removed
    num_rows: int
    digest: str


def _pairs(task: Task, rows: Rows, choice: RowChoice) -> _Pairs:
    skipped = Skipped() if choice.on_bad == "skip" else None
    removed = Removed()
    stop = len(rows) if choice.limit is None else min(choice.limit, len(rows))
    each = learnt_pairs(task, rows, choice, skipped=skipped, removed=removed)
    return _Pairs(each, skipped, removed, stop, digest_of(rows, choice))


def digest_of(rows: Rows, choice: RowChoice) -> str:
    """What changes when the rows do, or what is left out of them."""
    return sha256(f"{rows.digest} {choice.without_digest}".encode()).hexdigest() if choice.without else rows.digest


def _make(
    path: Path, name: str, pairs: _Pairs, tokenizer: Tokenizer, on_progress: Callable[[int, int], None] | None
) -> None:
    """Writes a table beside the others, then gives it its name."""
    work = Path(tempfile.mkdtemp(prefix=".making-", dir=path.parent))
    try:
        _write(work, name, pairs, tokenizer, on_progress)
        for file in work.iterdir():
            with file.open("rb") as whole:
                os.fsync(whole.fileno())
        try:
            work.rename(path)
        except OSError:
            if not is_made(path):  # somebody cleared the folder, but not all of it
                shutil.rmtree(path, ignore_errors=True)
                work.rename(path)  # else another process was faster, with the same content
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write(
    work: Path, name: str, pairs: _Pairs, tokenizer: Tokenizer, on_progress: Callable[[int, int], None] | None
) -> None:
    kind = np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.int32)
    skipped = pairs.skipped
    lens: dict[str, list[NDArray[np.int64]]] = {side: [] for side in SIDES}
    indices: list[NDArray[np.int64]] = []
    with (work / "inputs.bin").open("wb") as inputs, (work / "targets.bin").open("wb") as targets:
        while chunk := list(islice(pairs.each, CHUNK_EXAMPLES)):
            done = chunk[-1][0] + 1
            chunk, ids = _encoded(tokenizer, chunk, skipped)
            for side, file in zip(SIDES, (inputs, targets), strict=True):
                lens[side].append(_append(file, ids[side], kind))
            indices.append(np.array([index for index, _ in chunk], np.int64))
            if on_progress:
                on_progress(done, pairs.num_rows)
    if not sum(map(len, indices)):
        why = (
            f" {skipped.count} bad rows were skipped, the first: {skipped.first[0]}"
            if skipped and skipped.count
            else ""
        )
        raise DataError(f"{name}: no example in {pairs.num_rows} rows.{why}")
    for side in SIDES:
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(lens[side]))]).astype(np.int64)
        np.save(work / f"{side}_offsets.npy", offsets)
    np.save(work / "rows.npy", np.concatenate(indices))
    meta = {
        "name": name,
        "dtype": kind.name,
        "tokenizer": tokenizer.digest,
        "rows": pairs.digest,
        "num_skipped": skipped.count if skipped else 0,
        "skipped": skipped.first if skipped else [],
        "num_removed": pairs.removed.count,
        "removed": pairs.removed.first,
    }
    (work / "meta.json").write_text(json.dumps(meta, indent=1))


def _encoded(
    tokenizer: Tokenizer, chunk: list[Pair], skipped: Skipped | None
) -> tuple[list[Pair], dict[str, list[Int32]]]:
    """(the examples that have ids, the ids of each side). A text that the tokenizer refuses is a bad row."""
    try:
        return chunk, {side: tokenizer.encode_many([getattr(one, side) for _, one in chunk]) for side in SIDES}
    except DataError as error:
        if len(chunk) == 1:  # now it is known which one
            told = DataError(f"{chunk[0][1].origin}: {error}")
            if skipped is None:
                raise told from None
            skipped(told)
            return [], {side: [] for side in SIDES}
    kept: list[Pair] = []
    ids: dict[str, list[Int32]] = {side: [] for side in SIDES}
    for pair in chunk:
        one, made = _encoded(tokenizer, [pair], skipped)
        kept += one
        for side in SIDES:
            ids[side] += made[side]
    return kept, ids


def _append(file: BinaryIO, sequences: Sequence[Int32], kind: np.dtype[Any]) -> NDArray[np.int64]:
    lens = np.array([len(sequence) for sequence in sequences], np.int64)
    if len(sequences):
        file.write(np.concatenate([np.asarray(sequence, kind) for sequence in sequences]).tobytes())
    return lens
