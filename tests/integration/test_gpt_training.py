"""A GPT from the command line: pre-trained on plain text, fine-tuned text to text, asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from textfer.training.checkpoint import Run

pytestmark = pytest.mark.usefixtures("one_thread")

PRETRAIN = """
base = "gpt-mini"
[model]
model_dim = 32
num_heads = 2
num_layers = 2
context_len = 96
[tokenizer]
path = "bytes"
[objective]
name = "lm"
[data]
tasks = ["{folder}/lamps.txt"]
inputs_len = 2
targets_len = 32
pack = {pack}
[training]
num_steps = 8
batch_size = 8
log_every = 1
[training.optimizer]
name = "adamw"
lr = 1e-2
"""
FINETUNE = """
init = "{folder}/pre"
[data]
tasks = ["{folder}/pairs.tsv"]
inputs_len = 60
targets_len = 12
pack = true
[training]
num_steps = 3
batch_size = 4
log_every = 1
[training.optimizer]
name = "adamw"
lr = 1e-2
[eval]
tasks = ["{folder}/pairs.tsv"]
split = "train"
limit = 4
"""
NAMES = ("Ola", "Mira", "Tom", "Una", "Lev")


def losses(run: Path) -> list[float]:
    return [one["loss"] for one in Run(run).records() if "loss" in one]


@pytest.mark.parametrize("pack", ["true", "false"])
def test_pretrain_finetune_generate(call: Any, tmp_path: Path, pack: str) -> None:
    lines = [f"{NAMES[at % 5]} bought lamp {at % 7} and sold it to {NAMES[at % 3]}.\n" for at in range(80)]
    (tmp_path / "lamps.txt").write_text("".join(lines), encoding="utf-8")
    pairs = [f"{name} has lamp {at}. Who has lamp {at}?\t{name}\n" for at, name in enumerate(NAMES * 4)]
    (tmp_path / "pairs.tsv").write_text("inputs\ttargets\n" + "".join(pairs), encoding="utf-8")
    (tmp_path / "pre.toml").write_text(PRETRAIN.format(folder=tmp_path, pack=pack), encoding="utf-8")
    (tmp_path / "fine.toml").write_text(FINETUNE.format(folder=tmp_path), encoding="utf-8")

    done = call("train", tmp_path / "pre.toml", "--run", tmp_path / "pre", "--quiet")
    assert done.code == 0, done.err
    found = losses(tmp_path / "pre")
    assert found[0] == pytest.approx(5.95, abs=0.3), "as good as guessing among 384 tokens"
    assert found[-1] < found[0] - 1

    done = call("train", tmp_path / "fine.toml", "--run", tmp_path / "fine", "--quiet")
    assert done.code == 0, done.err
    assert losses(tmp_path / "fine")[0] < found[0]
    predictions = next((tmp_path / "fine").glob("predictions-*.json"))
    assert len(json.loads(predictions.read_text(encoding="utf-8"))) == 4

    done = call("generate", "--model", tmp_path / "fine", "Tom has lamp 2. Who has lamp 2?")
    assert done.code == 0, done.err

    done = call("train", tmp_path / "fine.toml", "data.inputs_len=90", "--run", tmp_path / "long", "--quiet")
    assert done.code == 2
    assert "make texts of 102 tokens, and the model has 96 positions" in done.err
