"""Our generation against `transformers.generate`, both on a folder that we saved.

Provenance: the oracle is the installed `transformers` itself (written against 5.23), run here on tiny shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from textfer.batch import Specials
from textfer.config import build
from textfer.generate import Decoding, Predictor
from textfer.models import load_model
from textfer.models.t5 import T5, T5Options

transformers = pytest.importorskip("transformers")

SHAPE = {"model_dim": 24, "ff_dim": 32, "head_dim": 8, "num_heads": 3, "num_layers": 2}
SHAPE |= {"tie_output": True, "dropout": 0.0, "num_buckets": 8, "max_distance": 12}
VOCAB = 30
LENS = (1, 3, 17, 40, 8, 2, 25, 9)


class Numbers:
    """Texts are token ids in words."""

    specials = Specials(pad=0, eos=1)
    vocab_size = VOCAB

    def encode_many(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.array(text.split(), np.int32) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(map(str, ids))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors: threads cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=["relu", "gated_gelu"])
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Predictor, Any]:
    torch.manual_seed(11 if request.param == "relu" else 8)  # they say different things of different texts
    folder: Path = tmp_path_factory.mktemp("model")
    made = T5(build(T5Options, {**SHAPE, "feed_forward": request.param}, where="model"), VOCAB)
    with torch.no_grad():
        made.embedding.weight *= 2  # as drawn, a tied model says its start mark again and again
        for name, weight in made.named_parameters():
            if name.split(".")[-2] in ("o", "wo"):
                weight *= 6
    made.save(folder)
    reference = transformers.T5ForConditionalGeneration.from_pretrained(folder).eval()
    return Predictor(load_model(folder).eval(), Numbers()), reference


def texts() -> list[str]:
    draws = np.random.default_rng(5)
    return [" ".join(map(str, draws.integers(2, VOCAB, length))) for length in LENS]


def reference_answers(model: Any, text: str, **options: Any) -> str:
    ids = torch.tensor([[*map(int, text.split()), 1]])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, **options)[0, 1:].tolist()
    return Numbers().decode(out[: out.index(1) + 1] if 1 in out else out)


@pytest.mark.parametrize("max_new_tokens", [1, 5, 20])
def test_greedy(models: tuple[Predictor, Any], max_new_tokens: int) -> None:
    ours, theirs = models
    expected = [reference_answers(theirs, text, max_new_tokens=max_new_tokens, num_beams=1) for text in texts()]
    made = ours.generate(texts(), Decoding(max_new_tokens=max_new_tokens, batch_size=3))
    assert [one.text for one in made] == expected
    assert max_new_tokens == 1 or len(set(expected)) >= 3


@pytest.mark.parametrize("beams", [2, 4, 7])
@pytest.mark.parametrize("max_new_tokens", [3, 16])
def test_beams_without_penalty(models: tuple[Predictor, Any], beams: int, max_new_tokens: int) -> None:
    ours, theirs = models
    options = {"max_new_tokens": max_new_tokens, "num_beams": beams, "length_penalty": 0.0, "early_stopping": False}
    expected = [reference_answers(theirs, text, **options) for text in texts()]
    decoding = Decoding(max_new_tokens=max_new_tokens, beams=beams, length_penalty=0.0, batch_size=5)
    assert [one.text for one in ours.generate(texts(), decoding)] == expected
    assert len(set(expected)) >= 3
