"""Training examples that say what an evaluation example says, left out.

A recipe names what must not be said in training: `data.without = ["squad/validation", "exmix_free"]`. Compared is what
the examples say, without the task's own words and whatever case, spacing and punctuation (`leaks.marks_of`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from textfer.batch import Example
from textfer.data.leaks import SHORTEST, Probe, Watched, in_chunks, marks_of, texts_of
from textfer.data.named import task_names
from textfer.data.source import Rows, open_rows
from textfer.data.task import MIXTURES, TASKS, Task
from textfer.draws import UInt64
from textfer.errors import ConfigError, DataError, nearest

EVALUATION = ("validation", "test")
FORMAT = 1
CHUNK = 1024
WithoutBy: TypeAlias = Literal["whole", "field", "overlap"]
"""What is too much: `whole` = the example says the same in all its fields; `field` = or one field of 8 words or more is
the same (a context, a premise); `overlap` = or 13 words in a row are, as `doctor data` tells of leaks."""


class Named(NamedTuple):
    """A split that is named, by itself or by a mixture."""

    task: str
    split: str
    only: bool
    """Whether it must be there: it, and not a mixture or both splits, was named."""


def named_splits(names: Sequence[str]) -> list[Named]:
    """The splits that `names` stand for: `task/split`, or all that a task or a mixture's tasks are marked on.

    Nothing is read. **Errors**: ConfigError for an unknown name.
    """
    found = []
    for name in names:
        head, _, split = name.partition("/")
        if head not in TASKS and head not in MIXTURES:
            raise ConfigError(
                f"data.without: unknown task '{head}'.{nearest(head, [*TASKS.names(), *MIXTURES.names()])}"
            )
        only = bool(split) and head in TASKS
        splits = (split,) if split else EVALUATION
        found += [Named(task, one, only) for task in task_names([head]) for one in splits]
    return list(dict.fromkeys(found))


def _opened(names: Sequence[str], data_dir: Path | None) -> list[tuple[Task, str, Rows]]:
    """(task, split, its rows) of those splits that are there. **Errors**: DataError where one that must be is not."""
    opened = []
    for name, split, only in named_splits(names):
        task = TASKS.get(name)
        try:
            opened.append((task, split, open_rows(task.source, split, data_dir=data_dir)))
        except DataError as error:
            if only:
                raise DataError(f"data.without: {error}") from None
    if names and not opened:
        raise DataError(f"data.without: nothing of {', '.join(names[:3])} is there to be compared with. Check --data.")
    return opened


def without_digest(names: Sequence[str], by: WithoutBy, *, data_dir: Path | None) -> str:
    """What changes when something else is left out; "" where nothing is."""
    if not names:
        return ""
    splits = sorted((task.name, task.version, split, rows.digest) for task, split, rows in _opened(names, data_dir))
    return sha256(json.dumps([FORMAT, by, splits]).encode()).hexdigest()


@final
class Without:
    """Tells which examples say what a watched one says."""

    def __init__(self, examples: Iterable[Example], by: WithoutBy) -> None:
        self._by = by
        watched = Watched()
        whole: list[UInt64] = []
        fields: list[UInt64] = []
        self.num_watched = 0
        for chunk in in_chunks(examples):
            self.num_watched += len(chunk)
            marks = marks_of(chunk)
            whole.append(marks.whole)
            if by == "overlap":
                watched.add("evaluation", chunk, marks)
            elif by == "field":
                fields.append(_of_fields(chunk)[0])
        self._whole = _sorted(whole)
        self._fields = _sorted(fields)
        self._probe = Probe(watched, "train") if by == "overlap" and self.num_watched else None

    def says(self, examples: Sequence[Example]) -> NDArray[np.bool_]:
        """[N] which of these examples must be left out."""
        marks = marks_of(examples)
        found = _among(marks.whole, self._whole)
        if self._by == "field":
            hashes, owners = _of_fields(examples)
            found[owners[_among(hashes, self._fields)]] = True
        if self._probe is not None:
            found |= self._probe.add(examples, marks)
        return found

    def kept(
        self, pairs: Iterable[tuple[int, Example]], on_removed: Callable[[Example], None]
    ) -> Iterator[tuple[int, Example]]:
        """The (row, example) pairs that may stay, in order; the others are told of."""
        each = iter(pairs)
        while chunk := list(islice(each, CHUNK)):
            gone = self.says([example for _, example in chunk])
            for pair, out in zip(chunk, gone, strict=True):
                if out:
                    on_removed(pair[1])
                else:
                    yield pair


@lru_cache(maxsize=4)
def load_without(names: tuple[str, ...], by: WithoutBy, data_dir: Path | None) -> Without:
    """What must not be said, read once. Rows that are bad stop the run."""
    splits = _opened(names, data_dir)
    return Without((one for task, split, rows in splits for one in _examples(task, split, rows)), by)


def _examples(task: Task, split: str, rows: Rows) -> Iterator[Example]:
    for index, row in rows.read(0, len(rows)):
        yield from task.to_examples(row, f"{task.name}/{split}:{index}")


def _of_fields(examples: Sequence[Example]) -> tuple[UInt64, NDArray[np.int64]]:
    """(a hash of every text of `SHORTEST` words or more, the number of its example)."""
    texts = [
        (Example(inputs="", targets=text, origin=example.origin), number)
        for number, example in enumerate(examples)
        for text in (example.fields.values() if example.inputs else texts_of(example))
        if len(text.split()) >= SHORTEST
    ]
    if not texts:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    hashes: UInt64 = marks_of([text for text, _ in texts]).whole
    return hashes, np.array([number for _, number in texts], np.int64)


def _sorted(parts: Sequence[UInt64]) -> UInt64:
    """Each once, rising, without 0."""
    found = np.sort(np.concatenate(parts)) if parts else np.zeros(0, np.uint64)
    new = found != 0
    new[1:] &= found[1:] != found[:-1]  # np.unique hashes: 16 s for 10 M in NumPy 2.4, not 0.1
    said: UInt64 = found[new]
    return said


def _among(hashes: UInt64, known: UInt64) -> NDArray[np.bool_]:
    if not len(known):
        return np.zeros(len(hashes), np.bool_)
    places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    found: NDArray[np.bool_] = known[places] == hashes
    return found
