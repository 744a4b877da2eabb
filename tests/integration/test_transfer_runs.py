"""Runs under every registered way of transfer: resumed is unbroken, what is saved is small and loads upon its base."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import ALONE, Quiet, Stopped, Stopping, Write, losses, parts_of, train

import textfer
from textfer.adapt import METHODS
from textfer.errors import CheckpointError, ConfigError
from textfer.parts import build_parts, open_model
from textfer.recipe import Recipe, load_recipe
from textfer.run import check_same_recipe, outline
from textfer.tokenizers import load_tokenizer
from textfer.training.checkpoint import Run

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS = {
    "frozen": ["method.train=['decoder.*']"],
    "adapters": ["method.inner_dim=4"],
    "lora": ["method.rank=2", "method.dropout=0.1"],
    "soft_prompt": ["method.num_vectors=5"],
}
STOP_AT = 3
BY_HEADS = {"features"}
"""Methods of models with heads: their own tests train them."""


@pytest.fixture
def begun_from(tiny_recipe: Write, tmp_path: Path) -> Callable[..., Recipe]:
    """A base, trained for a step; and recipes that begin from it."""
    train(load_recipe(str(tiny_recipe(num_steps=1))), tmp_path / "base")
    text = tiny_recipe().read_text(encoding="utf-8")
    path = tmp_path / "from_base.toml"
    path.write_text(f'init = "{tmp_path / "base"}"\n' + re.sub(r"\[model\].*?(?=\[data\])", "", text, flags=re.S))

    def recipe(method: str, *words: str) -> Recipe:
        return load_recipe(str(path), [f"method.name={method}", *OPTIONS.get(method, []), *words])

    return recipe


def tensors(run: Path) -> dict[str, Any]:
    """All that the newest checkpoint holds."""
    folder = Run(run).at(Run(run).steps()[-1])
    return {
        f"{file.name}/{name}": value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()
    }


@pytest.mark.parametrize("method", [name for name in METHODS.names() if name not in BY_HEADS])
def test_resumed_is_unbroken_and_loads(begun_from: Callable[..., Recipe], tmp_path: Path, method: str) -> None:
    recipe = begun_from(method, f"training.save_every={STOP_AT}")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(recipe, whole)
    with pytest.raises(Stopped):
        train(recipe, broken, Stopping(STOP_AT + 2))
    display = Quiet()
    train(recipe, broken, display)
    assert display.began == STOP_AT
    assert losses(broken) == losses(whole)
    ours, theirs = tensors(broken), tensors(whole)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    if METHODS.get(method).partial:
        assert not list(whole.glob("step_*/model.safetensors")), "the base is not saved again"
    asked = ["question: Who sings? context: Mira Solano sings in Port Ellery."]
    assert textfer.load(str(whole)).generate(asked) == textfer.load(str(broken)).generate(asked)


def test_what_stands_still_has_no_optimiser_state(begun_from: Callable[..., Recipe], tmp_path: Path) -> None:
    train(begun_from("frozen"), tmp_path / "run")
    remembered = {name.split("/")[1] for name in tensors(tmp_path / "run") if name.startswith("optimizer")}
    assert remembered
    assert all(name.startswith("decoder.") for name in remembered)


def test_state_appears_when_a_layer_thaws(begun_from: Callable[..., Recipe], tmp_path: Path) -> None:
    train(begun_from("gradual", "training.save_every=2", "training.keep=9"), tmp_path / "run")
    found = {}
    for step in (2, 6):
        names = load_file(Run(tmp_path / "run").at(step) / "optimizer.safetensors")
        found[step] = {name.split(".")[2] for name in names if name.startswith("encoder.layers")}
    assert found == {2: {"1"}, 6: {"0", "1"}}


def test_a_run_loads_with_what_was_learnt(begun_from: Callable[..., Recipe], tmp_path: Path) -> None:
    train(begun_from("lora"), tmp_path / "run")
    base, model = open_model(Run(tmp_path / "base").best() or tmp_path), open_model(Run(tmp_path / "run").at(6))
    before = dict(base.named_parameters())
    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == {name for name in before if name.endswith((".q.weight", ".v.weight"))}


def test_another_base_is_refused(begun_from: Callable[..., Recipe], tiny_recipe: Write, tmp_path: Path) -> None:
    recipe = begun_from("adapters", "training.num_steps=2")
    train(recipe, tmp_path / "run")
    (tmp_path / "base").rename(tmp_path / "old")
    with pytest.raises(CheckpointError, match="its base is not there"):
        textfer.load(str(tmp_path / "run"))
    train(load_recipe(str(tiny_recipe(num_steps=2)), ["seed=5"]), tmp_path / "base")
    with pytest.raises(CheckpointError, match="lies upon other weights") as caught:
        textfer.load(str(tmp_path / "run"))
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="lies upon other weights"):
        parts_of(recipe, tmp_path / "run")


def test_frozen_random_weights_are_saved_whole(tiny_recipe: Write, tmp_path: Path) -> None:
    """Without `init` there is no base to lie upon."""
    recipe = load_recipe(str(tiny_recipe(num_steps=2)), ["method.name=frozen", "method.train=['decoder.*']"])
    train(recipe, tmp_path / "run")
    assert (Run(tmp_path / "run").at(2) / "model.safetensors").exists()
    assert train(recipe, tmp_path / "run").step == 2


def test_a_run_begun_from_lora_saves_it_merged(begun_from: Callable[..., Recipe], tmp_path: Path) -> None:
    train(begun_from("lora", "training.num_steps=2"), tmp_path / "first")
    recipe = begun_from("full", "training.num_steps=2", f"init={tmp_path / 'first'}")
    train(recipe, tmp_path / "second")
    assert (Run(tmp_path / "second").at(2) / "model.safetensors").exists()
    train(begun_from("adapters", "training.num_steps=2"), tmp_path / "third")
    with pytest.raises(ConfigError, match="of another method, expected whole weights"):
        parts_of(begun_from("full", f"init={tmp_path / 'third'}"), tmp_path / "fourth")


def test_the_outline_counts_what_is_trained(begun_from: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe, run = begun_from("lora"), Run(tmp_path / "run")
    parts = build_parts(recipe, run, ALONE, data_dir=None)
    shown = outline(recipe, parts, run, ALONE.device)
    assert shown.num_trainable == 12 * 2 * (32 + 32), "six attentions, q and v, rank 2"
    assert shown.num_trainable < shown.num_parameters / 10


def test_a_run_from_before_there_were_methods_goes_on(tiny_recipe: Write, tmp_path: Path) -> None:
    recipe = load_recipe(str(tiny_recipe(num_steps=1)))
    train(recipe, tmp_path / "run")
    saved = tmp_path / "run" / "recipe.json"
    values = json.loads(saved.read_text())
    del values["method"]
    saved.write_text(json.dumps(values))
    check_same_recipe(recipe, Run(tmp_path / "run"))
    with pytest.raises(ConfigError, match=r"method\.name: 'full' → 'gradual'"):
        check_same_recipe(load_recipe(str(tiny_recipe(num_steps=1)), ["method.name=gradual"]), Run(tmp_path / "run"))


def test_runs_on_one_base_are_put_on_by_request(begun_from: Callable[..., Recipe], tmp_path: Path) -> None:
    names = ["frozen", "adapters", "lora", "soft_prompt"]
    for name in names:
        train(begun_from(name, "training.num_steps=2"), tmp_path / name)
    reader = textfer.load(str(tmp_path / "base"), adapters={name: tmp_path / name for name in names})
    assert isinstance(reader, textfer.TextToText)
    asked, targets = "question: Who sings? context: Mira Solano sings in Port Ellery.", ["Mira Solano", "Port Ellery"]
    for name in (None, *names):
        alone = textfer.load(str(tmp_path / (name or "base")))
        assert isinstance(alone, textfer.TextToText)
        assert reader.score(asked, targets, adapter=name) == pytest.approx(alone.score(asked, targets), abs=1e-4)
    with pytest.raises(CheckpointError, match="holds a whole model"):
        reader.add_adapter("more", tmp_path / "base")


def test_changes_made_with_another_vocabulary_are_refused(begun_from: Callable[..., Recipe], tmp_path: Path) -> None:
    train(begun_from("adapters", "training.num_steps=2"), tmp_path / "run")
    reader = textfer.load(str(tmp_path / "base"))
    assert isinstance(reader, textfer.TextToText)
    load_tokenizer("bytes").save(tmp_path / "run" / "tokenizer")
    for file in (tmp_path / "run" / "tokenizer").glob("*.model"):
        file.unlink()
    with pytest.raises(CheckpointError, match="was trained with another vocabulary"):
        reader.add_adapter("run", tmp_path / "run")
