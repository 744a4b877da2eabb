"""Examples for models with heads: which head a task asks for, and what it reads and should say of each example."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from textfer.batch import NO_TARGET, Example, Ids, Int32
from textfer.data.framing import Frame, frames, is_cut, marks_of, span_target, tag_targets
from textfer.data.source import open_rows
from textfer.data.task import Task
from textfer.data.tasks.squad import NO_ANSWER
from textfer.data.tasks.tagging import gold_tags, iob
from textfer.data.tokens import Removed, RowChoice, Skipped, digest_of, learnt_pairs
from textfer.errors import ConfigError, DataError
from textfer.heads import Head
from textfer.tokenizers import Places, Tokenizer

STRIDE = 128
"""Tokens from one window of a long context to the next. **Source**: run_squad.py of BERT's release."""
NOTHING = np.zeros(0, np.int32)
CHUNK = 4096
SENTENCE = "sentence"
"""The field of tagging tasks whose words are told by the blanks between them."""
WORD = re.compile(r"\w+|[^\w\s]")
"""Words of any other text that is tagged."""
FULL = 99.9


def head_of(task: Task, examples: Sequence[Example]) -> Head:
    """The head that answers a task, as its examples tell.

    Errors: ConfigError when its answers are free texts.
    """

    def made(kind: Any, labels: Sequence[str] = (), threshold: float | None = None) -> Head:
        return Head(name=kind, kind=kind, labels=tuple(labels), tasks=(task.name,), threshold=threshold)

    spanned = [example for example in examples if example.spans]
    labels = sorted({span.label for example in spanned for span in example.spans})
    if any(example.number is not None for example in examples):
        return made("number")
    if any("options" in example.facts for example in examples):
        return made("choice")
    if labels and labels != [""]:
        return made("tag", iob(*labels))
    if spanned and _takes_places(task, spanned[0]):
        return made("span", threshold=0.0 if any(example.targets == NO_ANSWER for example in examples) else None)
    if task.choices and not any("choices" in example.facts for example in examples):
        return made("class", task.choices)
    raise ConfigError(
        f"task '{task.name}': its answers are texts to be written, and no head says these. Name another task, or a "
        "model that writes, such as t5-mini."
    )


def _takes_places(task: Task, example: Example) -> bool:
    """Whether the words at the example's place are a right answer by the task's own marking."""
    if task.metrics is None:
        return True
    span = example.spans[0]
    answer = task.answer(example.fields[span.field][span.start : span.end], example)
    return next(iter(task.metrics([answer], [example]).values())) >= FULL


def heads_of(found: Sequence[Head]) -> list[Head]:
    """The heads of several tasks: those of one kind with the same labels are one; names are made unique."""
    merged: dict[tuple[str, tuple[str, ...]], Head] = {}
    for head in found:
        key = head.kind, head.labels
        if key in merged:
            other = merged[key]
            tasks = tuple(dict.fromkeys((*other.tasks, *head.tasks)))
            threshold = other.threshold if head.threshold is None else head.threshold
            merged[key] = other.model_copy(update={"tasks": tasks, "threshold": threshold})
        else:
            merged[key] = head
    heads: list[Head] = []
    for head in merged.values():
        count = sum(one.kind == head.kind for one in heads)
        heads.append(head.model_copy(update={"name": f"{head.kind}_{count + 1}"}) if count else head)
    return heads


@dataclass(frozen=True, slots=True)
class Read:
    """One reading of an example: what goes in, and which place of the text each token is."""

    ids: Ids
    frames: tuple[Frame, ...]
    """One, or one for each of several choices."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """How examples are read for one head. A context that is too long is read in windows, each a reading of its own."""

    tokenizer: Tokenizer
    head: Head
    max_len: int
    both_orders: bool = False

    def __call__(self, examples: Sequence[Example]) -> list[list[Read]]:
        """The readings of every example; what the head should say of them where the example says so."""
        groups = [self._texts(example) for example in examples]
        texts = list(dict.fromkeys(text for group in groups for one in group for text in one))  # contexts recur
        encoded = dict(zip(texts, self.tokenizer.encode_places_many(texts), strict=True))
        marks = marks_of(self.tokenizer.specials)
        kind = self.head.kind
        found = []
        for example, group in zip(examples, groups, strict=True):
            windows = kind == "span" or (kind == "tag" and len(group[0]) == 1)
            read = [
                frames([encoded[text] for text in one], marks, max_len=self.max_len, stride=STRIDE if windows else None)
                for one in group
            ]
            passes = [(frame,) for frame in read[0]] if windows else [tuple(one[0] for one in read)]
            found.append([self._told(example, one) for one in passes])
        return found

    def _texts(self, example: Example) -> list[list[str]]:
        """The texts of each pass."""
        fields = list(example.fields.values()) or [example.inputs]
        if self.head.kind == "choice":
            return [[*fields, option] for option in example.facts["options"]]
        if self.both_orders and len(fields) == 2 and self.head.kind in ("class", "number"):
            return [fields, fields[::-1]]
        return [fields]

    def _told(self, example: Example, read: tuple[Frame, ...]) -> Read:
        """The reading with what its head should say, `NO_TARGET` where the example has no answer."""
        inputs = np.concatenate([frame.inputs for frame in read]).astype(np.int32)
        types = np.concatenate([frame.types for frame in read]).astype(np.int32)
        cuts = tuple(np.cumsum([len(frame.inputs) for frame in read])[:-1].tolist())
        heads = self._targets(example, read[0])
        return Read(Ids(inputs, NOTHING, origin=example.origin, types=types, heads=heads, cuts=cuts), read)

    def _targets(self, example: Example, frame: Frame) -> dict[str, Any]:
        name = self.head.name
        if self.head.kind == "number":
            return {name: np.nan if example.number is None else float(example.number)}
        if self.head.kind == "class":
            return {name: _index(example.targets, self.head.labels)}
        if self.head.kind == "choice":
            return {name: _index(example.targets, example.facts["choices"])}
        if self.head.kind == "tag":
            return {name: self._tags(example, frame)}
        start, end = self._place(example, frame)
        return {f"{name}.start": start, f"{name}.end": end}

    @staticmethod
    def _place(example: Example, frame: Frame) -> tuple[int, int]:
        """The first and last token of the answer; the first token of all where this window holds none."""
        if not example.spans:  # there is no answer; or there is one, and it is not known where
            return (0, 0) if example.targets == NO_ANSWER else (NO_TARGET, NO_TARGET)
        span = example.spans[0]
        assert span.field == list(example.fields)[-1], "answers stand in the last field"
        return span_target(frame, frame.last_field, span.start, span.end) or (0, 0)

    def _tags(self, example: Example, frame: Frame) -> Int32:
        numbers = {label: number for number, label in enumerate(self.head.labels)}
        field = tagged_field(example)
        words = word_places(example.fields[field], blanks=field == SENTENCE)
        gold = gold_tags(example) if field == SENTENCE else list(_overlapping(example, words))
        tags = [numbers.get(tag, NO_TARGET) for tag in gold]
        found = tag_targets(frame, list(example.fields).index(field), words, tags)
        return np.where(frame.best, found, NO_TARGET).astype(np.int32)  # each word once, in its best window


def tagged_field(example: Example) -> str:
    """The field whose words have tags."""
    return SENTENCE if SENTENCE in example.fields else next(iter(example.fields))


def word_places(text: str, *, blanks: bool) -> Places:
    """[W, 2] the characters of each word: start and end. `blanks`: a blank ends a word, and nothing else does."""
    if not blanks:
        return np.array([word.span() for word in WORD.finditer(text)], np.int64).reshape(-1, 2)
    lens = np.array([len(word) for word in text.split(" ")])
    ends = np.cumsum(lens + 1) - 1
    return np.stack([ends - lens, ends], axis=1)


def _overlapping(example: Example, words: Places) -> Iterator[str]:
    """The tag of each word: that of the span that holds some of it."""
    for start, end in words.tolist():
        found = next((span for span in example.spans if span.start < end and span.end > start), None)
        yield "O" if found is None else f"{'B' if found.start >= start else 'I'}-{found.label}"


def _index(word: str, words: Sequence[str]) -> int:
    return list(words).index(word) if word in words else NO_TARGET


@final
@dataclass(frozen=True, slots=True)
class HeadedExamples:
    """A task's examples as a model with heads reads them: a part of a stream, held in memory."""

    name: str
    readings: list[Ids]
    meta: dict[str, Any] = field(default_factory=dict)
    """As of a token table: the digest of the rows, how many were skipped."""
    cut: int = 0
    """How many examples lost an end."""

    def __len__(self) -> int:
        return len(self.readings)

    def ids(self, indices: Sequence[int], keys: NDArray[np.uint64]) -> list[Ids]:
        """The readings; nothing in them is random."""
        del keys
        return [self.readings[index] for index in indices]

    def mean_tokens(self) -> float:
        """Tokens of a reading on average."""
        return float(np.mean([len(ids.inputs) for ids in self.readings]))

    def num_cut(self) -> tuple[int, int]:
        """How many inputs are too long; targets never are."""
        return self.cut, 0


@dataclass(frozen=True, slots=True)
class Labelled:
    """A split's examples that have an answer, and where they come from."""

    task: Task
    split: str
    examples: list[Example]
    rows: str
    """The digest of the rows."""
    num_skipped: int
    num_removed: int = 0


def load_learnt(task: Task, split: str, choice: RowChoice) -> Labelled:
    """The examples of a split that a model may learn from. Errors: DataError when there is none, or at a bad row."""
    rows = open_rows(task.source, split, data_dir=choice.data_dir)
    skipped = Skipped() if choice.on_bad == "skip" else None
    removed = Removed()
    found = [one for _, one in learnt_pairs(task, rows, choice, skipped=skipped, removed=removed)]
    if not found:
        stop = len(rows) if choice.limit is None else min(choice.limit, len(rows))
        raise DataError(f"{task.name}/{split}: no example in {stop} rows.")
    return Labelled(task, split, found, digest_of(rows, choice), skipped.count if skipped else 0, removed.count)


def hold_out(found: Mapping[str, Labelled], share: float) -> tuple[dict[str, Labelled], list[Labelled]]:
    """(what is trained on, what is not): of tasks with questions without an answer, those on a share of the contexts.

    A context hashes to one side, in whatever task. Errors: ConfigError where no task has such questions.
    """
    learnt, held = dict(found), []
    for name, one in found.items():
        if head_of(one.task, one.examples).threshold is None:
            continue
        sides: tuple[list[Example], list[Example]] = [], []
        for example in one.examples:
            context = list(example.fields.values())[-1]
            sides[crc32(context.encode()) < share * 2**32].append(example)
        if not all(sides):
            raise ConfigError(
                f"head.dev_share: of {len(one.examples)} questions of '{name}' one side gets none. Change it."
            )
        learnt[name] = replace(one, examples=sides[0])
        held.append(replace(one, examples=sides[1]))
    if not held:
        raise ConfigError("head.dev_share: cannot take effect, every question of data.tasks has an answer. Drop it.")
    return learnt, held


def read_all(labelled: Labelled, framing: Framing, on_progress: Callable[[int, int], None] | None) -> HeadedExamples:
    """All readings of a split, in its order.

    Errors: ConfigError when no example says anything to the head.
    """
    examples, readings = labelled.examples, []
    cut = 0
    for start in range(0, len(examples), CHUNK):
        for read in framing(examples[start : start + CHUNK]):
            cut += len(read) == 1 and any(is_cut(frame) for frame in read[0].frames)
            readings += [one.ids for one in read if one.ids.num_targets]
        if on_progress:
            on_progress(min(start + CHUNK, len(examples)), len(examples))
    if not readings:
        raise ConfigError(f"task '{labelled.task.name}': none of its examples fits head '{framing.head.name}'.")
    meta = {"rows": labelled.rows, "num_skipped": labelled.num_skipped, "num_removed": labelled.num_removed}
    return HeadedExamples(f"{labelled.task.name}/{labelled.split}", readings, meta, cut)
