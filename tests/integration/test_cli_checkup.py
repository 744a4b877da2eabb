"""`doctor data` as people meet it, and parts of one's own."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from console import refused, write

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS = [("Where is the mill?", "In Aldon."), ("Who owns it?", "Maud Hale."), ("Who owns it?", "Nobody.")]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A folder of one's own rows, with a row of train in validation."""
    folder = tmp_path / "rows"
    folder.mkdir()
    for split, chosen in {"train": ROWS, "validation": [ROWS[0], ("When?", "In May.")]}.items():
        lines = [json.dumps({"question": question, "answer": answer}) for question, answer in chosen]
        write(folder / f"{split}.jsonl", "\n".join(lines))
    return folder


def test_rows_labels_and_leaks(call: Any, rows: Path) -> None:
    done = call("doctor", "data", "--task", rows, "--json")
    assert done.code == 0, done.err
    train, validation = done.json["splits"]
    assert (train["num_rows"], train["num_doubled"], train["num_contradicting"]) == (3, 1, 1)
    assert (validation["num_examples"], validation["cut_inputs"], validation["num_labels"]) == (2, None, 2)
    (leak,) = done.json["leaks"]
    assert (leak["same"], leak["num_evaluation"], leak["num_train"]) == (1, 2, 1)
    told = call("doctor", "data", "--task", rows).out
    assert "1 inputs twice with different targets" in told
    assert "1 the same and 0 with 13 words in a row, of 2 (50.0%), in 1 examples of" in told


def test_tokens_and_what_is_cut(call: Any, rows: Path, vocabulary: Path) -> None:
    words = ("doctor", "data", "--task", rows, "--tokenizer", vocabulary, "--lens", "6/3")
    train, _ = call(*words, "--json").json["splits"]
    assert train["tokens"] > 0
    assert train["cut_inputs"] == 3
    told = call(*words).out
    assert "input tokens" in told
    assert "Cut at 6/3." in told


def test_a_bad_row_is_told_and_counts(call: Any, rows: Path) -> None:
    with (rows / "train.jsonl").open("a") as file:
        file.write('\n{"question": "Why?", "answer": null}\n')
    done = call("doctor", "data", "--task", rows)
    assert done.code == 3
    assert ": 1, the first: " in done.out
    assert "answer" in done.out


def test_a_named_task_without_rows(call: Any, rows: Path, tmp_path: Path) -> None:
    done = call("doctor", "data", "--task", rows, "--task", "squad", "--data", tmp_path)
    assert done.code == 3
    assert "no rows: squad: rajpurkar/squad: no folder" in done.out
    done = call("doctor", "data", "--data", tmp_path)
    assert (done.code, done.out) == (3, "")
    assert "has rows" in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "squad"], "--task: cannot take effect without `data`: textfer doctor data --task …"),
        (["data"], "doctor data: which rows? Give --task, --mixture or --data."),
        (["data", "--task", "sqad"], "unknown task 'sqad'. Did you mean 'squad'?"),
        (["data", "--mixture", "exmix_opn"], "unknown mixture 'exmix_opn'. Did you mean 'exmix_open'?"),
        (
            ["data", "--task", "squad", "--lens", "6/3"],
            "--lens: cannot take effect without --tokenizer, which counts the tokens.",
        ),
        (
            ["data", "--task", "squad", "--lens", "6", "--tokenizer", "bytes"],
            "--lens: got '6', expected INPUTS/TARGETS, such as 512/114.",
        ),
    ],
)
def test_refused(call: Any, words: Sequence[str], message: str) -> None:
    refused(call("doctor", *words), 2, message)


def test_a_module_of_ones_own(call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        tmp_path / "own_part.py",
        "from textfer.data.task import Mixture, MIXTURES\n"
        "MIXTURES.add('own_mixture', Mixture(name='own_mixture', parts={'squad': None}, summary='of my own'))\n",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    shown = call("--import", "own_part", "show", "mixture", "own_mixture")
    assert (shown.code, shown.err) == (0, "")
    assert "of my own" in shown.out
    refused(
        call("--import", "nowhere_part", "show", "tasks"),
        2,
        "--import: 'nowhere_part' cannot be imported (No module named 'nowhere_part').",
    )
