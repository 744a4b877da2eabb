"""A vocabulary of letters and random models sure enough of themselves to say different things of different texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textfer.batch import Ids, Specials
from textfer.config import build
from textfer.data.layout import LAYOUTS, Lens
from textfer.generate import Predictor
from textfer.models.t5 import T5, T5Options

SMALL = {"model_dim": 16, "ff_dim": 24, "head_dim": 6, "num_heads": 3, "num_layers": 2, "dropout": 0.0}
SMALL |= {"num_buckets": 8, "max_distance": 12}
ARRANGEMENTS = ["encdec", "causal", "prefix"]
TEXTS = ["abc", "", "hhhhhhhhhhhhhhhh", "fedcbafedcba", "g", "abcabcabcabcabcabcabcabcabcabcabcabc", "bd", "hgfedcba"]


class Letters:
    """A vocabulary of letters: pad 0, end 1, `a` is 2 and so on."""

    specials = Specials(pad=0, eos=1)

    def __init__(self, vocab_size: int = 10) -> None:
        self.vocab_size = vocab_size

    def encode_many(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.array([ord(letter) - ord("a") + 2 for letter in text], np.int32) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(ord("a") + number - 2) if number > 1 else ".|"[number] for number in ids)


def model_of(arrangement: str = "encdec", *, vocab: int = 10, sharp: float = 6.0) -> T5:
    """A random model that is sure enough of itself to say different things of different texts."""
    torch.manual_seed(4 if arrangement == "encdec" else 6)
    model = T5(build(T5Options, {**SMALL, "arrangement": arrangement}, where="model"), vocab).eval()
    assert model.output is not None
    with torch.no_grad():
        model.output.weight *= sharp
    return model


def predictor_of(arrangement: str = "encdec", **values: Any) -> Predictor:
    model = model_of(arrangement, **values)
    return Predictor(model, Letters(model.vocab_size))


def logits_of(model: T5, inputs: Sequence[int], targets: Sequence[int]) -> Tensor:
    """[len(targets), V] from one full forward pass, without any cache."""
    example = Ids(np.array([*inputs, 1], np.int32), np.array(targets, np.int32))
    batch = LAYOUTS[model.layout].arrange([[example]], Lens(100, 100), Letters.specials)
    with torch.no_grad():
        logits = model(batch).logits
    assert logits is not None
    assert batch.weights is not None
    return logits[0][batch.weights[0] > 0]


def log_prob_of(model: T5, inputs: Sequence[int], targets: Sequence[int]) -> float:
    log_probs = logits_of(model, inputs, targets).log_softmax(-1)
    return float(log_probs.gather(-1, torch.tensor(targets)[:, None]).sum())
