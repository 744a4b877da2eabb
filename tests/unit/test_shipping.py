"""Models packed by the command: where they land, what is written beside them, which one is asked when none is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import textfer.models.packed as packed
import textfer.shipping as shipping
from textfer.cli import cli
from textfer.cli.parts import chosen_model
from textfer.errors import ConfigError
from textfer.heads import Head
from textfer.models import MODELS
from textfer.models.headed import HeadOptions, with_heads
from textfer.shipping import PAPERS, able, ship

SIZES = {"model_dim": 32, "ff_dim": 64, "num_heads": 2, "num_layers": 1}


@pytest.fixture
def run(vocabulary: Path, tmp_path: Path) -> Path:
    """What a run of a reader leaves behind, as far as packing looks at it."""
    from textfer.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(str(vocabulary))
    torch.manual_seed(1)
    bert = MODELS.get("bert").make({**SIZES, "pooler": False, "next_sentence": False}, vocab_size=tokenizer.vocab_size)
    head = Head(name="span", kind="span", tasks=("squad",), threshold=0.0)
    folder = tmp_path / "run"
    with_heads(bert, [head], HeadOptions()).save(folder)
    tokenizer.save(folder / "tokenizer")
    recipe = {"summary": "Reads", "init": "/somewhere/begun", "data": {"tasks": ["squad", "./gone.csv"]}}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for models of the package."""
    folder = tmp_path / "embedded"
    monkeypatch.setattr(packed, "EMBEDDED_DIR", folder)
    monkeypatch.setattr(shipping, "EMBEDDED_DIR", folder)
    return folder


def test_a_run_is_packed_with_its_papers(run: Path, home: Path, tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    card.write_text("# Mine\n")
    words = ["pack", str(run), "my-reader", "--licence", "MIT", "--card", str(card), "--made-from", "a BERT", "--json"]
    said = json.loads(CliRunner().invoke(cli, words, catch_exceptions=False).output)
    assert (said["folder"], said["drafted"]) == (str(home / "my-reader"), ["LICENSE", "NOTICE"])
    notice = (home / "my-reader" / "NOTICE").read_text()
    assert "a BERT" in notice
    assert "- squad: CC BY-SA 4.0" in notice
    assert "- ./gone.csv: not said" in notice
    assert "/somewhere" not in notice
    assert (home / "my-reader" / "card.md").read_text() == "# Mine\n"
    assert "MIT" in (home / "my-reader" / "LICENSE").read_text()
    assert said["num_bytes"] == sum(path.stat().st_size for path in (home / "my-reader").rglob("*") if path.is_file())
    assert {path.stat().st_mode & 0o777 for path in home.rglob("*") if path.is_file()} == {0o644}


def test_the_package_lists_what_its_models_can_do_and_whether_they_are_whole(run: Path, home: Path) -> None:
    ship(str(run), "my-reader", about={"licence": "MIT"})
    (row,) = json.loads(CliRunner().invoke(cli, ["show", "models", "--json"]).output)["embedded"]
    assert row["can"] == "finds answers in a text, or says that it holds none"
    assert (row["state"], row["licence"], row["summary"], row["bits"]) == ("whole", "MIT", "Reads", 8)
    text = CliRunner().invoke(cli, ["show", "models"]).output.splitlines()[-1]
    assert text.startswith("my-reader  0.0 M parameters  8 bits  0.")
    (home / "my-reader" / "card.md").write_text("other words")
    shown = CliRunner().invoke(cli, ["show", "models"]).output
    assert "card.md: damaged" in shown
    (home / "my-reader" / packed.MANIFEST).write_text("{}")
    assert "packed.json: is no record" in CliRunner().invoke(cli, ["show", "models"]).output


def test_a_checkpoint_has_its_run_s_record(run: Path, home: Path) -> None:
    step = run / "step_00000003"
    step.mkdir()
    for path in [path for path in run.iterdir() if path.is_file() and path.name != "recipe.json"]:
        path.rename(step / path.name)
    ship(str(step), "mine")
    assert packed.read_manifest(home / "mine")["data"] == {"squad": "CC BY-SA 4.0", "./gone.csv": "not said"}


def test_other_places_and_bits(run: Path, home: Path, tmp_path: Path) -> None:
    shipped = ship(str(run), "other", bits=16, out=tmp_path / "elsewhere")
    assert shipped.folder == tmp_path / "elsewhere" / "other"
    assert shipped.drafted == PAPERS
    assert packed.read_manifest(shipped.folder)["bits"] == 16
    assert not home.exists()


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a\\b"])
def test_names_that_are_no_folder_s(run: Path, home: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"expected a word that can name a folder"):
        ship(str(run), name)


def test_changes_alone_are_refused(run: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "holds_changes", lambda folder: True)
    with pytest.raises(ConfigError, match=r"holds only what a method changed"):
        ship(str(run), "mine")


def test_a_card_that_cannot_be_read(run: Path, home: Path, tmp_path: Path) -> None:
    (tmp_path / "card").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match=r"card: cannot be read .*Give a text file"):
        ship(str(run), "mine", papers={"card.md": tmp_path / "card"})


def test_what_a_writer_can_do(vocabulary: Path, tmp_path: Path) -> None:
    MODELS.get("t5").make({**SIZES, "head_dim": 16}, vocab_size=300).save(tmp_path / "t5")
    assert able(tmp_path / "t5") == "writes answers"


def test_which_model_is_asked_when_none_is_named(run: Path, home: Path) -> None:
    assert chosen_model("any", "starter-reader") == "any"
    with pytest.raises(ConfigError, match=r"--model: got none, and starter-reader or starter-t5 is not in this copy"):
        chosen_model(None, "starter-reader", "starter-t5")
    ship(str(run), "starter-t5")
    assert chosen_model(None, "starter-reader", "starter-t5") == "starter-t5"
    ship(str(run), "starter-reader")
    assert chosen_model(None, "starter-reader", "starter-t5") == "starter-reader"
    words = ["ask", "Where?", "--context", "In Paris.", "--json"]
    assert "answer" in json.loads(CliRunner().invoke(cli, words, catch_exceptions=False).output)
    with pytest.raises(ConfigError, match=r"--closed-book: needs a model that remembers"):
        CliRunner().invoke(cli, ["ask", "Where?", "--closed-book"], catch_exceptions=False)
