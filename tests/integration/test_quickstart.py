"""The first command a user runs, shortened to a few steps."""

from __future__ import annotations

import json
from pathlib import Path

from textfer.display import Terminal
from textfer.quickstart import run_quickstart

SHORT = ["training.num_steps=4", "training.save_every=2", "data.limit=200", "eval.limit=10"]


def test_quickstart_trains_marks_and_asks_and_again(tmp_path: Path) -> None:
    said: list[str] = []
    run = tmp_path / "quick"
    for _ in range(2):  # the second time nothing is left to train
        with Terminal(quiet=True) as display:
            assert run_quickstart(run, display=display, say=said.append, overrides=SHORT) == 0
    text = "\n".join(said)
    assert text.count("Before training, on 10 held-out questions") == 2
    assert text.count("After 4 steps, on the same questions") == 2
    assert text.count("Question: ") == 6
    assert "What it cannot" in text
    assert (run / "report.html").read_text().count("<svg") > 0
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert max(steps) == 4
    assert steps == sorted(steps)


def test_again_begins_anew_and_leaves_other_files_alone(tmp_path: Path) -> None:
    run = tmp_path / "quick"
    run.mkdir()
    (run / "mine.txt").write_text("keep")
    with Terminal(quiet=True) as display:
        for overrides in (SHORT, ["seed=2", *SHORT]):  # other settings than before: only anew
            assert run_quickstart(run, display=display, say=lambda text: None, again=True, overrides=overrides) == 0
    assert (run / "mine.txt").exists()
    assert json.loads((run / "recipe.json").read_text())["seed"] == 2
