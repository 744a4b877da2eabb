"""What heads learn: counts, weights beside words, and what is left out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from textfer.batch import NO_TARGET, Batch, Ids, Specials, Told
from textfer.data.layout import LAYOUTS, Lens
from textfer.models.bert import Bert
from textfer.training.loss import cross_entropy, loss_of

SPECIALS = Specials(pad=0, eos=3, cls=2, sep=3, mask=4)
LENS = Lens(16, 16)


def row(*ids: int, **heads: object) -> list[Ids]:
    return [Ids(np.array(ids, np.int32), np.zeros(0, np.int32), heads=heads)]


class Said:
    """A model whose heads say what they were told to."""

    def __init__(self, **heads: torch.Tensor) -> None:
        self.heads = heads

    def read(self, batch: Batch) -> Told:
        return Told(self.heads)


def test_a_batch_counts_what_its_heads_should_say() -> None:
    rows = [row(2, 5, 3, a=1), row(2, 6, 7, 3, b=np.array([NO_TARGET, 1, NO_TARGET, 0])), row(2, 3, c=0.5)]
    batch = LAYOUTS["pair"].arrange(rows, LENS, SPECIALS)
    assert batch.heads["a"].tolist() == [1, NO_TARGET, NO_TARGET]
    assert batch.heads["b"].tolist() == [[NO_TARGET] * 4, [NO_TARGET, 1, NO_TARGET, 0], [NO_TARGET] * 4]
    assert batch.heads["c"][2] == 0.5
    assert batch.heads["c"].isnan().tolist() == [True, True, False]
    assert batch.num_targets == sum(ids.num_targets for one in rows for ids in one) == 1 + 2 + 1


def test_losses_of_several_heads_add_up() -> None:
    rows = [row(2, 5, 3, a=1), row(2, 6, 7, 3, b=np.array([NO_TARGET, 1, NO_TARGET, 0])), row(2, 3, c=0.5)]
    batch = LAYOUTS["pair"].arrange(rows, LENS, SPECIALS)
    a, b, c = torch.randn(3, 4), torch.randn(3, 4, 2), torch.randn(3)
    loss = loss_of(Said(a=a, b=b, c=c), batch)
    by_hand = (
        F.cross_entropy(a[:1], torch.tensor([1]))
        + F.cross_entropy(b[1, [1, 3]], torch.tensor([1, 0]), reduction="sum")
        + (c[2] - 0.5) ** 2
    )
    assert float(loss.sum) == pytest.approx(float(by_hand), rel=1e-6)
    assert float(loss.count) == 4


def test_an_absent_number_sends_no_gradient() -> None:
    batch = LAYOUTS["pair"].arrange([row(2, 3, c=0.5), row(2, 5, 3)], LENS, SPECIALS)
    said = torch.tensor([1.0, math.inf], requires_grad=True)
    loss_of(Said(c=said), batch).sum.backward()
    assert said.grad is not None
    assert said.grad.tolist() == [1.0, 0.0]


def test_one_example_may_be_read_several_times() -> None:
    ids = Ids(np.array([2, 5, 3, 2, 6, 7, 3], np.int32), np.zeros(0, np.int32), heads={"choice": 1}, cuts=(3,))
    batch = LAYOUTS["pair"].arrange([[ids], row(2, 8, 3, choice=0)], LENS, SPECIALS)
    assert batch.encoder is not None
    assert batch.encoder.positions.tolist() == [[0, 1, 2, 0, 1, 2, 3], [0, 1, 2, 0, 0, 0, 0]]
    assert batch.encoder.segments.tolist() == [[1, 1, 1, 2, 2, 2, 2], [1, 1, 1, 0, 0, 0, 0]]
    assert batch.passes == (2, 1)
    assert batch.num_targets == 2


@pytest.mark.parametrize("attention", ["ragged", "dense"])
def test_hidden_words_and_next_sentences_learn_in_one_pass(attention: str) -> None:
    torch.manual_seed(0)
    shape = {"model_dim": 8, "ff_dim": 16, "num_heads": 2, "num_layers": 2, "max_positions": 16, "dropout": 0.0}
    model = Bert.make(shape, vocab_size=12)
    model.attention = attention
    weights = [np.array([0, 1, 1, 0], np.float32), np.array([0, 1, 0], np.float32)]
    texts = [np.array([2, 5, 6, 3], np.int32), np.array([2, 7, 3], np.int32)]
    rows = [[Ids(t, t, w, heads={"next_sentence": n})] for n, (t, w) in enumerate(zip(texts, weights, strict=True))]
    batch = LAYOUTS["masked"].arrange(rows, LENS, SPECIALS)
    with torch.no_grad():
        loss = loss_of(model, batch)
        says = model(batch).heads["next_sentence"]
        words = cross_entropy(model, batch)
    follows = F.cross_entropy(says, torch.tensor([0, 1]), reduction="none")
    expected = float(words.sum) + 2 * float(follows[0]) + 1 * float(follows[1])
    assert float(loss.sum) == pytest.approx(expected, rel=1e-5)
    assert float(loss.count) == 3 == sum(ids.num_targets for one in rows for ids in one)
