"""What the rows of tasks are like: how many, how balanced, how long, how much is cut, doubled, or leaks into training.

Every split is read once. Train examples are streamed past the evaluation examples of all tasks (see `data.leaks`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, final

import numpy as np

from textfer.batch import Example
from textfer.data.layout import Lens
from textfer.data.leaks import Leak, Marks, Probe, Watched, in_chunks, marks_of
from textfer.data.source import Rows, open_rows
from textfer.data.task import Task
from textfer.data.tokens import Skipped, examples_of
from textfer.errors import ConfigError, DataError
from textfer.tokenizers import Tokenizer

SPLITS = ("train", "validation", "test")
EVALUATION = ("validation", "test")
SIDES = ("inputs", "targets")
NO_SPLIT = "no split '"
"""How `data.source` and the hub say that a split is not there."""
END_MARK = 1
LONG_LABEL = 100
"""Characters: longer targets are texts, and are counted as one kind of label."""
MAX_KEPT = 1 << 22
"""Different inputs, and different labels, that are remembered of one split, so that memory is bounded."""


class Lengths(NamedTuple):
    """How long texts are: half of them at most `median`, and so on."""

    median: int
    p90: int
    p99: int
    longest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitReport:
    """One split of one task."""

    task: str
    split: str
    num_rows: int
    num_examples: int
    num_learnt: int
    """Examples with a right answer: what a model is trained on."""
    num_without: int
    """Rows that make no example. The task's `drops` should say why."""
    num_bad: int
    """Rows that cannot be read or said."""
    first_bad: str
    """What is wrong with the first of them."""
    num_doubled: int
    """Examples whose input stood before in this split (among its first `MAX_KEPT` different ones)."""
    num_contradicting: int
    """Those of them with another target than the first."""
    labels: Mapping[str, int]
    """{target: examples} of those with a right answer, the most frequent first; empty for plain text."""
    inputs: Lengths
    """In tokens, end mark not counted; in characters without a vocabulary."""
    targets: Lengths
    tokens: int | None
    """Tokens of all inputs and targets."""
    cut_inputs: int | None
    """Examples whose input is longer than allowed; None without a vocabulary, or where text is cut into pieces."""
    cut_targets: int | None

    @property
    def largest_share(self) -> float:
        """The share of the most frequent target: what always answering with it would get right."""
        total = sum(self.labels.values())
        return next(iter(self.labels.values())) / total if total else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReport:
    """What was found."""

    splits: tuple[SplitReport, ...]
    missing: Mapping[str, str]
    """{task, or task/split: why} of what has no rows here or cannot be opened."""
    leaks: tuple[Leak, ...]
    """The worst first."""
    one_in: int
    """One stretch of 13 words in so many was looked for: 1 = all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What to look with."""

    data_dir: Path | None = None
    tokenizer: Tokenizer | None = None
    lens: Lens = field(default_factory=lambda: Lens(512, 114))
    on_split: Callable[[str], None] = lambda name: None
    """Told of every split before it is read: `"sst2/train"`."""


def examine_data(tasks: Sequence[Task], look: Look | None = None) -> DataReport:
    """What the splits of these tasks are like, and what of their evaluation splits stands in their train splits.

    Errors: ConfigError where a task is named twice. Bad rows are counted, not raised.
    """
    look = look or Look()
    if doubled := [name for name, count in Counter(task.name for task in tasks).items() if count > 1]:
        raise ConfigError(f"doctor: task '{doubled[0]}' is named twice. Drop one.")
    opened, missing = _opened(tasks, look)
    found: dict[tuple[str, str], SplitReport] = {}
    watched, leaks = Watched(), []
    for task, split, rows in opened:
        if split in EVALUATION:
            reading = Reading(task, split, rows, look)
            for chunk, marks in reading.chunks():
                if not task.plain:
                    watched.add(reading.name, chunk, marks)
            found[task.name, split] = reading.report()
    indices = watched.indices()
    for task, split, rows in opened:
        if split not in EVALUATION:
            reading = Reading(task, split, rows, look)
            probe = Probe(watched, reading.name, indices)
            for chunk, marks in reading.chunks():
                probe.add(*_learnt(task, chunk, marks))
            found[task.name, split] = reading.report()
            leaks += probe.found()
    leaks.sort(key=lambda leak: (-(leak.same + leak.overlapping) / leak.num_evaluation, leak.train, leak.evaluation))
    splits = tuple(found[task.name, split] for task, split, _ in opened)
    return DataReport(splits=splits, missing=missing, leaks=tuple(leaks), one_in=watched.every)


@final
class Reading:
    """One split, read once: goes through its examples and then says what they were like."""

    def __init__(self, task: Task, split: str, rows: Rows, look: Look) -> None:
        self.name = f"{task.name}/{split}"
        self._task, self._split, self._rows, self._look = task, split, rows, look
        self._skipped = Skipped()
        self._with_example = np.zeros(len(rows), np.bool_)
        self._counts = Counter[str]()
        self._labels = Counter[str]()
        self._first_target: dict[int, int] = {}
        self._lens = {side: Counter[int]() for side in SIDES}

    def chunks(self) -> Iterator[tuple[list[Example], Marks]]:
        """The split's examples, and what they say."""
        self._look.on_split(self.name)
        for chunk in in_chunks(self._examples()):
            self._add(chunk)
            yield chunk, marks_of(chunk)

    def report(self) -> SplitReport:
        """What the examples were like."""
        with_tokens = self._look.tokenizer is not None
        inputs, targets = (self._lens[side] for side in SIDES)
        lens = self._look.lens
        cut = with_tokens and not self._task.plain
        return SplitReport(
            task=self._task.name,
            split=self._split,
            num_rows=len(self._rows),
            num_examples=self._counts["examples"],
            num_learnt=self._counts["learnt"],
            num_without=len(self._rows) - int(self._with_example.sum()) - self._skipped.count,
            num_bad=self._skipped.count,
            first_bad=self._skipped.first[0] if self._skipped.first else "",
            num_doubled=self._counts["doubled"],
            num_contradicting=self._counts["contradicting"],
            labels=dict(self._labels.most_common()),
            inputs=_lengths(inputs),
            targets=_lengths(targets),
            tokens=_total(inputs) + _total(targets) if with_tokens else None,
            cut_inputs=_longer(inputs, lens.inputs) if cut else None,
            cut_targets=_longer(targets, lens.targets) if cut else None,
        )

    def _examples(self) -> Iterator[Example]:
        for index, example in examples_of(self._task, self._rows, skipped=self._skipped):
            self._with_example[index] = True
            yield example

    def _add(self, chunk: Sequence[Example]) -> None:
        self._counts["examples"] += len(chunk)
        learnt = [example for example in chunk if self._task.learnt(example)]
        self._counts["learnt"] += len(learnt)
        if not self._task.plain:
            self._labels.update(self._label(example.targets) for example in learnt)
        for example in chunk:
            said, target = hash(example.inputs or example.targets), hash(example.targets)
            if said in self._first_target:
                self._counts["doubled"] += 1
                self._counts["contradicting"] += self._first_target[said] != target
            elif len(self._first_target) < MAX_KEPT:
                self._first_target[said] = target
        tokenizer = self._look.tokenizer
        for side, lens in self._lens.items():
            texts = [getattr(example, side) for example in chunk]
            lens.update(map(len, tokenizer.encode_many(texts) if tokenizer else texts))

    def _label(self, target: str) -> str:
        if len(target) > LONG_LABEL:
            return "(longer texts)"
        return target if len(self._labels) < MAX_KEPT or target in self._labels else "(others)"


def _opened(tasks: Sequence[Task], look: Look) -> tuple[list[tuple[Task, str, Rows]], dict[str, str]]:
    """(the splits that are there, {task or task/split: why not})."""
    opened: list[tuple[Task, str, Rows]] = []
    missing: dict[str, str] = {}
    for task in tasks:
        reasons: dict[str, str] = {}
        for split in SPLITS:
            try:
                opened.append((task, split, open_rows(task.source, split, data_dir=look.data_dir)))
            except DataError as error:
                reasons[split] = str(error)
        if len(reasons) == len(SPLITS):
            missing[task.name] = reasons[SPLITS[0]]
        else:  # many tasks lack a split, which is no fault
            missing |= {f"{task.name}/{split}": why for split, why in reasons.items() if NO_SPLIT not in why}
    return opened, missing


def _learnt(task: Task, chunk: Sequence[Example], marks: Marks) -> tuple[list[Example], Marks]:
    """Only the examples that a model is trained on."""
    kept = np.array([task.learnt(example) for example in chunk], np.bool_)
    number = np.cumsum(kept) - 1
    own = kept[marks.owners]
    examples = [example for example, keep in zip(chunk, kept, strict=True) if keep]
    return examples, Marks(marks.whole[kept], marks.grams[own], number[marks.owners[own]])


def _lengths(lens: Counter[int]) -> Lengths:
    if not lens:
        return Lengths(0, 0, 0, 0)
    lengths = np.array(sorted(lens))
    reached = np.cumsum([lens[length] for length in lengths.tolist()])
    places = np.searchsorted(reached, [reached[-1] * percent / 100 for percent in (50, 90, 99, 100)])
    return Lengths(*lengths[places].tolist())


def _total(lens: Counter[int]) -> int:
    return sum(length * count for length, count in lens.items())


def _longer(lens: Counter[int], limit: int) -> int:
    return sum(count for length, count in lens.items() if length + END_MARK > limit)
