"""Products on a CPU: whichever library makes them, the numbers are those of `F.linear`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from textfer.models import layers
from textfer.models.layers import MIN_PRODUCT_ROWS, Linear, product


@pytest.fixture(params=[False, True], ids=["plain", "fast"], autouse=True)
def fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways, on machines where oneDNN is built in; the choice by CPU is left out."""
    if request.param and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("torch is built without oneDNN")
    monkeypatch.setattr(layers, "FAST_PRODUCTS", request.param)
    return bool(request.param)


def close(ours: Tensor | None, exact: Tensor | None) -> None:
    assert ours is not None
    assert exact is not None
    torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("shape", [(0,), (1,), (MIN_PRODUCT_ROWS,), (37,), (3, 5), (2, 1)])
def test_the_layer_and_its_gradients(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = Linear(24, 40)
    with torch.no_grad():
        layer.weight.normal_()
    x = torch.randn(*shape, 24, requires_grad=True)
    slope = torch.randn(*shape, 40)
    exact_x, exact_weight = x.detach().double().requires_grad_(), layer.weight.detach().double().requires_grad_()
    out, exact = layer(x), F.linear(exact_x, exact_weight)
    close(out, exact)
    out.backward(slope)
    exact.backward(slope.double())
    close(x.grad, exact_x.grad)
    close(layer.weight.grad, exact_weight.grad)
    with torch.no_grad():
        close(layer(x), exact)


def test_frozen_sides_get_no_gradient() -> None:
    torch.manual_seed(0)
    layer = Linear(8, 8)
    with torch.no_grad():
        layer.weight.normal_()
    x = torch.randn(6, 8, requires_grad=True)
    layer.weight.requires_grad_(False)
    layer(x).sum().backward()
    close(x.grad, layer.weight.double().sum(0).expand(6, 8))
    assert layer.weight.grad is None
    layer.weight.requires_grad_(True)
    layer(x.detach()).sum().backward()
    close(layer.weight.grad, x.detach().double().sum(0).expand(8, 8))


def test_strides_do_not_matter() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(12, 30).t(), torch.randn(12, 20).t()
    close(product(x, weight), x.double() @ weight.double().t())
    close(product(x[::2], weight[::3]), x[::2].double() @ weight[::3].double().t())
    close(product(x, torch.randn(1, 12).expand(5, 12).contiguous()[:0]), torch.zeros(30, 0, dtype=torch.float64))


def test_autocast_still_lowers_the_precision() -> None:
    layer = Linear(16, 16)
    with torch.no_grad():
        layer.weight.normal_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.randn(9, 16)).dtype == torch.bfloat16


def test_the_same_numbers_every_time() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(50, 64), torch.randn(70, 64)
    first = product(x, weight)
    assert all(torch.equal(product(x.clone(), weight.clone()), first) for _ in range(5))


def test_gradients_of_sums_are_one_number_repeated() -> None:
    layer = Linear(8, 8)
    with torch.no_grad():
        layer.weight.fill_(0.5)
    x = torch.ones(1, 8, requires_grad=True)
    layer(x.expand(6, 8)).sum().backward()
    close(x.grad, torch.full((1, 8), 24.0, dtype=torch.float64))
    close(layer.weight.grad, torch.full((8, 8), 6.0, dtype=torch.float64))
