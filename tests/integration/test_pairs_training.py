"""Hidden words and next sentences are learnt in one pass from plain text: it learns, resumes, and shows in a trace."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tiny import STOP_AT, Stopped, Stopping, assert_equal, losses, parts_of, train

from textfer.data.paired import Paired
from textfer.data.stream import Cursor
from textfer.errors import ConfigError
from textfer.recipe import Recipe, load_recipe
from textfer.trace import trace_recipe

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = ("mara", "odo", "lena", "tibor")
PLACES = ("harbour", "mill", "orchard", "quarry")
RECIPE = """
[model]
name = "bert"
model_dim = 32
ff_dim = 64
num_heads = 4
num_layers = 1
max_positions = 40
dropout = 0.1
[tokenizer]
path = "{vocabulary}"
[data]
tasks = ["{text}"]
inputs_len = 32
[objective]
name = "masked_lm"
next_sentence = true
[training]
num_steps = 6
batch_size = 8
log_every = 1
[training.optimizer]
name = "adamw"
lr = 1e-2
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    """The path of a recipe; a text is of one person, so that halves of one text can be told from others."""
    draw = random.Random(5)
    texts = []
    for _ in range(120):
        name = draw.choice(NAMES)
        texts.append(" ".join(f"{name} walks to the {draw.choice(PLACES)}." for _ in range(draw.randint(3, 9))))
    text, vocabulary, path = tmp_path / "walks.txt", tmp_path / "vocab.txt", tmp_path / "tiny.toml"
    text.write_text("\n".join(texts), encoding="utf-8")
    marks = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    vocabulary.write_text("\n".join([*marks, *NAMES, *PLACES, "walk", "##s", "to", "the", "."]), encoding="utf-8")
    path.write_text(RECIPE.format(vocabulary=vocabulary, text=text), encoding="utf-8")
    return str(path)


def recipe_with(recipe: str, *words: str) -> Recipe:
    return load_recipe(recipe, list(words))


def test_it_learns_and_says_what_follows(recipe: str, tmp_path: Path) -> None:
    parts = parts_of(recipe_with(recipe), tmp_path / "run")
    (part,) = parts.stream.parts
    assert isinstance(part, Paired)
    step = next(parts.stream.steps(Cursor()))
    (batch,) = step.batches
    assert batch.encoder is not None
    assert batch.encoder.types is not None
    assert step.num_targets == batch.num_targets
    assert 0 < int(batch.heads["next_sentence"].sum()) < 8
    train(recipe_with(recipe, "training.num_steps=50"), tmp_path / "run")
    curve = [loss for _, loss, _ in losses(tmp_path / "run")]
    assert sum(curve[-5:]) / 5 < 0.75 * curve[0]


def test_resumed_is_unbroken_bit_for_bit(recipe: str, tmp_path: Path) -> None:
    words = ["training.save_every=3", "data.pack=true"]
    train(recipe_with(recipe, *words), tmp_path / "whole")
    with pytest.raises(Stopped):
        train(recipe_with(recipe, *words), tmp_path / "broken", Stopping(STOP_AT + 1))
    train(recipe_with(recipe, *words), tmp_path / "broken")
    assert_equal(tmp_path / "broken", tmp_path / "whole")


def test_a_trace_shows_both_halves(recipe: str) -> None:
    stages = {stage.name: "\n".join(stage.lines) for stage in trace_recipe(recipe_with(recipe), 2)}
    assert "tokens from walks/train:" in stages["raw text"]
    assert "[SEP]" in stages["ids"]
    assert stages["ids"].splitlines()[-1] in ("head next_sentence: 0", "head next_sentence: 1")


def test_a_model_without_the_head_is_refused(recipe: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this BERT has no head next_sentence"):
        train(recipe_with(recipe, "model.next_sentence=false"), tmp_path / "run")
