"""Marks answers: a predictor on a task's split, or anybody's predictions, by the task's own metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from textfer.batch import Example
from textfer.data.predictions import read_predictions
from textfer.data.source import open_rows
from textfer.data.task import Task
from textfer.data.tokens import examples_of
from textfer.errors import DataError
from textfer.generate import Decoding, Predictor

SHOWN_IDS = 3


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
    """What the predictor scores on a task's split, or on its first `limit` examples."""
    examples = load_examples(task, split, data_dir=data_dir, limit=limit)
    made = predictor.generate([example.inputs for example in examples], decoding)
    return mark(task, split, examples, [one.text for one in made])


def mark(task: Task, split: str, examples: Sequence[Example], texts: Sequence[str]) -> Report:
    """The scores of one text for each example."""
    assert task.metrics is not None, f"task {task.name} has no metric"
    answers = [task.answer(text, example) for text, example in zip(texts, examples, strict=True)]
    predictions = {example_id(example): str(answer) for example, answer in zip(examples, answers, strict=True)}
    scores = task.metrics(answers, examples)
    return Report(task=task.name, split=split, scores=scores, predictions=predictions, num_examples=len(examples))


def example_id(example: Example) -> str:
    """The id that the data gives the example, else its origin."""
    return str(example.facts.get("id", example.origin))


def score_file(task: Task, split: str, path: Path, *, data_dir: Path | None = None) -> Report:
    """What the predictions in `path` score. They are final answers: "" is no answer where the task allows that.

    Errors: DataError when an id is missing or unknown.
    """
    assert task.metrics is not None, f"task {task.name} has no metric"
    predictions = read_predictions(path)
    examples = load_examples(task, split, data_dir=data_dir)
    known = [example_id(example) for example in examples]
    for what, ids in (("misses", set(known) - set(predictions)), ("has unknown", set(predictions) - set(known))):
        if ids:
            shown = ", ".join(sorted(ids)[:SHOWN_IDS])
            raise DataError(
                f"{path}: {what} {len(ids)} of {len(known)} ids of {task.name}/{split} ({shown}, …). Give one answer an id."
            )
    answers = [predictions[one] for one in known]
    return Report(
        task=task.name,
        split=split,
        scores=task.metrics(answers, examples),
        predictions=predictions,
        num_examples=len(examples),
    )
