"""What every registered way of transfer must keep to. Nothing is listed here: the registry is walked through."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from textfer.adapt import METHODS, Method, make_method, method_section
from textfer.adapt.adapted import Adapted, adapt, holds_changes, lay_changes, weights_digest
from textfer.batch import Batch, Ids, Specials
from textfer.data.layout import LAYOUTS, Lens
from textfer.errors import CheckpointError
from textfer.models import load_model
from textfer.models.t5 import T5
from textfer.training.loss import cross_entropy
from textfer.training.optim import OptimOptions, make_optimizer

NEEDED: dict[str, dict[str, Any]] = {"frozen": {"train": ["decoder.*", "*norm.weight"]}}
"""Options without a default. All others are tried as they come, but smaller where the model is."""
SMALLER: dict[str, dict[str, Any]] = {
    "lora": {"rank": 2},
    "adapters": {"inner_dim": 3},
    "soft_prompt": {"num_vectors": 3},
}
SHAPE = {"model_dim": 16, "ff_dim": 24, "head_dim": 6, "num_heads": 3, "num_layers": 2, "num_decoder_layers": 3}
VOCAB, NUM_STEPS = 40, 6


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors: threads cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=METHODS.names())
def method(request: pytest.FixtureRequest) -> Method:
    """Each method."""
    name = request.param
    return make_method({"name": name, **NEEDED.get(name, {}), **SMALLER.get(name, {})})


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return written(tmp_path / "base", seed=1)


def written(folder: Path, *, seed: int) -> Path:
    torch.manual_seed(seed)
    T5.make({**SHAPE, "dropout": 0.0}, vocab_size=VOCAB).save(folder)
    return folder


def begun(base: Path, method: Method) -> Adapted:
    return adapt(load_model(base), method, num_steps=NUM_STEPS, seed=7, base=str(base))


def batch() -> Batch:
    draws = np.random.default_rng(0)
    rows = [
        [Ids(*(draws.integers(2, VOCAB, draws.integers(2, 9)).astype(np.int32) for _ in "it")) for _ in range(count)]
        for count in (1, 2, 1)
    ]
    return LAYOUTS["encdec"].arrange(rows, Lens(40, 40), Specials(pad=0, eos=1), fixed=False)


def trained(adapted: Adapted) -> torch.optim.Optimizer:
    """The optimiser after all steps."""
    model = adapted.model
    optimizer = make_optimizer(list(model.named_parameters()), OptimOptions(name="adamw", lr=0.05))
    for step in range(NUM_STEPS):
        for name, weight in model.named_parameters():
            weight.requires_grad_(name in adapted.plan.trainable(step))
        cross_entropy(model, batch()).sum.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return optimizer


def numbers(model: Any) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def logits(model: Any) -> Tensor:
    seen = batch()
    with torch.no_grad():
        out: Tensor = model.eval()(seen).logits
    return out[seen.decoder.segments > 0]


def test_what_moves_is_what_the_plan_says_and_all_of_it_is_saved(base: Path, method: Method) -> None:
    adapted = begun(base, method)
    before = numbers(adapted.model)
    optimizer = trained(adapted)
    after = numbers(adapted.model)
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    declared = frozenset().union(*(adapted.plan.trainable(step) for step in range(NUM_STEPS)))
    assert moved == declared
    assert declared <= adapted.plan.saved <= after.keys()
    names = {weight: name for name, weight in adapted.model.named_parameters()}
    assert {names[weight] for weight in optimizer.state} == declared, "what stands still costs no memory"


def test_before_the_first_step_the_model_answers_as_it_did(base: Path, method: Method) -> None:
    adapted = begun(base, method)
    if "prompt.weight" in adapted.plan.saved:
        pytest.skip("a prompt is heard from the start")
    assert torch.equal(logits(adapted.model), logits(load_model(base)))


def test_what_is_saved_gives_the_same_model(base: Path, method: Method, tmp_path: Path) -> None:
    adapted = begun(base, method)
    trained(adapted)
    adapted.save(tmp_path / "saved")
    assert holds_changes(tmp_path / "saved") is method.partial
    if method.partial:
        again = lay_changes(tmp_path / "saved", load_model(base))
        whole = (base / "model.safetensors").stat().st_size
        assert (tmp_path / "saved" / "adapter_model.safetensors").stat().st_size < whole
    else:
        again = load_model(tmp_path / "saved")
    changed = logits(adapted.model)
    torch.testing.assert_close(logits(again), changed, rtol=1e-5, atol=2e-5)
    assert (changed - logits(load_model(base))).abs().max() > 0.1, "training had an effect"


def test_changes_refuse_other_weights(base: Path, method: Method, tmp_path: Path) -> None:
    if not method.partial:
        pytest.skip("whole models lie upon nothing")
    begun(base, method).save(tmp_path / "saved")
    other = load_model(written(tmp_path / "other", seed=2))
    with pytest.raises(CheckpointError, match="lies upon other weights") as caught:
        lay_changes(tmp_path / "saved", other)
    assert "\n" not in str(caught.value)


def test_the_same_seed_begins_the_same(base: Path, method: Method) -> None:
    first, second = numbers(begun(base, method).model), numbers(begun(base, method).model)
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_writing_token_by_token_is_the_whole_pass(base: Path, method: Method) -> None:
    adapted = begun(base, method)
    trained(adapted)
    model: Any = adapted.model.eval()
    alone = LAYOUTS["encdec"].arrange(
        [[Ids(np.array([5, 9, 7], np.int32), np.array([4, 6, 8], np.int32))]],
        Lens(8, 8),
        Specials(pad=0, eos=1),
        fixed=False,
    )
    with torch.no_grad():
        whole = model(alone).logits[0]
        cache = model.begin(Batch(encoder=alone.encoder))
        steps = torch.cat([model.step(alone.decoder.ids[:, at : at + 1], cache) for at in range(whole.shape[0])])
    torch.testing.assert_close(steps, whole, rtol=1e-4, atol=1e-4)


def test_its_section_makes_it_again(method: Method) -> None:
    assert make_method(method_section(method)) == method


def test_the_digest_is_of_the_numbers(base: Path, tmp_path: Path) -> None:
    model: Any = load_model(base)
    before = weights_digest(model)
    model.save(tmp_path / "shards", max_shard_bytes=4000)
    assert weights_digest(load_model(tmp_path / "shards")) == before
    with torch.no_grad():
        model.embedding.weight[3, 2] += 1e-6
    assert weights_digest(model) != before
