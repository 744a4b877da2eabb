"""What every registered task must keep to. Nothing is listed here: the registry is walked through.

Tasks whose data are on disk (`$TEXTFER_DATA`, or `shared/data` beside the repository) are also tried on rows of theirs.
"""

from __future__ import annotations

import json
import os
from itertools import islice
from pathlib import Path

import pytest

from textfer.batch import Example, Row
from textfer.data.source import Rows, open_rows
from textfer.data.task import TASKS, Task
from textfer.errors import DataError

DATA_DIR = Path(os.environ.get("TEXTFER_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
NUM_ROWS = 200
SPLITS = ("train", "validation")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTFER_CACHE", str(tmp_path / "cache"))


def rows_of(task: Task, split: str) -> Rows:
    if task.source.made is None and not DATA_DIR.is_dir():
        pytest.skip(f"no data folder at {DATA_DIR}")
    try:
        return open_rows(task.source, split, data_dir=DATA_DIR)
    except DataError as error:
        pytest.skip(f"not in the data folder: {error}")


def examples_of(task: Task, split: str) -> list[Example]:
    rows = rows_of(task, split)
    found: list[Example] = []
    for index, row in rows.read(0, NUM_ROWS):
        found.extend(islice(task.to_examples(row, f"{task.name}/{rows.origin(index)}"), 8))
    return found


@pytest.mark.parametrize("name", TASKS.names())
def test_what_a_task_says_of_itself(name: str) -> None:
    task = TASKS.get(name)
    assert task.name == name
    assert task.family
    assert task.summary
    assert task.licence
    assert len(set(task.choices)) == len(task.choices)
    assert task.plain or task.main_metric == next(iter(task.metrics([], [])))  # type: ignore[misc]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", TASKS.names())
def test_examples(name: str, split: str) -> None:
    task = TASKS.get(name)
    examples = examples_of(task, split)
    assert examples
    assert examples == examples_of(task, split), "the same rows say the same"
    for example in examples:
        assert example.origin.startswith(f"{name}/{split}:")
        assert example.targets.strip()
        assert bool(example.inputs.strip()) is not task.plain
        assert not task.choices or example.targets in task.choices
        for span in example.spans:
            assert 0 <= span.start < span.end <= len(example.fields[span.field])
        json.dumps(dict(example.facts))


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", TASKS.names())
def test_the_targets_themselves_score_full_marks(name: str, split: str) -> None:
    task = TASKS.get(name)
    if task.metrics is None:
        assert task.plain
        return
    examples = examples_of(task, split)
    scores = task.metrics([task.answer(example.targets, example) for example in examples], examples)
    assert next(iter(scores)) == task.main_metric
    assert scores[task.main_metric] == pytest.approx(100)
    nonsense = task.metrics([task.answer("zyx wvu", example) for example in examples], examples)
    assert nonsense[task.main_metric] < 50


@pytest.mark.parametrize("name", TASKS.names())
def test_validation_holds_no_training_example(name: str) -> None:
    task = TASKS.get(name)
    train, held = ({example.inputs + example.targets for example in examples_of(task, split)} for split in SPLITS)
    assert not train & held


def complaint(task: Task, row: Row) -> str | None:
    try:
        list(task.to_examples(row, f"{task.name}/train:4711"))
    except DataError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", TASKS.names())
def test_bad_rows_are_told_with_their_place(name: str) -> None:
    task = TASKS.get(name)
    row = next(iter(rows_of(task, "train")))
    told = []
    for column in task.source.columns or row:
        without = {key: value for key, value in row.items() if key != column}
        found = [message for broken in ({**row, column: None}, without) if (message := complaint(task, broken))]
        assert all(message.startswith(f"{name}/train:4711: ") and f"'{column}" in message for message in found)
        assert not any("\n" in message for message in found)
        told += found
    assert told, "some column is needed"
