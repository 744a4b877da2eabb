"""Names and files as rows. A name is looked for in the data folder (`--data`, `TEXTFER_DATA`), or else on the hub.

A split may be cut in two by a column of its rows (`Source.group`): `train/dev` and `train/fit` share no article.

A data folder mirrors hub data sets as `<namespace>/<dataset>/<config>/<split>.parquet`; `<split>-00000.parquet` and
`<split>-00000-of-00010.parquet` are parts of a split. Rows come in file order and any row can be the first.
"""

from __future__ import annotations

import glob
import json
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from textfer.batch import Row
from textfer.data.digest import file_digest
from textfer.data.formats import File, format_of, open_file
from textfer.data.hub import SHARD, check_whole, hub_files
from textfer.data.lines import Format, OnBad
from textfer.errors import DataError, SplitError, nearest

FORMAT = 1
DEV_SHARE = 0.1
"""Share of a split's groups that is its part `dev`; the others are `fit`."""
PARTS = ("dev", "fit")
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "eval"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Rows that are computed, not stored: a pure function of split and index."""

    row: Callable[[str, int], Row]
    num_rows: Mapping[str, int]
    version: int = 1
    """Raise it when `row` says something else: it stands for the content in the digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a task's rows come from: a hub data set (or its mirror), the user's files, or a generator."""

    name: str
    """`"rajpurkar/squad"`; for files and generators only a name for messages."""
    config: str = "default"
    columns: tuple[str, ...] = ()
    """Columns that must be there; of Parquet files only these are read. Empty = all."""
    splits: Mapping[str, str] = field(default_factory=dict)
    """Our split name → theirs, where they differ."""
    folder: str = ""
    """Another place in the data folder than `<name>/<config>`."""
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Split → the user's paths or patterns."""
    format: Format | None = None
    """How `files` are read; None = as their names end."""
    made: Made | None = None
    hold_out: float = 0.0
    """Share of the train rows that becomes the validation split, for sources without one."""
    hold_out_by: tuple[str, ...] = ()
    """Rows alike in these columns fall on the same side; empty = all columns."""
    group: tuple[str, ...] = ()
    """Columns that name what rows belong to (an article): of the first that is not empty, all rows with the same value
    are in the same part of `train/dev` and `train/fit`. Empty = all rows are `fit`, and there is no `dev`."""


@final
class Rows:
    """The rows of one split, in order. Memory is flat however many there are."""

    def __init__(
        self,
        parts: Sequence[File],
        *,
        split: str,
        digest: Callable[[], str],
        keep: Callable[[], NDArray[np.int64]] | None = None,
    ) -> None:
        self.split = split
        self._parts = tuple(parts)
        self._starts = [0, *accumulate(len(part) for part in self._parts)]
        self._choose = keep
        self._digest = digest
        self._last = (-1, "")

    def __len__(self) -> int:
        return self._starts[-1] if self._keep is None else len(self._keep)

    def __iter__(self) -> Iterator[Row]:
        return (row for _, row in self.read(0, len(self)))

    @property
    def files(self) -> tuple[Path, ...]:
        """The files behind the rows; none where rows are computed."""
        return tuple(part.path for part in self._parts if not isinstance(part, _MadeFile))

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names: the file's, or else those of the first row."""
        return self._parts[0].columns or tuple(next(iter(self), {}))

    @cached_property
    def _keep(self) -> NDArray[np.int64] | None:
        """Which rows are this split's; found when first asked for, since all rows are read for it."""
        return None if self._choose is None else self._choose()

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) that changes when the rows do: of the files' bytes and of what chooses among their rows."""
        return sha256(f"{FORMAT} {self._digest()}".encode()).hexdigest()

    def read(self, start: int, stop: int, *, on_bad: OnBad | None = None) -> Iterator[tuple[int, Row]]:
        """(index, row) of rows `start:stop`. With `on_bad`, a line that cannot be read is told there and left out."""
        stop = min(stop, len(self))
        if self._keep is None:
            yield from self._read(start, stop, on_bad)
        elif start < stop:
            chosen = self._keep[start:stop]
            place = {int(raw): start + n for n, raw in enumerate(chosen)}
            for raw, row in self._read(int(chosen[0]), int(chosen[-1]) + 1, on_bad):
                if (index := place.get(raw)) is not None:
                    self._last = (index, self._last[1])
                    yield index, row

    def cut(
        self, split: str, choose: Callable[[Sequence[File], NDArray[np.int64]], NDArray[np.int64]] | None, how: str
    ) -> Rows:
        """Some of these rows under another split's name: `choose` takes the files and row numbers, and gives fewer.

        None = all of them.
        """

        def digest() -> str:
            return f"{self.digest} {how}"

        if choose is None:
            return Rows(self._parts, split=split, digest=digest, keep=self._choose)

        def keep() -> NDArray[np.int64]:
            return choose(self._parts, np.arange(self._starts[-1]) if self._keep is None else self._keep)

        return Rows(self._parts, split=split, digest=digest, keep=keep)

    def origin(self, index: int) -> str:
        """Where row `index` stands: `"train:4711"`, or `"my.csv:13"` (line) where people look into the file."""
        known, origin = self._last  # what was read last is what is asked about
        if known != index:
            next(self.read(index, index + 1, on_bad=lambda error: None), None)
            known, origin = self._last
        return origin if known == index and origin else f"{self.split}:{index}"

    def _read(self, start: int, stop: int, on_bad: OnBad | None) -> Iterator[tuple[int, Row]]:
        for number in range(bisect_right(self._starts, start) - 1, len(self._parts)):
            part, first = self._parts[number], self._starts[number]
            if first >= stop:
                return
            for index, line, row in part.read(max(start - first, 0), min(stop - first, len(part)), on_bad=on_bad):
                self._last = (first + index, f"{part.path.name}:{line}" if line else "")
                yield first + index, row


def open_rows(source: Source, split: str, *, data_dir: Path | None = None) -> Rows:
    """The rows of a split, or of a part of one: `train/dev`. Without `data_dir` and `$TEXTFER_DATA` the hub is asked.

    **Errors**: DataError where the data set, the split, a column or every row is missing; MachineError where the hub
    cannot be reached.
    """
    if "/" in split:
        return _part(source, split, data_dir)
    theirs = source.splits.get(split, split)
    if source.made is not None:
        return _made_rows(source, source.made, split)
    held = source.hold_out > 0 and split in ("train", "validation")
    if held:
        theirs = source.splits.get("train", "train")
    paths = _paths(source, theirs, split, data_dir)
    parts = [part for path in paths if len(part := open_file(path, kind=source.format, columns=source.columns)) > 0]
    if not parts:
        raise DataError(f"{', '.join(map(str, paths[:3]))}: no rows, expected at least one.")

    def digest() -> str:
        hashes = [file_digest(part.path) for part in parts]
        return json.dumps([hashes, source.format, *([split, source.hold_out, source.hold_out_by] if held else [])])

    keep = partial(_held_out, source, parts, split) if held else None
    return Rows(parts, split=split, digest=digest, keep=keep)


def file_source(path: str, *, kind: Format | None = None, hold_out: float = 0.05) -> Source:
    """A source of the user's own: a file, a pattern, or a folder.

    In a folder, files named after splits (`train.csv`, `dev.jsonl`, `test-00000.parquet`, …) are these splits;
    otherwise all its files are the train rows. Without a validation file, a share `hold_out` of them is held out.
    """
    base = Path(path).expanduser()
    if base.is_dir():
        found = sorted(file for file in base.iterdir() if file.is_file() and (kind or format_of(file)))
        named = {
            split: tuple(str(file) for file in found if _split_name(file) in names)
            for split, names in SPLIT_NAMES.items()
        }
        files = (
            {split: paths for split, paths in named.items() if paths}
            if named["train"]
            else {"train": tuple(map(str, found))}
        )
        if not found:
            raise DataError(f"{path}: the folder holds no data file (Parquet, JSONL, CSV, TSV, text).")
    else:
        files = {"train": (str(base),)}
    return Source(name=path, files=files, format=kind, hold_out=0.0 if "validation" in files else hold_out)


def read_text(path: Path) -> str:
    """The whole text of a UTF-8 file. **Errors**: DataError where it is missing, empty or in another encoding."""
    document = list(open_file(path, kind="document").read(0, 1))
    if not document:
        raise DataError(f"{path}: empty, expected text.")
    return str(document[0][2]["text"])


def _split_name(path: Path) -> str:
    match = SHARD.match(path.name)
    return (match["split"] if match else path.name.split(".")[0]).lower()


def has_split(source: Source, split: str, *, data_dir: Path | None = None) -> bool:
    """Whether a data set has a split. Errors: as `open_rows`, but for that."""
    try:
        open_rows(source, split, data_dir=data_dir)
    except SplitError:
        return False
    return True


def _paths(source: Source, theirs: str, ours: str, data_dir: Path | None) -> list[Path]:
    if source.files:
        if theirs not in source.files:
            raise SplitError(f"{source.name}: no split '{ours}'.{nearest(ours, source.files)}")
        return [path for pattern in source.files[theirs] for path in _expanded(pattern)]
    root = data_dir or (Path(os.environ["TEXTFER_DATA"]) if os.environ.get("TEXTFER_DATA") else None)
    if root is None:
        return hub_files(source.name, source.config, theirs)
    return _mirrored(source, theirs, root)


def _expanded(pattern: str) -> list[Path]:
    if glob.has_magic(pattern) and not Path(pattern).exists():
        if not (found := sorted(glob.glob(pattern, recursive=True))):
            raise DataError(f"{pattern}: no file matches.")
        return [Path(path) for path in found]
    return [Path(pattern)]


def _mirrored(source: Source, split: str, root: Path) -> list[Path]:
    if not root.is_dir():
        raise DataError(f"{root}: no such data folder. Check --data or TEXTFER_DATA.")
    hub_like = root / source.name / source.config
    places = [*([root / source.folder] if source.folder else []), hub_like]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        inner = (
            sorted(path.name for path in hub_like.parent.iterdir() if path.is_dir()) if hub_like.parent.is_dir() else []
        )
        known = nearest(source.config, inner) if inner else " Is it the right data folder?"
        raise DataError(f"{source.name}: no folder {hub_like}, expected {split}.parquet in it.{known}")
    by_split: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and (match := SHARD.match(path.name)):
            by_split.setdefault(match["split"], []).append(path)
    if split not in by_split:
        raise SplitError(f"{folder}: no split '{split}'.{nearest(split, by_split)}")
    check_whole(by_split[split], f"{folder}/{split}")
    return by_split[split]


def _held_out(source: Source, parts: Sequence[File], split: str) -> NDArray[np.int64]:
    """Indices of the rows of this split. A row is held out when the hash of its content falls under the share."""
    columns = source.hold_out_by or source.columns

    def say(row: Row) -> object:
        return [row.get(name) for name in columns] if columns else dict(row)

    place = _drawn(source, parts, columns, say)
    out = place < source.hold_out
    if out.all() or not out.any():  # few rows: the one that comes first, with all that are like it
        out = place == place.min()
    if out.all():
        raise DataError(
            f"{parts[0].path}: {len(place)} rows and all alike, expected at least 2 to hold one out for validation."
        )
    return np.flatnonzero(out if split == "validation" else ~out)


def _drawn(
    source: Source, parts: Sequence[File], columns: tuple[str, ...], say: Callable[[Row], object]
) -> NDArray[np.float64]:
    """[rows] a number in 0…1 that is the hash of what `say` tells of a row: alike rows have the same."""
    places: list[NDArray[np.float64]] = []
    for part in parts:
        narrow = open_file(part.path, kind=source.format, columns=columns) if part.columns else part
        values = np.ones(len(part))  # a line that cannot be read stays in train, where it is told
        for index, _, row in narrow.read(0, len(narrow), on_bad=lambda error: None):
            text = json.dumps(say(row), sort_keys=True, default=str)
            values[index] = int.from_bytes(sha256(text.encode()).digest()[:8], "big") / 2.0**64
        places.append(values)
    return np.concatenate(places)


def _part(source: Source, split: str, data_dir: Path | None) -> Rows:
    """The rows of `train/dev` or `train/fit`: those of `train` whose group falls on that side."""
    name, _, part = split.partition("/")
    if part not in PARTS:
        raise DataError(f"{source.name}: no split '{split}'. Parts of a split are {name}/dev and {name}/fit.")
    if not source.group and part == "fit":  # nothing is kept back
        return open_rows(source, name, data_dir=data_dir).cut(split, None, "all")
    if not source.group:
        raise DataError(f"{source.name}: '{split}' is not to be had, its rows have no groups. Name '{name}'.")
    whole = open_rows(source, name, data_dir=data_dir)
    return whole.cut(split, partial(_in_part, source, part), json.dumps([part, DEV_SHARE, source.group]))


def _in_part(source: Source, part: str, files: Sequence[File], indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of `indices` whose group is on this side; where all fall on one, the first group is `dev`."""

    def say(row: Row) -> object:
        return next((row[name] for name in source.group if row.get(name)), "")

    place = _drawn(source, files, source.group, say)[indices]
    dev = place < DEV_SHARE
    if dev.all() or not dev.any():
        dev = place == place.min()
    if dev.all():
        raise DataError(f"{source.name}: its rows are all of one group, expected at least 2 to cut it.")
    return indices[dev if part == "dev" else ~dev]


@final
class _MadeFile:
    """Computed rows, read like a file's."""

    columns: tuple[str, ...] = ()

    def __init__(self, name: str, made: Made, split: str) -> None:
        self.path = Path(name)
        self._made = made
        self._split = split

    def __len__(self) -> int:
        return self._made.num_rows[self._split]

    def read(self, start: int, stop: int, *, on_bad: OnBad | None = None) -> Iterator[tuple[int, str, Row]]:
        return ((index, "", self._made.row(self._split, index)) for index in range(start, stop))


def _made_rows(source: Source, made: Made, split: str) -> Rows:
    if split not in made.num_rows:
        raise SplitError(f"{source.name}: no split '{split}'.{nearest(split, made.num_rows)}")
    part = _MadeFile(source.name, made, split)
    return Rows([part], split=split, digest=lambda: json.dumps([source.name, made.version, split, len(part)]))
