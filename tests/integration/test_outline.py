"""What is told before a run: rates, epochs and tokens of each task."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import Quiet

from textfer.display import Terminal
from textfer.recipe import load_recipe
from textfer.run import Outline, run_train

RECIPE = """
[model]
name = "t5"
model_dim = 32
ff_dim = 48
head_dim = 8
num_heads = 4
num_layers = 1
[tokenizer]
path = "bytes"
[data]
tasks = {tasks}
inputs_len = 16
targets_len = 8
[training]
num_steps = 20
batch_size = 10
[training.optimizer]
name = "adamw"
lr = 3e-3
"""


class Kept(Quiet):
    """Remembers the outline."""

    def outlined(self, outline: object) -> None:
        assert isinstance(outline, Outline)
        self.outline = outline


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Two tasks: 300 examples of 11 + 4 bytes and 100 of 31 + 4, end marks included; these lose their end."""
    for split in ("train", "validation"):
        for name, num, size in (("short", 300, 10), ("long", 100, 30)):
            rows = ({"inputs": "x" * size, "targets": f"{n:03}"} for n in range(num))
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = tmp_path / "two.toml"
    recipe.write_text(RECIPE.format(tasks=[str(tmp_path / "short"), str(tmp_path / "long")]))
    return str(recipe)


def outline_of(path: str, folder: Path, *words: str) -> Outline:
    kept = Kept()
    assert run_train(load_recipe(path, words), folder / "run", display=kept, dry_run=True) is None
    return kept.outline


def test_epochs_and_tokens_of_each_task(path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outline = outline_of(path, tmp_path)
    short, long = outline.tasks
    assert outline.examples_a_row == 1
    assert (short.num_examples, short.rate, short.epochs) == (300, 0.75, 0.5)
    assert (long.num_examples, long.rate, long.epochs) == (100, 0.25, 0.5)
    assert (short.run_tokens, long.run_tokens) == (150 * (11 + 4), 50 * (16 + 4))
    assert (short.cut_inputs, long.cut_inputs, long.cut_targets) == (0, 100, 0)
    Terminal().outlined(outline)
    lines = [line.split() for line in capsys.readouterr().err.splitlines()]
    assert ["long/train", "100", "0.2500", "0.50", "1,000", "100", "0", "0"] in lines
    assert ["2", "tasks", "400", "1.0000", "3,250"] in lines


def test_packed_rows_hold_several_examples(path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outline = outline_of(path, tmp_path, "data.pack=true", "data.inputs_len=64", "data.targets_len=64")
    assert 2 < outline.examples_a_row < 6
    heard = 200 * outline.examples_a_row
    assert [task.epochs for task in outline.tasks] == pytest.approx([heard / 400, heard / 400])
    Terminal().outlined(outline)
    assert f"packed: about {outline.examples_a_row:.1f} examples a row, by the first block" in capsys.readouterr().err
