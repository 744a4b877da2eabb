"""Products with int8 weights on a CPU: a fourth of the memory, and several times the tokens a second.

Weights get one scale an output, once. What comes in gets one scale a row, as it comes: what a row gives never depends
on the other rows of its batch. Products are sums of whole numbers; norms, attention and the residual stream stay
float32.
Where torch brings no such products the same numbers are made in float32: right, but neither smaller nor faster.

Letters: D inputs, F outputs, V vocabulary.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textfer.errors import ConfigError
from textfer.models import ADDED, Model
from textfer.models.layers import Linear

FULL: Final = 127
"""Steps on either side of zero, of weights and of what comes in."""
NARROW: Final = 63
"""Of what comes in, on CPUs whose products of bytes overflow when two neighbours are large (x86 without VNNI)."""
TINY = 1e-30
"""Scale of what is all zeros."""
ENGINE = "fbgemm"
ROWS = 256
"""Rows a thread that are worked on at a time: what is made of them on the way stays in the CPU's own memory."""


Weights = Literal["float32", "int8"]
"""What products are made with: the numbers that were learnt, or whole ones near them."""


def check_weights(weights: str, *, adapters: bool) -> None:
    """Refuses a word that is none of `Weights`, and int8 where adapters are to be put on. Errors: ConfigError."""
    if weights not in get_args(Weights):
        raise ConfigError(f"weights: got '{weights}', expected one of {', '.join(get_args(Weights))}.")
    if weights == "int8" and adapters:
        raise ConfigError("weights: int8 takes no adapters. Load each run by itself, or drop it.")


@cache
def steps() -> int:
    """How finely this machine's products tell inputs apart: FULL or NARROW; 0 = it has no such products."""
    try:
        packed = _pack(torch.full((8, 64), FULL, dtype=torch.int8), torch.ones(8))
        made = _product(torch.ones(1, 64), 1 / FULL, FULL, packed)
        exact = torch.full((1, 8), 64.0 * FULL)
        return FULL if torch.allclose(made, exact, rtol=1e-5) else NARROW
    except (RuntimeError, AttributeError, NotImplementedError):
        return 0


def _pack(whole: Tensor, scales: Tensor) -> Any:
    """[F, D] int8 and [F] scales as the library wants them."""
    before = torch.backends.quantized.engine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # making tensors of this kind is said to end some day
        tensor = torch._make_per_channel_quantized_tensor(
            whole, scales.double(), torch.zeros(len(scales), dtype=torch.long), 0
        )
    try:
        torch.backends.quantized.engine = ENGINE
        return torch.ops.quantized.linear_prepack(tensor, None)
    finally:
        torch.backends.quantized.engine = before


def _product(x: Tensor, scale: float, steps: int, packed: Any) -> Tensor:
    """[…, D] in steps of `scale`, times the packed weights → […, F] float32"""
    made: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default(
        x, scale, steps + 1, packed
    )
    return made


def quantised(weight: Tensor) -> tuple[Tensor, Tensor]:
    """[F, D] → ([F, D] int8 within ±127, [F] scales): the nearest whole numbers of steps, row by row"""
    weight = weight.detach().float()
    scales = weight.abs().amax(1).clamp_min(TINY) / FULL
    return (weight / scales[:, None]).round().to(torch.int8), scales


class Int8Linear(nn.Module):
    """A product with int8 weights; several with the same input may stand side by side in it."""

    def __init__(self, parts: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.widths = [part.out_features for part in parts]
        weight = torch.cat([part.weight.detach() for part in parts])
        biases = [part.bias.detach().float() for part in parts if part.bias is not None]
        assert len(biases) in (0, len(parts)), "all have a bias, or none"
        self.num_weights = weight.numel() + sum(map(len, biases))
        self.bias: Tensor | None
        self.register_buffer("bias", torch.cat(biases) if biases else None, persistent=False)
        whole, scales = quantised(weight)
        self.steps = steps()
        self.packed: Any = _pack(whole, scales) if self.steps else None
        self.whole: Tensor | None
        self.scales: Tensor | None
        self.register_buffer("whole", None if self.steps else whole.float(), persistent=False)
        self.register_buffer("scales", None if self.steps else scales, persistent=False)

    def extra_repr(self) -> str:
        """For people."""
        return f"outputs={'+'.join(map(str, self.widths))}, weights={self.num_weights:,}"

    def forward(self, x: Tensor) -> Tensor:
        """[…, D] → […, F]"""
        if x.numel() == x.shape[-1] and self.steps:  # one row: its scale goes into the product
            size = float(x.abs().max())
            out = _product(x, max(size, TINY) / self.steps, self.steps, self.packed)
            return out if self.bias is None else out.add_(self.bias)
        size = ROWS * torch.get_num_threads()
        parts = [self._rows(part) for part in torch.split(x.reshape(-1, x.shape[-1]), size)]
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).view(*x.shape[:-1], -1)

    def _rows(self, x: Tensor) -> Tensor:
        """[N, D] → [N, F]"""
        sizes = x.abs().amax(-1, keepdim=True).clamp_min_(TINY)
        unit = x * sizes.reciprocal()
        if self.steps:
            out = _product(unit, 1 / self.steps, self.steps, self.packed)
        else:
            assert self.whole is not None, "kept where nothing is packed"
            assert self.scales is not None, "kept where nothing is packed"
            out = F.linear((unit * FULL).round_(), self.whole).mul_(self.scales / FULL)
        return out.mul_(sizes) if self.bias is None else torch.addcmul(self.bias, out, sizes)

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """[…, D] → […, F] of every product that stands in it"""
        parts: tuple[Tensor, ...] = self(x).split(self.widths, -1)
        return parts


class Int8Table(nn.Module):
    """Rows by number, in int8 with one scale a row."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self.num_weights = table.weight.numel()
        whole, scales = quantised(table.weight)
        self.whole: Tensor
        self.scales: Tensor
        self.register_buffer("whole", whole, persistent=False)
        self.register_buffer("scales", scales, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """[…] → […, D]"""
        return F.embedding(ids, self.whole).float() * self.scales[ids][..., None]


@torch.no_grad()
def lay_int8(model: Model) -> None:
    """Lays the products of a T5 or a BERT in int8, in place, with its table of tokens where nothing else reads that.

    Heads, norms, positions and relative biases stay as they are. The model then only reads and writes: it cannot be
    trained, saved or changed. Errors: ConfigError for other models, for weights that lie elsewhere than on the CPU, and
    for those that a method has added to.
    """
    module = cast(nn.Module, model)
    lay = getattr(getattr(model, "reader", model), "lay_int8", None)
    if lay is None:
        raise ConfigError(f"weights: int8 serves T5 and BERT, got a {type(model).__name__}. Drop it.")
    if (device := next(module.parameters()).device).type != "cpu":
        raise ConfigError(f"weights: int8 lies on the CPU, and the model on '{device}'. Say device = cpu, or drop it.")
    if added := [name for name, _ in module.named_parameters() if ADDED & set(name.split("."))]:
        raise ConfigError(f"weights: int8 takes whole weights, and '{added[0]}' was added by a method. Merge it first.")
    lay()
    module.requires_grad_(False)


def lay_parts(module: nn.Module) -> None:
    """Lays every plain product below a module in int8: those that `together` names side by side, the others alone."""
    for part in list(module.modules()):
        together = getattr(part, "together", ())
        if together and all(type(getattr(part, name, None)) in _plain_kinds() for name in together):
            part.joined = Int8Linear([getattr(part, name) for name in together])
            for name in together:
                setattr(part, name, None)
        for name, child in list(part.named_children()):
            if type(child) in _plain_kinds():
                setattr(part, name, Int8Linear([cast(nn.Linear, child)]))


def _plain_kinds() -> tuple[type[nn.Module], ...]:
    return Linear, *Linear.__subclasses__()


def holds_int8(model: Model) -> bool:
    """Whether a model's weights lie in int8."""
    return any(True for _ in _laid(model))


def num_weights(model: Model) -> int:
    """How many numbers a model has learnt, however they lie."""
    learnt = sum(weight.numel() for weight in model.parameters())
    return learnt + sum(part.num_weights for part in _laid(model))


def _laid(model: Model) -> Iterator[Int8Linear | Int8Table]:
    parts = cast(nn.Module, model).modules()
    return (part for part in parts if isinstance(part, Int8Linear | Int8Table))
