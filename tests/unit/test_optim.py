"""Optimisers against the references' own, resumed runs against unbroken ones, schedules against their formulas."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from textfer.config import build
from textfer.errors import ConfigError
from textfer.training import optim
from textfer.training.checkpoint import load_optimizer, optimizer_tensors
from textfer.training.optim import Adafactor, OptimOptions, lr_at, make_optimizer

NAMES = ["adafactor", "adamw", "adamw_rms"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tensors this small are only slowed down by waking threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def parameters(seed: int = 0) -> dict[str, nn.Parameter]:
    """A little of everything: large and small matrices, a norm, a position table, zeros."""
    random = torch.Generator().manual_seed(seed)
    shapes = {
        "embedding.weight": (300, 130),
        "encoder.blocks.0.wi.weight": (128, 140),
        "encoder.blocks.0.wo.weight": (60, 140),
        "encoder.blocks.0.norm.weight": (130,),
        "encoder.relative_bias.weight": (32, 4),
        "head.bias": (7,),
    }
    made = {name: nn.Parameter(torch.randn(shape, generator=random) * 0.3) for name, shape in shapes.items()}
    made["new.weight"] = nn.Parameter(torch.zeros(5, 140))
    return made


def give_grads(made: dict[str, nn.Parameter], step: int, *, scale: float = 1.0) -> None:
    random = torch.Generator().manual_seed(1000 + step)
    for number, parameter in enumerate(made.values()):
        size = scale * 10.0 ** (number - 3)
        parameter.grad = torch.randn(parameter.shape, generator=random) * size
        if parameter.ndim == 2 and len(parameter) > 200:
            parameter.grad[::2] = 0  # as an embedding's rows that were not read


def run(made: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer, steps: range, *, lr: float = 1e-2) -> None:
    for step in steps:
        for group in optimizer.param_groups:
            group["lr"] = lr / (1 + step)
        give_grads(made, step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def optimizer_of(made: dict[str, nn.Parameter], **options: Any) -> torch.optim.Optimizer:
    return make_optimizer(list(made.items()), OptimOptions(**options))


def assert_close(ours: dict[str, nn.Parameter], theirs: dict[str, nn.Parameter], *, rtol: float = 2e-6) -> None:
    for name, parameter in ours.items():
        torch.testing.assert_close(
            parameter, theirs[name], rtol=rtol, atol=1e-7, msg=lambda text, n=name: f"{n}: {text}"
        )


# ---- the rules


@pytest.mark.parametrize("chunk", [1 << 19, 1000])
def test_adafactor_is_the_reference(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    # transformers factors every matrix; where the bound of 128 is lifted the two are one rule
    reference = pytest.importorskip("transformers.optimization").Adafactor
    monkeypatch.setattr(optim, "MIN_FACTORED_DIM", 1)
    monkeypatch.setattr(optim, "CHUNK_NUMBERS", chunk)
    ours, theirs = parameters(), parameters()
    run(ours, optimizer_of(ours, name="adafactor"), range(12))
    options = {"lr": 1.0, "relative_step": False, "scale_parameter": True, "warmup_init": False}
    run(theirs, reference(list(theirs.values()), **options), range(12))
    assert_close(ours, theirs)


def test_adafactor_factors_large_matrices_only() -> None:
    made = parameters()
    optimizer = optimizer_of(made, name="adafactor")
    run(made, optimizer, range(1))
    shapes = {
        name: {key: tuple(value.shape) for key, value in optimizer.state[parameter].items() if key != "step"}
        for name, parameter in made.items()
    }
    assert shapes["embedding.weight"] == {"row": (300,), "col": (130,)}
    assert shapes["encoder.blocks.0.wi.weight"] == {"row": (128,), "col": (140,)}
    assert shapes["encoder.blocks.0.wo.weight"] == {"square": (60, 140)}
    assert shapes["encoder.blocks.0.norm.weight"] == {"square": (130,)}


def test_adafactor_by_hand() -> None:
    # One number: v = g² at the first step, so the update is g/|g| = 1, times lr, times max(10⁻³, |p|).
    # Second step: v = (1 − 2^−0.8)·4 + 2^−0.8·1 with g = 1; written with 15 digits of 2^−0.8 = 0.574349177498517.
    parameter = nn.Parameter(torch.tensor([2.0]))
    optimizer = Adafactor([parameter], lr=0.1)
    parameter.grad = torch.tensor([2.0])
    optimizer.step()
    assert parameter.item() == pytest.approx(2.0 - 0.1 * 2.0, rel=1e-6)
    parameter.grad = torch.tensor([1.0])
    optimizer.step()
    second = (1 - 0.574349177498517) * 4 + 0.574349177498517
    assert parameter.item() == pytest.approx(1.8 - 0.1 * 1.8 / math.sqrt(second), rel=1e-6)


def test_adafactor_shortens_long_updates() -> None:
    parameter = nn.Parameter(torch.ones(100))
    optimizer = Adafactor([parameter], lr=0.01)
    for scale in (1.0, 1000.0):  # the second gradient is far larger than its running mean foresees
        before = parameter.detach().clone()
        parameter.grad = torch.full((100,), scale)
        optimizer.step()
        moved = (before - parameter.detach()) / before
        assert torch.allclose(moved, torch.full((100,), 0.01), rtol=1e-4)


def test_adamw_is_pytorchs_and_spares_norms_and_biases() -> None:
    ours, theirs = parameters(), parameters()
    run(ours, optimizer_of(ours, name="adamw", weight_decay=0.1, betas=(0.8, 0.95)), range(8))
    spared = {"encoder.blocks.0.norm.weight", "encoder.relative_bias.weight", "head.bias"}
    groups = [
        {"params": [value for name, value in theirs.items() if (name in spared) is is_spared], "weight_decay": decay}
        for is_spared, decay in ((True, 0.0), (False, 0.1))
    ]
    run(theirs, torch.optim.AdamW(groups, betas=(0.8, 0.95), eps=1e-6, foreach=False, fused=False), range(8))
    assert_close(ours, theirs)


def test_relative_adamw_is_nanot5s_rule() -> None:
    # p -= lr · sqrt(1−β₂ᵗ)/(1−β₁ᵗ) · max(10⁻³, RMS(p)) · m/(sqrt(v) + eps), in float64
    made = parameters()
    theirs = {name: parameter.detach().double() for name, parameter in made.items()}
    first, second = ({name: torch.zeros_like(value) for name, value in theirs.items()} for _ in range(2))
    optimizer = optimizer_of(made, name="adamw_rms")
    for step in range(8):
        give_grads(made, step)
        for name, value in theirs.items():
            grad = made[name].grad
            assert grad is not None
            first[name] = 0.9 * first[name] + 0.1 * grad.double()
            second[name] = 0.999 * second[name] + 0.001 * grad.double() ** 2
            rate = 0.01 * math.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
            rate *= max(1e-3, value.square().mean().sqrt().item())
            value -= rate * first[name] / (second[name].sqrt() + 1e-6)
        for group in optimizer.param_groups:
            group["lr"] = 0.01
        optimizer.step()
        assert all(group["lr"] == 0.01 and group["eps"] == 1e-6 for group in optimizer.param_groups)
    for name, value in theirs.items():
        torch.testing.assert_close(made[name].detach().double(), value, rtol=2e-5, atol=1e-8)


def test_relative_adamw_loses_the_given_share_of_weight() -> None:
    parameter = nn.Parameter(torch.full((2, 2), 3.0))
    optimizer = make_optimizer([("w", parameter)], OptimOptions(name="adamw_rms", lr=0.1, weight_decay=0.5))
    parameter.grad = torch.zeros(2, 2)
    optimizer.step()
    assert torch.allclose(parameter, torch.full((2, 2), 3.0 * (1 - 0.1 * 0.5)))


# ---- what a run asks of any of them


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(name: str, tmp_path: Path) -> None:
    unbroken = parameters()
    run(unbroken, optimizer_of(unbroken, name=name), range(6))

    begun = parameters()
    optimizer = optimizer_of(begun, name=name)
    run(begun, optimizer, range(3))
    names: dict[Tensor, str] = {parameter: name for name, parameter in begun.items()}
    save_file(optimizer_tensors(optimizer, names), tmp_path / "optimizer.safetensors")

    resumed = {name: nn.Parameter(parameter.detach().clone()) for name, parameter in begun.items()}
    optimizer = optimizer_of(resumed, name=name)
    load_optimizer(optimizer, {parameter: name for name, parameter in resumed.items()}, tmp_path)
    run(resumed, optimizer, range(3, 6))
    for key, parameter in unbroken.items():
        assert torch.equal(parameter, resumed[key]), key


@pytest.mark.parametrize("name", NAMES)
def test_a_parameter_without_gradient_stays_and_costs_nothing(name: str) -> None:
    made = parameters()
    before = made["embedding.weight"].detach().clone()
    optimizer = optimizer_of(made, name=name)
    give_grads(made, 0)
    made["embedding.weight"].grad = None
    optimizer.step()
    assert torch.equal(made["embedding.weight"], before)
    assert not optimizer.state.get(made["embedding.weight"])
    run(made, optimizer, range(1, 3))  # unfrozen later: its own count begins at its first step
    assert float(optimizer.state[made["embedding.weight"]]["step"]) == 2
    assert float(optimizer.state[made["head.bias"]]["step"]) == 3


@pytest.mark.parametrize("name", NAMES)
def test_nothing_moves_at_rate_zero_or_without_any_gradient(name: str) -> None:
    made, same = parameters(), parameters()
    optimizer = optimizer_of(made, name=name)
    optimizer.step()
    run(made, optimizer, range(2), lr=0.0)
    assert all(torch.equal(parameter, same[key]) for key, parameter in made.items())


@pytest.mark.parametrize("name", ["adafactor", "adamw_rms"])
def test_relative_steps_grow_with_the_parameter(name: str) -> None:
    moves = []
    for size in (1.0, 10.0):
        parameter = nn.Parameter(torch.full((130, 130), size))
        optimizer = make_optimizer([("w", parameter)], OptimOptions(name=name))
        parameter.grad = torch.randn(130, 130, generator=torch.Generator().manual_seed(3))
        optimizer.step()
        moves.append(parameter.detach() - size)
    torch.testing.assert_close(moves[1], 10 * moves[0], rtol=2e-2, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_small_problem_is_solved(name: str) -> None:
    random = torch.Generator().manual_seed(0)
    inputs, truth = torch.randn(400, 130, generator=random), torch.randn(130, 128, generator=random)
    weight = nn.Parameter(torch.randn(130, 128, generator=random))
    optimizer = make_optimizer([("w", weight)], OptimOptions(name=name, lr=0.05))
    losses = []
    for step in range(100):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 100)
        loss = (inputs @ (weight - truth)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


# ---- rates


def test_inverse_sqrt_is_t5s() -> None:
    options = OptimOptions(schedule="inverse_sqrt", lr=0.01, warmup_steps=10_000)
    for step in (0, 1, 9_999, 10_000, 10_001, 40_000, 524_287):
        assert lr_at(step, options, 524_288) == pytest.approx(1 / math.sqrt(max(step, 10_000)), rel=1e-12)


@pytest.mark.filterwarnings("ignore:The epoch parameter")
def test_cosine_is_nanot5s() -> None:
    # LinearLR from 0.5, then CosineAnnealingLR down to 1e-5, one after the other, as nanoT5 chains them
    base, warmup, total = 2e-2, 10, 60
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=base)
    linear = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5, end_factor=1, total_iters=warmup)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=total - warmup, eta_min=1e-5)
    chain = torch.optim.lr_scheduler.SequentialLR(optimizer, [linear, cosine], milestones=[warmup])
    options = OptimOptions(
        name="adamw_rms", schedule="cosine", lr=base, warmup_steps=warmup, warmup_start=0.5, final_lr=1e-5 / base
    )
    for step in range(total + 1):
        assert lr_at(step, options, total) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        chain.step()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"schedule": "constant"}, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        ({"schedule": "constant", "warmup_steps": 4}, [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]),
        ({"schedule": "linear"}, [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0]),
        (
            {"schedule": "linear", "warmup_steps": 5, "warmup_start": 0.5, "final_lr": 0.5},
            [0.5, 0.6, 0.7, 0.8, 0.9, 1, 0.9, 0.8, 0.7, 0.6, 0.5],
        ),
        (
            {"schedule": "wsd", "warmup_steps": 2, "decay_fraction": 0.4},
            [0, 0.5, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0],
        ),
    ],
)
def test_rates_of_ten_steps(options: dict[str, Any], expected: list[float]) -> None:
    made = OptimOptions(lr=2.0, **options)
    assert [lr_at(step, made, 10) / 2 for step in range(11)] == pytest.approx(expected, abs=1e-12)


@given(
    st.sampled_from(["constant", "linear", "cosine", "inverse_sqrt", "wsd"]),
    st.integers(1, 50),
    st.integers(1, 100),
    st.integers(0, 200),
)
@settings(max_examples=200, deadline=None)
def test_no_rate_leaves_its_bounds(schedule: Any, warmup_steps: int, num_steps: int, step: int) -> None:
    options = OptimOptions(schedule=schedule, lr=0.3, warmup_steps=warmup_steps)
    assert 0 <= lr_at(step, options, num_steps) <= 0.3 * (1 + 1e-12)


# ---- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"betas": (0.8, 0.9)}, "optimizer: betas: cannot take effect with name = 'adafactor'. Drop it."),
        ({"weight_decay": 0.1}, "optimizer: weight_decay: cannot take effect with name = 'adafactor'. Drop it."),
        ({"eps": 1e-8}, "optimizer: eps: cannot take effect with name = 'adafactor'. Drop it."),
        ({"final_lr": 0.1}, "optimizer: final_lr: cannot take effect with schedule = 'constant'. Drop it."),
        (
            {"schedule": "linear", "decay_fraction": 0.2},
            "optimizer: decay_fraction: cannot take effect with schedule = 'linear'. Drop it.",
        ),
        (
            {"schedule": "inverse_sqrt", "warmup_steps": 5, "warmup_start": 0.5},
            "optimizer: warmup_start: cannot take effect with schedule = 'inverse_sqrt'. Drop it.",
        ),
        ({"warmup_start": 0.5}, "optimizer: warmup_start: cannot take effect with warmup_steps = 0. Drop it."),
        (
            {"schedule": "inverse_sqrt"},
            "optimizer: warmup_steps: got 0, and inverse_sqrt falls from there on. Give it (T5: 10000).",
        ),
        (
            {"name": "adamw", "betas": (0.9, 1.0)},
            "optimizer: betas: got (0.9, 1.0), expected two numbers from 0 to below 1.",
        ),
    ],
)
def test_what_cannot_take_effect_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        build(OptimOptions, options, where="optimizer")
    assert str(raised.value) == message


@pytest.mark.parametrize("options", [{"lr": 0}, {"clip_norm": 0}, {"name": "lion"}, {"momentum": 0.9}])
def test_values_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OptimOptions(**options)


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_recipe_builds_the_same_again(name: Any) -> None:
    options = OptimOptions(name=name)
    assert build(OptimOptions, options.model_dump(), where="optimizer") == options
