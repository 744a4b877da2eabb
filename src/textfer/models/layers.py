"""What transformer blocks are made of besides attention: products, norm, dropout, feed-forward.

Letters: D model width, F feed-forward width.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Activation = Literal["relu", "gated_gelu", "gated_silu"]


MIN_PRODUCT_ROWS = 4
"""Below this MKL is as fast and starts sooner."""


def _fast_products() -> bool:
    """Whether float32 products go to oneDNN: with AVX-512, which MKL leaves unused on other makers' CPUs.

    On such an AMD core oneDNN makes twice the products a second in all three directions; with AVX2 alone MKL is better
    at the gradients of weights.
    """
    built = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # type: ignore[no-untyped-call]
    return built and torch.backends.cpu.get_cpu_capability() == "AVX512"


FAST_PRODUCTS = _fast_products()


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """[…, D] times [F, D] transposed, plus [F] → […, F], without gradients; `F.linear`'s numbers but for rounding."""
    if (
        FAST_PRODUCTS
        and x.dtype == weight.dtype == torch.float32
        and _plain(x)
        and x.numel() >= MIN_PRODUCT_ROWS * x.shape[-1] > 0
        and (weight.is_contiguous() or weight.t().is_contiguous())  # oneDNN knows no other strides
        and torch.backends.mkldnn.enabled
        and not torch.is_autocast_enabled("cpu")
    ):
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return out
    return F.linear(x, weight, bias)


class _Product(torch.autograd.Function):
    """`product` with gradients, which are products too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad = grads[0].reshape(-1, weight.shape[0])
        for_x = product(grad, weight.t()).view_as(x) if ctx.needs_input_grad[0] else None
        for_weight = product(grad.t(), x.reshape(-1, x.shape[-1]).t()) if ctx.needs_input_grad[1] else None
        return for_x, for_weight


class _BiasedProduct(torch.autograd.Function):
    """The same with a bias."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        for_bias = grads[0].reshape(-1, grads[0].shape[-1]).sum(0) if ctx.needs_input_grad[2] else None
        return *_Product.backward(ctx, *grads), for_bias


class Linear(nn.Linear):
    """A product without bias whose weight is set by the model, not here."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def reset_parameters(self) -> None:
        """Nothing: the model initialises by its own rules."""

    def forward(self, x: Tensor) -> Tensor:
        """[…, D] → […, F]"""
        if not FAST_PRODUCTS or not _plain(x) or torch.is_autocast_enabled("cpu"):
            return F.linear(x, self.weight)
        if torch.is_grad_enabled():
            return apply_typed(_Product, (x, self.weight))
        return product(x, self.weight)


class BiasedLinear(Linear):
    """A product with bias, set by the model."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super(Linear, self).__init__(inputs, outputs, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """[…, D] → […, F]"""
        if not FAST_PRODUCTS or not _plain(x) or torch.is_autocast_enabled("cpu"):
            return F.linear(x, self.weight, self.bias)
        if torch.is_grad_enabled():
            return apply_typed(_BiasedProduct, (x, self.weight, self.bias))
        return product(x, self.weight, self.bias)


class Table(nn.Embedding):
    """Rows by number, set by the model."""

    def reset_parameters(self) -> None:
        """Nothing: the model initialises by its own rules."""


class WideLinear(Linear):
    """The same, in float32 when what comes in is float16: T5's feed-forward outputs leave float16's range."""

    def forward(self, x: Tensor) -> Tensor:
        """[…, F] → […, D]"""
        if x.dtype != torch.float16:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            wide: Tensor = F.linear(x.float(), self.weight.float())
        return wide


class RMSNorm(nn.Module):
    """Scales to unit mean square, without mean subtraction or bias; statistics in float32."""

    def __init__(self, dim: int, *, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[…, D] → […, D] in the weight's dtype"""
        if _plain(x) and x.dtype == self.weight.dtype and x.dtype in (torch.float32, torch.float64):
            if torch.is_grad_enabled():
                return apply_typed(_RMSNorm, (x, self.weight, self.eps))
            return (x * _rms_rate(x, self.eps)).mul_(self.weight)
        wide = torch.promote_types(x.dtype, torch.float32)
        normed = F.rms_norm(x.to(wide), (x.shape[-1],), self.weight.to(wide), self.eps)
        return normed.to(self.weight.dtype)


class LayerNorm(nn.Module):
    """Scales to zero mean and unit variance, then by weight and bias; statistics in float32."""

    def __init__(self, dim: int, *, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[…, D] → […, D] in the weight's dtype"""
        wide = torch.promote_types(x.dtype, torch.float32)
        scale, shift = self.weight.to(wide), self.bias.to(wide)
        return F.layer_norm(x.to(wide), (x.shape[-1],), scale, shift, self.eps).to(self.weight.dtype)


def _plain(x: Tensor) -> bool:
    """Whether the hand-written CPU functions serve: eager mode on a CPU."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def apply_typed(function: Any, arguments: tuple[Any, ...]) -> Tensor:
    """`function.apply` with a type."""
    out: Tensor = function.apply(*arguments)
    return out


def _rms_rate(x: Tensor, eps: float) -> Tensor:
    """[…, D] → […, 1] what brings the mean square to 1"""
    size: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return size.mul_(x.shape[-1] ** -0.5).square_().add_(eps).rsqrt_()


class _RMSNorm(torch.autograd.Function):
    """Half the time of torch's composite on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        rate = _rms_rate(x, eps)
        unit = x * rate
        ctx.save_for_backward(unit, rate, weight)
        return unit * weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        unit, rate, weight = ctx.saved_tensors
        dim = unit.shape[-1]
        product = (grads[0] * unit).reshape(-1, dim)
        along = torch.mv(product, weight).div_(dim).view_as(rate)
        grad = (grads[0] * weight).addcmul_(unit, along, value=-1).mul_(rate)
        return grad, product.sum(0), None


# Dropout. torch's CPU kernel draws one number an element in series; here one 64-bit draw serves four elements, and the
# rate is rounded to 1/65,536. The default generator decides, so torch.manual_seed makes it repeatable.


def random_bits(like: Tensor, rate: float) -> tuple[Tensor, float]:
    """(random int16 of the shape of `like`, for `kept_mask`; factor for what is kept)."""
    words = torch.empty((like.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.int16)[: like.numel()].view(like.shape), 1 / (1 - _steps(rate) / 65536)


def _steps(rate: float) -> int:
    return min(round(rate * 65536), 65535)


def kept_mask(bits: Tensor, rate: float, dtype: torch.dtype) -> Tensor:
    """1 where kept, 0 where dropped, as numbers: products of floats are vectorised, products with bools are not."""
    kept = torch.empty(bits.shape, dtype=dtype)
    return torch.ge(bits, _steps(rate) - 32768, out=kept)


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float) -> Tensor:
        bits, ctx.factor = random_bits(x, rate)
        ctx.rate = rate
        ctx.save_for_backward(bits)
        return kept_mask(bits, rate, x.dtype).mul_(x).mul_(ctx.factor)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (bits,) = ctx.saved_tensors
        return kept_mask(bits, ctx.rate, grads[0].dtype).mul_(grads[0]).mul_(ctx.factor), None


class _AddDropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, rate: float) -> Tensor:
        bits, ctx.factor = random_bits(y, rate)
        ctx.rate, ctx.dtype = rate, y.dtype
        ctx.save_for_backward(bits)
        return torch.addcmul(x, y.to(x.dtype), kept_mask(bits, rate, x.dtype), value=ctx.factor)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        (bits,) = ctx.saved_tensors
        grad = kept_mask(bits, ctx.rate, grads[0].dtype).mul_(grads[0]).mul_(ctx.factor)
        return grads[0], grad.to(ctx.dtype), None


def drop(x: Tensor, rate: float) -> Tensor:
    """`x` with a share `rate` of its elements zero and the others scaled up to match."""
    if rate == 0:
        return x
    if _plain(x):
        return apply_typed(_Drop, (x, rate))
    return F.dropout(x, rate)


def add_dropped(x: Tensor, y: Tensor, rate: float) -> Tensor:
    """`x + drop(y, rate)`: a residual branch joins."""
    if rate == 0 or not _plain(x):
        return x + F.dropout(y, rate) if rate else x + y
    return apply_typed(_AddDropped, (x, y, rate))


class Joined(Protocol):
    """Several products with the same input, made as one."""

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """[…, D] → […, F] of every product that stands in it"""
        ...


class FeedForward(nn.Module):
    """D → F → D, plain or gated: `wo(act(gate(x)) * wi(x))`."""

    def __init__(self, dim: int, ff_dim: int, *, kind: Activation, dropout: float) -> None:
        super().__init__()
        self.kind, self.dropout = kind, dropout
        self.together = ("gate", "wi")
        """Products with the same input, which `joined` holds in their place when weights are int8."""
        self.joined: Joined | None = None
        if kind != "relu":
            self.gate = Linear(dim, ff_dim)
        self.wi = Linear(dim, ff_dim)
        self.wo = WideLinear(ff_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[…, D] → […, D]"""
        if self.kind == "relu":
            inner = F.relu(self.wi(x))
        else:
            gate, up = (self.gate(x), self.wi(x)) if self.joined is None else self.joined.split(x)
            inner = (F.gelu(gate, approximate="tanh") if self.kind == "gated_gelu" else F.silu(gate)) * up
        out: Tensor = self.wo(drop(inner, self.dropout if self.training else 0.0))
        return out
