"""A tiny ELMo is pre-trained by the one trainer: it learns from both sides, resumes, and refuses what does not fit."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from tiny import STOP_AT, Stopped, Stopping, assert_equal, losses, parts_of, train
from torch.nn import functional as F

from textfer.data.stream import Cursor
from textfer.errors import ConfigError
from textfer.models import load_model
from textfer.models.elmo import Elmo
from textfer.recipe import Recipe, load_recipe
from textfer.tokenizers import load_tokenizer
from textfer.training.checkpoint import Run
from textfer.training.loss import cross_entropy

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = ("Mara", "Odo", "Lena", "Tibor")
PLACES = ("harbour", "mill", "orchard", "quarry")
MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
RECIPE = """
[model]
name = "elmo"
model_dim = 12
num_cells = 20
num_layers = 2
char_dim = 4
filters = [[1, 8], [3, 12]]
max_chars = 12
dropout = 0.1
[tokenizer]
path = "{vocabulary}"
[data]
tasks = ["{text}"]
inputs_len = 24
[objective]
name = "both_ways"
[training]
num_steps = 6
batch_size = 8
log_every = 1
[training.optimizer]
name = "adamw"
lr = 1e-2
weight_decay = 0.0
clip_norm = 10.0
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    """The path of a recipe; every name has its place, so either tells the other."""
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


@pytest.mark.parametrize("more", [[], ["model.num_sampled=9", "model.cell_clip=none", "model.state_clip=none"]])
def test_it_learns_from_both_sides_and_its_run_is_a_model(recipe: str, more: list[str], tmp_path: Path) -> None:
    train(recipe_with(recipe, "training.num_steps=60", *more), tmp_path / "run")
    curve = [loss for _, loss, _ in losses(tmp_path / "run")]
    assert 1.5 < curve[0] < 3.5, "as many words as the vocabulary has, ln 18 = 2.9"
    assert (curve[0] < 2.4) is bool(more), "told from nine words it is about ln 10"
    assert sum(curve[-5:]) / 5 < 0.6 * curve[0]
    model = load_model(Run(tmp_path / "run").at(60)).eval()
    assert isinstance(model, Elmo)
    assert model.is_spelt
    word = load_tokenizer(tmp_path / "vocab.txt").encode("harbour")[0]
    assert bytes(model.spellings[word, 1:8].tolist()) == b"harbour"
    (batch,) = next(parts_of(recipe_with(recipe, *more), tmp_path / "run").stream.steps(Cursor())).batches
    with torch.no_grad():
        states, targets, weights = model.states(batch)
        found = F.cross_entropy(F.linear(states, *model.readout()), targets, reduction="none")
    assert torch.isclose(cross_entropy(model, batch).sum / weights.sum(), found.mean())
    sides = found[::2].mean(), found[1::2].mean()
    assert max(sides) < 1.5, "below 2.4, what is known from how often each word occurs"


def test_resumed_is_unbroken_bit_for_bit(recipe: str, tmp_path: Path) -> None:
    words = ["training.save_every=3", "data.pack=true", "model.num_sampled=9"]
    train(recipe_with(recipe, *words), tmp_path / "whole")
    with pytest.raises(Stopped):
        train(recipe_with(recipe, *words), tmp_path / "broken", Stopping(STOP_AT + 1))
    train(recipe_with(recipe, *words), tmp_path / "broken")
    assert_equal(tmp_path / "broken", tmp_path / "whole")


def test_a_run_may_begin_from_another_and_tell_words_otherwise(recipe: str, tmp_path: Path) -> None:
    train(recipe_with(recipe), tmp_path / "first")
    path, whole = tmp_path / "second.toml", Path(recipe).read_text(encoding="utf-8")
    head = f'init = "{tmp_path / "first"}"\n[model]\nnum_sampled = 5\n'
    path.write_text(head + whole[whole.index("[data]") :], encoding="utf-8")
    train(load_recipe(str(path)), tmp_path / "second")
    model = load_model(Run(tmp_path / "second").at(6))
    assert isinstance(model, Elmo)
    assert model.options.num_sampled == 5
    assert model.is_spelt


def test_a_step_counts_its_tokens_and_names_every_one(recipe: str, tmp_path: Path) -> None:
    step = next(parts_of(recipe_with(recipe), tmp_path / "run").stream.steps(Cursor()))
    (batch,) = step.batches
    assert step.num_tokens == step.num_targets == batch.num_targets == 8 * 24
    assert torch.equal(batch.targets, batch.encoder.ids)
    assert batch.decoder is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["objective.name=lm"], "objective: its targets are written out, and the answers of this model are in place"),
        (
            ["objective.name=masked_lm"],
            "both_ways hides nothing, so it is for models that guess a token without seeing",
        ),
        (
            [
                "model.name=bert",
                "model.model_dim=12",
                "model.num_heads=2",
                "model.ff_dim=8",
                "model.next_sentence=false",
            ],
            "both_ways hides nothing, so it is for models that guess a token without seeing it",
        ),
        (["model.lm=false"], "objective: its targets are in place, and the answers of this model are by heads"),
        (["model.num_sampled=18"], "model.num_sampled: is 18, expected fewer than the vocabulary's 18 rows"),
        (['eval.tasks=["reading"]'], "eval.tasks: got a Elmo, which reads but does not write"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(
    recipe: str, words: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        parts_of(recipe_with(recipe, *words), tmp_path / "run")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
