"""What tests of the command line share: one tiny trained model, and commands called in this process."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
from console import Done

from textfer import cli

RECIPE = """
[model]
name = "t5"
model_dim = 32
ff_dim = 48
head_dim = 8
num_heads = 4
num_layers = 1
dropout = 0.0
[tokenizer]
path = "{vocabulary}"
[data]
tasks = ["reading"]
inputs_len = 128
targets_len = 64
limit = 300
[training]
num_steps = 4
batch_size = 8
log_every = 1
save_every = 2
[training.optimizer]
name = "adamw"
lr = 3e-3
[eval]
tasks = ["reading"]
limit = 4
[eval.decoding]
max_new_tokens = 4
"""


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command in this process; never a traceback, and errors in one line."""

    def run(*words: object, stdin: str | bytes = "") -> Done:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Done(int(left.value.code or 0), out, err)

    return run


@pytest.fixture(scope="module")
def recipe(vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE.format(vocabulary=vocabulary), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that `textfer train` made."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    with pytest.raises(SystemExit) as left:
        cli.main(["train", str(recipe), "--run", str(folder), "--quiet"])
    assert left.value.code == 0
    return folder
