"""The chunked loss against PyTorch's own, gradients included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from textfer.batch import Batch
from textfer.training import loss as module
from textfer.training.loss import cross_entropy

M, D, V = 53, 12, 40


@dataclass
class Readout:
    """Hidden states and an output layer: all that the loss wants of a model."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    targets: Tensor
    weights: Tensor

    def states(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        return self.hidden, self.targets, self.weights

    def readout(self) -> tuple[Tensor, Tensor | None]:
        return self.weight, self.bias


def made(*, bias: bool = True, dtype: torch.dtype = torch.float64) -> Readout:
    draws = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draws, dtype=torch.float64).to(dtype).requires_grad_()

    targets = torch.randint(0, V, (M,), generator=draws)
    weights = torch.rand(M, generator=draws) * 2
    return Readout(normal(M, D), normal(V, D), normal(V) if bias else None, targets, weights)


def reference(model: Readout, z_loss: float) -> Tensor:
    logits = F.linear(model.hidden, model.weight, model.bias)
    each = F.cross_entropy(logits, model.targets, reduction="none")
    return (model.weights * (each + z_loss * logits.logsumexp(-1).square())).sum()


def gradients(total: Tensor, model: Readout) -> list[Tensor]:
    inputs = [part for part in (model.hidden, model.weight, model.bias) if part is not None and part.requires_grad]
    return list(torch.autograd.grad(total, inputs))


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 positions at once: 53 make three whole chunks and a rest."""
    monkeypatch.setattr(module, "CHUNK_NUMBERS", 16 * V)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("z_loss", [0.0, 1e-2])
@pytest.mark.parametrize("bias", [True, False])
def test_equal_to_the_reference(bias: bool, z_loss: float) -> None:
    model = made(bias=bias)
    loss = cross_entropy(model, Batch(), z_loss=z_loss)
    expected = reference(model, z_loss)
    torch.testing.assert_close(loss.sum, expected, rtol=1e-12, atol=0)
    assert loss.count == model.weights.sum()
    for ours, theirs in zip(gradients(3 * loss.sum, model), gradients(3 * expected, model), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-6, atol=1e-6)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(dtype=torch.float32)
    whole = gradients(cross_entropy(model, Batch()).sum, model)
    monkeypatch.setattr(module, "CHUNK_NUMBERS", 16 * V)
    for ours, theirs in zip(gradients(cross_entropy(model, Batch()).sum, model), whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("frozen", [("hidden",), ("weight",), ("bias",), ("hidden", "weight"), ("weight", "bias")])
def test_only_what_is_trained_gets_a_gradient(frozen: tuple[str, ...]) -> None:
    model = made()
    for name in frozen:
        getattr(model, name).requires_grad_(False)
    ours = gradients(cross_entropy(model, Batch()).sum, model)
    for one, theirs in zip(ours, gradients(reference(model, 0.0), model), strict=True):
        torch.testing.assert_close(one.double(), theirs, rtol=1e-6, atol=1e-6)


def test_nothing_is_kept_without_gradients() -> None:
    model = made()
    with torch.no_grad():
        total = cross_entropy(model, Batch()).sum
    assert not total.requires_grad
    torch.testing.assert_close(total, reference(model, 0.0).detach(), rtol=1e-12, atol=0)


def test_a_second_backward_pass_is_refused() -> None:
    model = made()
    total = cross_entropy(model, Batch()).sum
    total.backward(retain_graph=True)
    with pytest.raises(AssertionError, match="one backward pass"):
        total.backward()


@pytest.mark.usefixtures("small_chunks")
def test_under_autocast_products_are_in_bfloat16_and_sums_in_float32() -> None:
    model = made(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = cross_entropy(model, Batch(), z_loss=1e-3)
    expected = reference(model, 1e-3)
    assert loss.sum.dtype == torch.float32
    torch.testing.assert_close(loss.sum, expected, rtol=5e-3, atol=0)
    for ours, theirs in zip(gradients(loss.sum, model), gradients(expected, model), strict=True):
        assert ours.dtype == torch.float32
        assert F.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.999


class Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for part in out if isinstance(out, tuple | list) else [out]:
            if isinstance(part, Tensor):
                self.numbers = max(self.numbers, part.numel())
        return out


@pytest.mark.usefixtures("small_chunks")
def test_all_logits_are_never_held() -> None:
    model = made()
    with Largest() as seen:
        cross_entropy(model, Batch(), z_loss=1e-3).sum.backward()
    assert seen.numbers == max(16 * V, M * D)
    assert seen.numbers < M * V
    with Largest() as whole:
        reference(model, 1e-3).backward()
    assert whole.numbers == M * V
