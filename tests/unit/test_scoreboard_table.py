"""Suites' averages, each task's best checkpoint, and the table in all its forms."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from boards import CHECKPOINTS, NUM_ROWS, Model, number_in, put_models, request, task_of

from textfer.data.source import Source
from textfer.errors import ConfigError, DataError
from textfer.scoreboard.board import Board, measure
from textfer.scoreboard.checkpoints import Checkpoint, checkpoints_of
from textfer.scoreboard.page import page_of
from textfer.scoreboard.table import as_json, as_markdown, as_text
from textfer.suites import Column, Suite


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> dict[str, Model]:
    """Folder → its model; no file is read."""
    return put_models(monkeypatch)


# ---- several checkpoints, suites


SUITE = Suite(
    "small",
    "Small",
    (Column("A", ("f1", "accuracy"), ("a",)), Column("B", ("accuracy",), ("b",))),
    left_out=("B",),
    why="without B",
)


def test_each_task_is_told_at_its_best_checkpoint(models: dict[str, Model]) -> None:
    rare = task_of("b", label=lambda n: int(n < 5))
    models["m/20"].rule = lambda text: "no" if text.startswith("b") else "yes" if number_in(text) < 30 else "no"
    board = measure(CHECKPOINTS, request(task_of("a"), rare, suites=(SUITE,)))
    assert {key: line.checkpoint.step for key, line in board.best.items()} == {("m", "a"): 10, ("m", "b"): 20}
    values = {(one.of, one.name): one.value for one in board.averages}
    a10, a20, b10, b20 = (
        sum(line.scores[name] for name in names) / len(names)
        for line, names in (
            (board.lines[0], ("f1", "accuracy")),
            (board.lines[2], ("f1", "accuracy")),
            (board.lines[1], ("accuracy",)),
            (board.lines[3], ("accuracy",)),
        )
    )
    assert values["m @ 10", "Small average"] == pytest.approx((a10 + b10) / 2)
    assert values["m @ 20", "Small average"] == pytest.approx((a20 + b20) / 2)
    assert values["m, each task's best", "Small average"] == pytest.approx((a10 + b20) / 2)
    assert values["m @ 10", "Small average without B"] == pytest.approx(a10)
    assert measure(CHECKPOINTS[:1], request(rare)).best == {}


def test_no_average_with_an_incomplete_task(models: dict[str, Model]) -> None:
    short = task_of("b", sizes={"validation": NUM_ROWS + 1})
    board = measure(CHECKPOINTS[:1], request(task_of("a"), short, suites=(SUITE,)))
    assert [line.complete for line in board.lines] == [True, False]
    assert [one.told() for one in board.averages] == ["incomplete (1 of 2)", f"{(600 / 7 + 75) / 2:.2f}"]
    limited = measure(CHECKPOINTS[:1], request(task_of("a"), task_of("b"), suites=(SUITE,), limit=5))
    assert [one.told() for one in limited.averages] == ["incomplete (0 of 2)", "incomplete (0 of 1)"]
    assert "5*" in as_text(limited)
    assert "not all of the rows that were published" in as_text(limited)


def test_missing_data_stop_unless_skipped(models: dict[str, Model], tmp_path: Path) -> None:
    gone = replace(task_of("b"), source=Source(name="no/such", config="x"))
    with pytest.raises(DataError, match=r"no/such: no folder .*no/such/x"):
        measure(CHECKPOINTS, request(task_of("a"), gone, data_dir=tmp_path))
    assert models["m/10"].asked == [], "told before any model works"
    board = measure(CHECKPOINTS[:1], request(task_of("a"), gone, data_dir=tmp_path, skip_missing=True, suites=(SUITE,)))
    assert list(board.missing) == ["b"]
    assert board.averages[0].told() == "incomplete (1 of 2)"
    for text in (as_text(board), as_markdown(board), page_of(board, title="t")):
        assert "no/such: no folder" in text
    with pytest.raises(DataError, match=r"eval: no task's data are there. The first: no/such: no folder"):
        measure(CHECKPOINTS, request(gone, data_dir=tmp_path, skip_missing=True))


# ---- the table


@pytest.fixture
def board(models: dict[str, Model]) -> Board:
    return measure(CHECKPOINTS, request(task_of("a"), task_of("b"), suites=(SUITE,)))


def test_the_table_in_text(board: Board) -> None:
    lines = as_text(board).splitlines()
    assert " ".join(lines[0].split()) == "model task score value 95 % interval constant examples metric"
    low, high = board.lines[0].intervals["accuracy"]
    assert " ".join(lines[2].split()) == f"m @ 10 a accuracy 75.00 {low:.2f} … {high:.2f} 75.00 40 accuracy v1"
    assert "  a: f1 85.71 with m @ 10" in lines
    assert "Small average: 77.68  (m @ 10)" in lines
    assert all(len(line) <= 200 for line in lines)


def test_the_table_in_markdown(board: Board) -> None:
    text = as_markdown(board)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 8
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {10}
    assert "| m @ 10 | a | f1 | 85.71 |" in text
    assert "binary_f1: v1" in rows[2]
    assert "- Small average, m @ 10: **77.68**" in text


def test_the_table_in_json(board: Board) -> None:
    values = json.loads(json.dumps(as_json(board), allow_nan=False))
    assert list(values) == ["results", "missing", "averages", "best"]
    first = values["results"][0]
    assert first["scores"]["accuracy"] == 75.0
    assert first["baseline"]["accuracy"] == 75.0
    assert first["signatures"]["accuracy"] == board.lines[0].signature("accuracy")
    assert values["averages"][0] == {
        "name": "Small average",
        "of": "m @ 10",
        "value": pytest.approx(77.678, abs=1e-3),
        "complete": 2,
        "tasks": 2,
    }
    assert values["best"][0] == {"model": "m", "task": "a", "step": 10, "f1": pytest.approx(85.714, abs=1e-3)}


def test_what_is_not_a_number_is_a_dash_and_null(models: dict[str, Model]) -> None:
    odd = replace(task_of("a"), metrics=lambda answers, examples: {"odd": math.nan})
    board = measure(CHECKPOINTS[:1], request(odd))
    assert as_text(board).splitlines()[1].split() == ["a", "odd", "–", "–", "40", "odd", "the", "task's", "own"]
    assert as_json(board)["results"][0]["scores"] == {"odd": None}
    assert "<svg" not in page_of(board, title="t")


def test_the_page(board: Board) -> None:
    page = page_of(board, title="a <b>")
    assert page.count("<svg") == 2 + 2, "bars for each checkpoint, a curve for each task"
    assert "a &lt;b&gt;" in page
    assert "<b></title>" not in page
    assert "77.68" in page
    assert "http" not in re.sub(r'xmlns="[^"]*"', "", page), "nothing is fetched"


# ---- which checkpoints


def test_checkpoints_of_what_is_no_run(tmp_path: Path) -> None:
    assert checkpoints_of("some/name") == [Checkpoint(model="some/name", folder="some/name")]
    with pytest.raises(ConfigError, match=r"--checkpoints: cannot take effect, some/name is no run folder. Drop it."):
        checkpoints_of("some/name", "all")
    with pytest.raises(ConfigError, match=r"checkpoints: got 'worst', expected one of best, last, all."):
        checkpoints_of("some/name", "worst")  # type: ignore[arg-type]


def test_checkpoints_of_a_run(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        folder = tmp_path / f"step_{step:08d}"
        folder.mkdir()
        (folder / "state.json").write_text(json.dumps({"step": step, "files": {}, "best": {"step": 20}}))
    steps = {which: [one.step for one in checkpoints_of(str(tmp_path), which)] for which in ("best", "last", "all")}
    assert steps == {"best": [20], "last": [30], "all": [10, 20, 30]}
    assert checkpoints_of(str(tmp_path))[0].name == f"{tmp_path} @ 20"
