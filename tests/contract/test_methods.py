"""What every way of transfer must keep to on every model that it is for. The registries are walked through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from textfer.adapt import METHODS, Method, make_method
from textfer.adapt.adapted import adapt, weights_digest
from textfer.errors import ConfigError
from textfer.models import MODELS, load_model
from textfer.testing import check_method
from textfer.testing.models import said, trial_batch, trial_examples

pytestmark = pytest.mark.usefixtures("one_thread")

NEEDED: dict[str, dict[str, Any]] = {"frozen": {"train": ["*norm.weight", "*layers.1.*"]}}
"""Options without a default. All others are tried as they come, but smaller where the model is."""
SMALLER: dict[str, dict[str, Any]] = {
    "lora": {"rank": 2, "targets": ["wi", "o"]},
    "adapters": {"inner_dim": 3},
    "soft_prompt": {"num_vectors": 3},
}
OF_MODELS: dict[tuple[str, str], dict[str, Any]] = {
    ("elmo", "frozen"): {"train": ["*left.wh", "*layers.1.*"]},
    ("elmo", "lora"): {"rank": 2, "targets": ["wi", "gate"]},
}
"""The same for a model whose parts have other names."""
SMALL = {"model_dim": 16, "num_layers": 2, "dropout": 0.0}
TINY = {**SMALL, "ff_dim": 24}
T5 = {**TINY, "head_dim": 6, "num_heads": 3}
SHAPES: dict[str, dict[str, dict[str, Any]]] = {
    "t5": {
        "encdec": {**T5, "num_decoder_layers": 3},
        "shared": {**T5, "share_stacks": True},
        "causal": {**T5, "arrangement": "causal"},
    },
    "gpt": {"": {**TINY, "num_heads": 2, "context_len": 32}},
    "bert": {"": {**TINY, "num_heads": 2, "max_positions": 32, "next_sentence": False, "pooler": False}},
    "elmo": {"": {**SMALL, "num_cells": 20, "char_dim": 4, "filters": [[1, 6], [3, 8]], "max_chars": 9}},
}
"""What makes the models small, by the kinds of them. A model that is not listed here is tried as it comes."""
NOT_FOR = {("gpt", "", "soft_prompt"), ("bert", "", "soft_prompt"), ("t5", "causal", "soft_prompt")}
NOT_FOR |= {("elmo", "", "soft_prompt"), ("elmo", "", "adapters")}
"""Pairs that are refused: a prompt stands before an encoder's input, and there is a decoder after it; adapters stand
after feed-forward layers."""
VOCAB = 40
BY_HEADS = {"cbow"}
"""Models that learn nothing without heads."""
KINDS = [(model, kind) for model in MODELS.names() if model not in BY_HEADS for kind in SHAPES.get(model, {"": {}})]
NOT_FOR |= {(*kind, "features") for kind in KINDS}
"""Features are for heads: `test_features`."""
PAIRS = [(*kind, method) for kind in KINDS for method in METHODS.names()]
ALLOWED = [pair for pair in PAIRS if pair not in NOT_FOR]
HEARD_AT_ONCE = {"soft_prompt"}
"""Methods whose model says something else before the first step."""


def method_of(name: str, model: str) -> Method:
    return make_method(
        {"name": name, **NEEDED.get(name, {}), **SMALLER.get(name, {}), **OF_MODELS.get((model, name), {})}
    )


def written(folder: Path, name: str, kind: str) -> Path:
    torch.manual_seed(1)
    MODELS.get(name).make(SHAPES.get(name, {"": {}})[kind], vocab_size=VOCAB).save(folder)
    return folder


@pytest.mark.parametrize(("model", "kind", "method"), ALLOWED)
def test_it_keeps_the_contract(model: str, kind: str, method: str, tmp_path: Path) -> None:
    check_method(method_of(method, model), written(tmp_path / "base", model, kind), tmp_path)


@pytest.mark.parametrize(("model", "kind", "method"), ALLOWED)
def test_before_the_first_step_the_model_answers_as_it_did(model: str, kind: str, method: str, tmp_path: Path) -> None:
    base = load_model(written(tmp_path, model, kind)).eval()
    begun = adapt(load_model(tmp_path), method_of(method, model), num_steps=6, seed=7, base=str(tmp_path)).model.eval()
    batch = trial_batch(base, [trial_examples(base, {})])
    assert torch.equal(said(begun, batch), said(base, batch)) is (method not in HEARD_AT_ONCE)


@pytest.mark.parametrize(("model", "kind", "method"), sorted(NOT_FOR))
def test_pairs_that_make_no_sense_are_refused(model: str, kind: str, method: str, tmp_path: Path) -> None:
    base = written(tmp_path, model, kind)
    with pytest.raises(ConfigError, match=rf"method\.name: got {method}") as caught:
        adapt(load_model(base), method_of(method, model), num_steps=6, seed=7, base=str(base))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_the_digest_is_of_the_numbers(name: str, kind: str, tmp_path: Path) -> None:
    model: Any = load_model(written(tmp_path / "base", name, kind))
    before = weights_digest(model)
    model.save(tmp_path / "shards", max_shard_bytes=4000)
    assert weights_digest(load_model(tmp_path / "shards")) == before
    with torch.no_grad():
        next(model.parameters())[3, 2] += 1e-6
    assert weights_digest(model) != before
