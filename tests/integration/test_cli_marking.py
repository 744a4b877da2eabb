"""`eval` over several tasks and checkpoints, ways to answer, what is kept; `submit`: as people type them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from console import refused, write

from textfer.data.task import TASKS

pytestmark = pytest.mark.usefixtures("one_thread")
ROWS = "".join(f"{'sun' if n % 3 else 'rain'} on day {n},{'good' if n % 3 else 'bad'}\n" for n in range(60))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows with a class."""
    return write(tmp_path_factory.mktemp("own") / "days.csv", "text,label\n" + ROWS)


def test_rank_and_constrained_never_leave_the_labels(call: Any, model: Path, own: Path, tmp_path: Path) -> None:
    for how in ("rank", "constrained"):
        done = call("eval", model, "--task", own, "--how", how, "--out", tmp_path / how, "--resamples", 10)
        assert done.code == 0, done.err
        answers = json.loads(next((tmp_path / how).rglob("*-validation.json")).read_text())
        assert set(answers.values()) <= {"good", "bad"}
        assert f"{how}, " in done.out
        assert "constant" in done.out.splitlines()[0]


def test_a_folder_of_answers_is_taken_up_again(
    call: Any, model: Path, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(model, run)
    shutil.copytree(run / "step_00000004", run / "step_00000002")  # the run kept only its last
    tasks = ("--task", own, "--task", "reading", "--limit", 4)
    words = ("eval", run, *tasks, "--checkpoints", "all", "--max-new-tokens")
    first = call(*words, 12, "--out", tmp_path / "kept", "--json")
    assert first.code == 0
    assert [one["step"] for one in first.json["results"]] == [2, 2, 4, 4]
    assert {path.name for path in (tmp_path / "kept").iterdir() if path.is_file()} == {
        "results.json",
        "table.md",
        "report.html",
    }
    assert json.loads((tmp_path / "kept" / "results.json").read_text()) == first.json
    with monkeypatch.context() as patch:
        patch.setattr("textfer.scoreboard.board.load", lambda folder: pytest.fail("nothing is left to answer"))
        assert call(*words, 12, "--out", tmp_path / "kept", "--json").json == first.json
    other = call(*words, 2, "--out", tmp_path / "kept", "--json")
    assert other.json["results"][0]["answered"] == "generate, greedy, at most 2 tokens"


def test_a_suite_without_its_data(call: Any, model: Path, tmp_path: Path) -> None:
    done = call("eval", model, "--suite", "glue", "--data", tmp_path)
    assert (done.code, done.out, done.err.count("\n")) == (3, "", 1)
    assert done.err.startswith("textfer: nyu-mll/glue: no folder")
    table = tmp_path / "table.md"
    words = ("--suite", "glue", "--task", "reading", "--limit", 2, "--data", tmp_path, "--skip-missing")
    done = call("eval", model, *words, "--markdown", table)
    assert done.code == 0
    assert "GLUE average: incomplete (0 of 9)" in done.out
    assert done.out.count("missing") == 10
    assert table.read_text().count("missing") == 10


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--suite", "gleu"], 2, "unknown suite 'gleu'. Did you mean 'glue'?"),
        (["--task", "reading", "--how", "rank"], 2, "eval: how = rank cannot take effect, reading has no choices."),
        (["--task", "reading", "--normalise", "tokens"], 2, "eval: normalise cannot take effect without how = rank."),
        (["--task", "reading", "--markdown", "no/dir/t.md"], 2, "--markdown: no/dir is no folder. Make it first."),
        (["--task", "reading", "--how", "best"], 2, "eval: Invalid value for '--how': 'best' is not one of"),
    ],
)
def test_eval_refuses(call: Any, model: Path, words: Sequence[str], code: int, message: str) -> None:
    done = call("eval", model, *words)
    assert done.err.startswith(f"textfer: {message}")
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)


def test_a_split_without_labels_is_refused(call: Any, model: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "nyu-mll/glue/cola"
    folder.mkdir(parents=True)
    rows = [{"sentence": f"s {n}", "label": -1, "idx": n} for n in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "test.parquet")
    refused(
        call("eval", model, "--task", "cola", "--split", "test", "--data", tmp_path),
        3,
        "cola/test: none of the 3 examples has a label, so nothing can be marked. "
        "Take another split, or make a leaderboard file with `textfer submit`.",
    )
    done = call("submit", model, "--suite", "glue", "--out", tmp_path / "g.zip", "--data", tmp_path)
    refused(
        done,
        3,
        "glue: CoLA has 3 test rows, expected 1,063. "
        "Get the whole split, or say --fill majority to answer with the commonest class.",
    )
    assert not (tmp_path / "g.zip").exists()


def test_submit_fills_what_is_missing_and_says_so(call: Any, model: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "nyu-mll/glue/wnli"
    folder.mkdir(parents=True)
    sample = TASKS.get("wnli_wsc").sample[2]
    pq.write_table(pa.Table.from_pylist([{**sample, "idx": n} for n in range(146)]), folder / "test.parquet")
    words = ("submit", model, "--suite", "glue", "--data", tmp_path, "--fill", "majority", "--max-new-tokens", 4)
    done = call(*words, "--out", tmp_path / "g.zip", "--keep", tmp_path / "kept", "--json")
    assert done.code == 0, done.err
    files = {one["file"]: one for one in done.json["files"]}
    assert len(files) == 11
    assert [name for name, one in files.items() if not one["filled"]] == ["WNLI.tsv"]
    assert files["QQP.tsv"]["num_rows"] == 390_965
    assert files["CoLA.tsv"]["filled"].startswith("glue: CoLA has no test rows (nyu-mll/glue: no folder ")
    assert len(next((tmp_path / "kept").rglob("*.jsonl")).read_text().splitlines()) == 147
    assert "filled with the majority" in call(*words, "--out", tmp_path / "g.zip", "--keep", tmp_path / "kept").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--suite", "glue"], "submit: give a MODEL or --predictions."),
        (["M", "--suite", "glue", "--predictions", "."], "submit: give a MODEL or --predictions."),
        (["--suite", "glue", "--predictions", ".", "--keep", "k"], "--keep: cannot take effect with --predictions."),
    ],
)
def test_submit_refuses(call: Any, words: Sequence[str], message: str) -> None:
    done = call("submit", *words, "--out", "x.zip")
    assert done.err.startswith(f"textfer: {message}")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
