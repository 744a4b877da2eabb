"""A BERT is pre-trained by `textfer train` like any other model: it learns, resumes, and its run is a model."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from tiny import STOP_AT, Stopped, Stopping, assert_equal, losses, parts_of, train

from textfer.data.stream import Cursor
from textfer.errors import ConfigError
from textfer.models import load_model
from textfer.models.bert import Bert
from textfer.parts import load
from textfer.recipe import Recipe, load_recipe
from textfer.training.checkpoint import Run

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = ("Mara", "Odo", "Lena", "Tibor")
PLACES = ("harbour", "mill", "orchard", "quarry")
MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
RECIPE = """
[model]
name = "bert"
model_dim = 32
ff_dim = 64
num_heads = 4
num_layers = 1
max_positions = 40
dropout = 0.1
pooler = false
next_sentence = false
[tokenizer]
path = "{vocabulary}"
[data]
tasks = ["{text}"]
inputs_len = 24
[objective]
name = "masked_lm"
whole_words = true
[training]
num_steps = 6
batch_size = 8
log_every = 1
[training.optimizer]
name = "adamw"
lr = 1e-2
weight_decay = 0.01
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    """The path of a recipe; every name has its place, so hidden words can be guessed."""
    draw = random.Random(5)
    lines = [f"{NAMES[n]} walks to the {PLACES[n]} ." for n in (draw.randrange(4) for _ in range(400))]
    text, vocabulary, path = tmp_path / "walks.txt", tmp_path / "vocab.txt", tmp_path / "tiny.toml"
    text.write_text("\n".join(lines), encoding="utf-8")
    words = [*MARKS, *(name.lower() for name in NAMES), *PLACES, "walk", "##s", "to", "the", "."]
    vocabulary.write_text("\n".join(words), encoding="utf-8")
    path.write_text(RECIPE.format(vocabulary=vocabulary, text=text), encoding="utf-8")
    return str(path)


def recipe_with(recipe: str, *words: str) -> Recipe:
    return load_recipe(recipe, list(words))


def test_it_learns_and_its_run_is_a_model(recipe: str, tmp_path: Path) -> None:
    train(recipe_with(recipe, "training.num_steps=80"), tmp_path / "run")
    curve = [loss for _, loss, _ in losses(tmp_path / "run")]
    assert 2.5 < curve[0] < 3.5, "as many words as the vocabulary has, ln 18 = 2.9"
    assert sum(curve[-5:]) / 5 < 0.6 * curve[0]
    model = load_model(Run(tmp_path / "run").at(80))
    assert isinstance(model, Bert)
    assert model.options.max_positions == 40
    reader = load(str(tmp_path / "run"), device="cpu")
    assert reader.embed(["the heron", "the fish stands"]).shape == (2, model.options.model_dim)
    with pytest.raises(ConfigError, match="reads and writes nothing; it has none"):
        reader.generate("the heron")


def test_resumed_is_unbroken_bit_for_bit(recipe: str, tmp_path: Path) -> None:
    words = ["training.save_every=3", "data.pack=true"]
    train(recipe_with(recipe, *words), tmp_path / "whole")
    with pytest.raises(Stopped):
        train(recipe_with(recipe, *words), tmp_path / "broken", Stopping(STOP_AT + 1))
    train(recipe_with(recipe, *words), tmp_path / "broken")
    assert_equal(tmp_path / "broken", tmp_path / "whole")


def test_a_step_counts_its_tokens_once_and_names_a_seventh_of_them(recipe: str, tmp_path: Path) -> None:
    parts = parts_of(recipe_with(recipe), tmp_path / "run")
    step = next(parts.stream.steps(Cursor()))
    (batch,) = step.batches
    assert step.num_tokens == batch.num_tokens == sum(run.end - run.start for run in batch.encoder.runs)
    assert step.num_targets == batch.num_targets
    assert 0.13 < step.num_targets / step.num_tokens < 0.17, "4 of 24"
    assert batch.decoder is None
    marks = torch.isin(batch.targets, torch.tensor([2, 3]))
    assert not (batch.weights[marks] > 0).any()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["objective.name=lm"], "objective: its targets are written out, and the answers of this model are in place"),
        (["data.inputs_len=60"], "data.inputs_len: is 60, and the model has 40 positions"),
        (["model.masked_lm=false"], "objective: its targets are in place, and the answers of this model are by heads"),
        (['eval.tasks=["reading"]'], "eval.tasks: got a Bert, which reads but does not write"),
        (['data.tasks=["{text}", "reading"]'], "'reading' is no plain text; heads and hidden words are learnt in turn"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(
    recipe: str, words: list[str], message: str, tmp_path: Path
) -> None:
    text = str(tmp_path / "walks.txt")
    with pytest.raises(ConfigError) as caught:
        parts_of(recipe_with(recipe, *(word.replace("{text}", text) for word in words)), tmp_path / "run")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
