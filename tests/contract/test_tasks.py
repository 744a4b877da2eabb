"""What every registered task must keep to. Nothing is listed here: the registry is walked through.

Tasks whose data are on disk (`$TEXTFER_DATA`, or `shared/data` beside the repository) are also tried on rows of theirs.
"""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import pytest

from textfer.data.source import open_rows
from textfer.data.task import TASKS, Task
from textfer.errors import DataError
from textfer.testing import check_task

DATA_DIR = Path(os.environ.get("TEXTFER_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
NUM_ROWS = 40
SPLITS = ("train", "validation", "test")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTFER_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", TASKS.names())
def test_a_task_on_its_own_sample(name: str) -> None:
    assert TASKS.get(name).name == name
    check_task(TASKS.get(name))


def stored_rows(task: Task, split: str) -> list[object]:
    try:
        return list(islice(open_rows(task.source, split, data_dir=DATA_DIR), NUM_ROWS))
    except DataError:  # no such data set here, or no such split
        return []


@pytest.mark.parametrize("name", TASKS.names())
def test_a_task_on_stored_rows(name: str) -> None:
    task = TASKS.get(name)
    if task.source.made is None and not DATA_DIR.is_dir():
        pytest.skip(f"no data folder at {DATA_DIR}")
    by_split = {split: rows for split in SPLITS if (rows := stored_rows(task, split))}
    if not by_split:
        pytest.skip(f"{task.source.name} is not in the data folder")
    for rows in by_split.values():
        check_task(task, rows)  # type: ignore[arg-type]
