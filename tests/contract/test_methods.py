"""What every way of transfer must keep to on every model that it is for. The registries are walked through."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from textfer.adapt import METHODS, Method, make_method, method_section
from textfer.adapt.adapted import Adapted, adapt, holds_changes, lay_changes, weights_digest
from textfer.batch import Batch, Ids, Int32, Run, Side, Specials
from textfer.data.layout import LAYOUTS, Lens
from textfer.errors import CheckpointError, ConfigError
from textfer.models import MODELS, Model, load_model
from textfer.training.loss import cross_entropy
from textfer.training.optim import OptimOptions, make_optimizer

NEEDED: dict[str, dict[str, Any]] = {"frozen": {"train": ["*norm.weight", "*layers.1.*"]}}
"""Options without a default. All others are tried as they come, but smaller where the model is."""
SMALLER: dict[str, dict[str, Any]] = {
    "lora": {"rank": 2, "targets": ["wi", "o"]},
    "adapters": {"inner_dim": 3},
    "soft_prompt": {"num_vectors": 3},
}
SHAPES: dict[str, dict[str, Any]] = {
    "t5": {"ff_dim": 24, "head_dim": 6, "num_heads": 3, "num_decoder_layers": 3},
    "gpt": {"ff_dim": 24, "num_heads": 2, "context_len": 32},
    "bert": {"ff_dim": 24, "num_heads": 2, "max_positions": 32, "next_sentence": False, "pooler": False},
}
"""What makes the models small. A model that is not listed here is tried as it comes."""
NOT_FOR = {("gpt", "soft_prompt"), ("bert", "soft_prompt")}
"""Pairs that are refused: a prompt stands before an encoder's input, and there is a decoder after it."""
VOCAB, NUM_STEPS = 40, 6
PAIRS = [(model, method) for model in MODELS.names() for method in METHODS.names()]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors: threads cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def allowed(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [pair for pair in pairs if pair not in NOT_FOR]


@pytest.fixture(params=allowed(PAIRS), ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A model and a method that is for it."""
    model, method = request.param
    return model, method


def method_of(name: str) -> Method:
    return make_method({"name": name, **NEEDED.get(name, {}), **SMALLER.get(name, {})})


@pytest.fixture
def method(pair: tuple[str, str]) -> Method:
    return method_of(pair[1])


@pytest.fixture
def base(pair: tuple[str, str], tmp_path: Path) -> Path:
    return written(tmp_path / "base", pair[0], seed=1)


def written(folder: Path, name: str, *, seed: int) -> Path:
    torch.manual_seed(seed)
    values = {"model_dim": 16, "num_layers": 2, "dropout": 0.0, **SHAPES.get(name, {})}
    MODELS.get(name).make(values, vocab_size=VOCAB).save(folder)
    return folder


def begun(base: Path, method: Method) -> Adapted:
    return adapt(load_model(base), method, num_steps=NUM_STEPS, seed=7, base=str(base))


def ids(draws: np.random.Generator, length: int) -> Int32:
    return draws.integers(4, VOCAB, length).astype(np.int32)


def batch(model: Model) -> Batch:
    """Three rows, one of them with two examples."""
    draws = np.random.default_rng(0)
    in_place = model.layout == "masked"

    def example() -> Ids:
        inputs = ids(draws, int(draws.integers(2, 9)))
        return Ids(inputs, ids(draws, len(inputs) if in_place else int(draws.integers(2, 9))))

    rows = [[example() for _ in range(count)] for count in (1, 2, 1)]
    return LAYOUTS[model.layout].arrange(rows, Lens(30, 30), Specials(pad=0, eos=1, cls=2, sep=3), fixed=False)


def trained(adapted: Adapted) -> torch.optim.Optimizer:
    """The optimiser after all steps."""
    model = adapted.model
    optimizer = make_optimizer(list(model.named_parameters()), OptimOptions(name="adamw", lr=0.05))
    for step in range(NUM_STEPS):
        for name, weight in model.named_parameters():
            weight.requires_grad_(name in adapted.plan.trainable(step))
        cross_entropy(model, batch(model)).sum.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return optimizer


def numbers(model: Any) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def logits(model: Any) -> Tensor:
    """[M, V] of the tokens that count."""
    with torch.no_grad():
        out: Tensor = F.linear(model.eval().states(batch(model))[0], *model.readout())
    return out


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
    same = torch.equal(logits(adapted.model), logits(load_model(base)))
    assert same is ("prompt.weight" not in adapted.plan.saved), "only a prompt is heard from the start"


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


@pytest.mark.parametrize("pair", [pair for pair in allowed(PAIRS) if METHODS.get(pair[1]).partial], ids="-".join)
def test_changes_refuse_other_weights(base: Path, pair: tuple[str, str], tmp_path: Path) -> None:
    begun(base, method_of(pair[1])).save(tmp_path / "saved")
    other = load_model(written(tmp_path / "other", pair[0], seed=2))
    with pytest.raises(CheckpointError, match="lies upon other weights") as caught:
        lay_changes(tmp_path / "saved", other)
    assert "\n" not in str(caught.value)


def test_the_same_seed_begins_the_same(base: Path, method: Method) -> None:
    first, second = numbers(begun(base, method).model), numbers(begun(base, method).model)
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("pair", [pair for pair in allowed(PAIRS) if pair[0] != "bert"], ids="-".join)
def test_writing_token_by_token_is_the_whole_pass(base: Path, pair: tuple[str, str]) -> None:
    adapted = begun(base, method_of(pair[1]))
    trained(adapted)
    model: Any = adapted.model.eval()
    draws = np.random.default_rng(2)
    seen = LAYOUTS[model.layout].arrange(
        [[Ids(ids(draws, 4), ids(draws, 5))]], Lens(30, 30), Specials(pad=0, eos=1), fixed=False
    )
    with torch.no_grad():
        whole = model(seen).logits[0]
        if seen.encoder is not None:
            cache, read = model.begin(Batch(encoder=seen.encoder)), 0
        else:
            first = Side(
                *(part[:, :2] for part in (seen.decoder.ids, seen.decoder.segments, seen.decoder.positions)),
                (Run(0, 0, 2),),
            )
            cache, read = model.begin(Batch(decoder=first)), 2
        steps = [model.step(seen.decoder.ids[:, at : at + 1], cache) for at in range(read, len(whole))]
    torch.testing.assert_close(torch.cat(steps), whole[read:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pair", sorted(NOT_FOR), ids="-".join)
def test_pairs_that_make_no_sense_are_refused(base: Path, pair: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match=rf"method\.name: got {pair[1]}"):
        begun(base, method_of(pair[1]))


@pytest.mark.parametrize("name", METHODS.names())
def test_its_section_makes_it_again(name: str) -> None:
    method = method_of(name)
    assert make_method(method_section(method)) == method


@pytest.mark.parametrize("name", MODELS.names())
def test_the_digest_is_of_the_numbers(name: str, tmp_path: Path) -> None:
    model: Any = load_model(written(tmp_path / "base", name, seed=1))
    before = weights_digest(model)
    model.save(tmp_path / "shards", max_shard_bytes=4000)
    assert weights_digest(load_model(tmp_path / "shards")) == before
    with torch.no_grad():
        model.embedding.weight[3, 2] += 1e-6
    assert weights_digest(model) != before
