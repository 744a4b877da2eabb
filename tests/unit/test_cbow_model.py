"""CBOW as a model: a table learnt over the pieces of a vocabulary, its files, heads upon it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from textfer.batch import Ids, Specials
from textfer.data.layout import LAYOUTS, Lens
from textfer.errors import CheckpointError, ConfigError, DataError
from textfer.heads import Head
from textfer.models import load_model
from textfer.models.cbow import CbowOptions, Progress, train_cbow
from textfer.models.cbow_model import Cbow, piece_vectors, train_pieces
from textfer.models.headed import Headed
from textfer.tokenizers import load_tokenizer
from textfer.training.loss import loss_of

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS = CbowOptions(dim=8, window=2, negative=3, min_count=1, sample=0, epochs=3, batch_size=8)
TEXTS = ["The cat sat on a mat.\nA dog ran.", "", "the cat ran\n\na mat, a cat"]
NOTHING = np.zeros(0, np.int32)


def test_pieces_are_learnt_as_words_are() -> None:
    """The same sentences of the same units in the same order of frequency give the same numbers."""
    tokenizer = load_tokenizer("bytes")
    model = train_pieces(["ab ba\nabba", "bab"], tokenizer, OPTIONS)
    lines = [[*"ab ba"], [*"abba"], [*"bab"]]
    words = train_cbow(
        ["\n".join(" ".join(line).replace("   ", " _ ") for line in lines)],
        OPTIONS.model_copy(update={"cut": "spaces"}),
    )
    found = {sign: model.embedding.weight[tokenizer.encode(sign.replace("_", " "))[0]] for sign in words.words}
    assert set(words.words) == {"a", "b", "_"}
    for sign, vector in found.items():
        np.testing.assert_array_equal(vector.detach().numpy(), words[sign])


def test_what_the_text_does_not_show_says_nothing() -> None:
    tokenizer = load_tokenizer("bytes")
    told: list[Progress] = []
    model = train_pieces(TEXTS, tokenizer, OPTIONS, progress=told.append)
    shown = {piece for text in TEXTS for line in text.split("\n") for piece in tokenizer.encode(line)}
    table = model.embedding.weight.detach().numpy()
    assert set(np.flatnonzero(table.any(axis=1)).tolist()) == shown
    assert len(table) == tokenizer.vocab_size
    assert told[-1].of == 3 * sum(len(tokenizer.encode(line)) for text in TEXTS for line in text.split("\n"))
    known = piece_vectors(model, tokenizer)
    assert len(known) == len(shown)
    np.testing.assert_array_equal(known["c"], table[tokenizer.encode("c")[0]])
    with pytest.raises(DataError, match="expected 2 at least"):
        train_pieces([""], tokenizer, OPTIONS)


def test_its_folder_gives_the_same_numbers(tmp_path: Path) -> None:
    model = Cbow.make({"model_dim": 6}, vocab_size=11)
    model.save(tmp_path)
    loaded = load_model(tmp_path)
    assert isinstance(loaded, Cbow)
    assert torch.equal(loaded.embedding.weight, model.embedding.weight)
    assert loaded.embedding.weight.requires_grad
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_dim": 7}))
    with pytest.raises(CheckpointError, match=r"embedding.weight is \[11, 6\], expected \[11, 7\]"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "cbow", "vocab_size": 11}))
    with pytest.raises(CheckpointError, match="does not describe a CBOW"):
        load_model(tmp_path)


def test_a_head_learns_upon_it_and_the_table_with_it() -> None:
    torch.manual_seed(0)
    model = Headed(Cbow.make({"model_dim": 6}, vocab_size=11), [Head(name="kind", kind="class", labels=("x", "y"))])
    assert model.pooling == "mean"
    rows = [
        [Ids(np.array([4, 5, 6], np.int32), NOTHING, heads={"kind": 1})],
        [Ids(np.array([7], np.int32), NOTHING, heads={"kind": 0})],
    ]
    batch = LAYOUTS["pair"].arrange(rows, Lens(8, 1), Specials(pad=0, eos=1))
    table = model.get_parameter("reader.embedding.weight")
    states = model(batch).hidden
    torch.testing.assert_close(states[0], table[4:7])
    assert not states[1, 1:].any()
    loss_of(model, batch).sum.backward()
    assert table.grad is not None
    assert table.grad.any(1).nonzero().flatten().tolist() == [4, 5, 6, 7]


def test_it_learns_no_words_in_training() -> None:
    model = Cbow.make({"model_dim": 6}, vocab_size=11)
    rows = [[Ids(np.array([4, 5], np.int32), NOTHING)]]
    batch = LAYOUTS["pair"].arrange(rows, Lens(8, 1), Specials(pad=0, eos=1))
    with pytest.raises(ConfigError, match="textfer vectors train --tokenizer"):
        loss_of(model, batch)
