"""Marks answers: a predictor on a task's split, or anybody's predictions, by the task's own metrics."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from textfer.batch import Example
from textfer.data.predictions import read_predictions
from textfer.data.source import open_rows
from textfer.data.task import Task
from textfer.data.tokens import examples_of
from textfer.errors import ConfigError, DataError, MachineError
from textfer.generate import Decoding, Predictor


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A task's scores and what they were given for."""

    task: str
    split: str
    scores: Mapping[str, float]
    predictions: Mapping[str, str]
    """{example id: text}: the official format of SQuAD, and what `score` reads."""
    num_examples: int


def iter_examples(task: Task, split: str, *, data_dir: Path | None = None) -> Iterator[Example]:
    """The split's examples, one after the other."""
    return (example for _, example in examples_of(task, open_rows(task.source, split, data_dir=data_dir)))


def load_examples(task: Task, split: str, *, data_dir: Path | None = None, limit: int | None = None) -> list[Example]:
    """The split's examples; with `limit`, the first so many."""
    found = list(islice(iter_examples(task, split, data_dir=data_dir), limit))
    if not found:
        raise DataError(f"{task.name}/{split}: no example.")
    return found


def evaluate(
    predictor: Predictor,
    task: Task,
    split: str,
    *,
    decoding: Decoding | None = None,
    limit: int | None = None,
    data_dir: Path | None = None,
) -> Report:
    """What the predictor scores on a task's split, or on its first `limit` examples.

    Errors: ConfigError when the task has no metric.
    """
    check_marked(task)
    examples = load_examples(task, split, data_dir=data_dir, limit=limit)
    made = predictor.generate([example.inputs for example in examples], decoding)
    return mark(task, split, examples, [one.text for one in made])


def mark(task: Task, split: str, examples: Sequence[Example], texts: Sequence[str]) -> Report:
    """The scores of one text for each example."""
    answers = [task.answer(text, example) for text, example in zip(texts, examples, strict=True)]
    return _report(task, split, examples, answers)


def example_ids(examples: Sequence[Example]) -> list[str]:
    """One id an example: the data's own where all have one and no two share it, else where the example comes from."""
    own = [str(example.facts.get("id", example.origin)) for example in examples]
    if len(set(own)) == len(own):
        return own
    seen: Counter[str] = Counter()
    ids = []
    for example in examples:
        seen[example.origin] += 1
        count = seen[example.origin]
        ids.append(example.origin if count == 1 else f"{example.origin}#{count}")
    return ids


def score_file(task: Task, split: str, path: Path, *, data_dir: Path | None = None) -> Report:
    """What the predictions in `path` score. They are final answers: "" is no answer where the task allows that.

    Errors: DataError when an id is missing, unknown or there twice; ConfigError when the task has no metric.
    """
    check_marked(task)
    examples = load_examples(task, split, data_dir=data_dir)
    predictions = read_predictions(path, ids=example_ids(examples))
    return _report(task, split, examples, list(predictions.values()))


def check_marked(task: Task) -> None:
    """Refuses a task that nothing marks."""
    if task.metrics is None:
        raise ConfigError(f"task '{task.name}': has no metric, it is for training only. Name another.")


def _report(task: Task, split: str, examples: Sequence[Example], answers: Sequence[object]) -> Report:
    assert task.metrics is not None, f"task {task.name} has no metric"
    predictions = dict(zip(example_ids(examples), map(str, answers), strict=True))
    scores = task.metrics(answers, examples)
    return Report(task=task.name, split=split, scores=scores, predictions=predictions, num_examples=len(examples))


def write_predictions(report: Report, path: Path) -> None:
    """Writes `{id: answer}`, which `score_file` and the official scripts read. Errors: MachineError."""
    try:
        path.write_text(json.dumps(report.predictions, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    except OSError as error:
        raise MachineError(f"{path}: cannot be written ({error.strerror}). Name another file.") from None
