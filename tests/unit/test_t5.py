"""T5's own invariances: packed = unpacked, ragged = dense, cached = full, and what its options refuse."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from textfer.batch import Batch, Ids, Specials
from textfer.config import build
from textfer.data.layout import LAYOUTS, Lens
from textfer.errors import ConfigError
from textfer.models import MODELS
from textfer.models import layers as L
from textfer.models.t5 import T5, T5Options

SPECIALS = Specials(pad=0, eos=1)
SMALL = {"model_dim": 16, "ff_dim": 24, "head_dim": 6, "num_heads": 3, "num_layers": 2, "num_buckets": 8, "max_distance": 12}
VOCAB = 40
ARRANGEMENTS = ["encdec", "causal", "prefix"]


def model_of(arrangement: str = "encdec", **values: object) -> T5:
    torch.manual_seed(5)
    extra = {"num_decoder_layers": 3} if arrangement == "encdec" else {}
    options = build(T5Options, {**SMALL, **extra, "arrangement": arrangement, "dropout": 0.0, **values}, where="model")
    return T5(options, VOCAB).eval()


def examples(count: int = 7, seed: int = 0) -> list[Ids]:
    draws = np.random.default_rng(seed)

    def ids(low: int, high: int) -> np.ndarray:
        return draws.integers(2, VOCAB, draws.integers(low, high)).astype(np.int32)

    return [Ids(ids(1, 20), ids(1, 9)) for _ in range(count)]


def batch_of(arrangement: str, rows: Sequence[Sequence[Ids]], *, lens: Lens | None = None) -> Batch:
    return LAYOUTS[arrangement].arrange(rows, lens or Lens(80, 40), SPECIALS, fixed=lens is not None)


def losses(model: T5, batch: Batch) -> Tensor:
    states, targets, weights = model.states(batch)
    return F.cross_entropy(F.linear(states, model.readout()[0]), targets, reduction="none") * weights


def grads(model: T5, batch: Batch) -> dict[str, Tensor]:
    model.zero_grad()
    losses(model, batch).sum().backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        scale = theirs[name].abs().max().item() + 1e-12
        assert (value - theirs[name]).abs().max().item() <= tolerance * scale, name


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("form", ["ragged", "dense"])
def test_packed_rows_lose_what_their_examples_lose_alone(arrangement: str, form: str) -> None:
    model = model_of(arrangement)
    model.attention = form
    seen = examples()
    packed = batch_of(arrangement, [seen[:3], seen[3:6], seen[6:]])
    alone = [losses(model, batch_of(arrangement, [[one]])) for one in seen]
    torch.testing.assert_close(losses(model, packed), torch.cat(alone), rtol=1e-5, atol=1e-5)
    whole = grads(model, packed)
    parts = [grads(model, batch_of(arrangement, [[one]])) for one in seen]
    assert_same(whole, {name: sum(part[name] for part in parts) for name in whole})


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("tied", [True, False])
def test_ragged_and_dense_agree(arrangement: str, tied: bool) -> None:
    model = model_of(arrangement, tie_output=tied)
    seen = examples()
    batch = batch_of(arrangement, [seen[:3], seen[3:4], seen[4:]], lens=Lens(90, 45))
    found = {}
    for form in ("ragged", "dense"):
        model.attention = form
        found[form] = (model(batch).logits, losses(model, batch), grads(model, batch))
    real = batch.decoder.segments > 0
    torch.testing.assert_close(found["ragged"][0][real], found["dense"][0][real], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found["ragged"][1], found["dense"][1], rtol=1e-5, atol=1e-5)
    assert_same(found["ragged"][2], found["dense"][2])
    assert all(torch.isfinite(value).all() for value in found["dense"][2].values())
    assert torch.isfinite(found["dense"][0]).all()
    assert found["ragged"][0].shape == (3, batch.decoder.ids.shape[1], VOCAB)
