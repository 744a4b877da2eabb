"""Optimisers and learning rates. What they remember is tensors by parameter, so a run resumes bit for bit.

The rate of a step is a pure function, `lr_at`; who drives an optimiser writes it into `param_groups` before the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from textfer.config import Options

Named = Iterable[tuple[str, nn.Parameter]]

MIN_FACTORED_DIM = 128
"""Adafactor keeps row and column means only of matrices at least this large on both sides (the reference's value)."""
DECAY_POWER = 0.8
SQUARE_FLOOR = 1e-30
SCALE_FLOOR = 1e-3
"""A parameter counts as at least this large when steps are relative to its size."""
MOST_RMS = 1.0
"""Adafactor shortens an update whose root mean square is above this."""
CHUNK_NUMBERS = 1 << 19
"""Of a matrix on a CPU, worked on at once: 2 MiB, which stays in the cache."""


class OptimOptions(Options):
    """How weights move. The defaults are T5's fine-tuning: Adafactor at a constant rate."""

    name: Literal["adafactor", "adamw", "adamw_rms"] = "adafactor"
    """adamw_rms: every step is relative to the root mean square of the parameter, as in Adafactor (nanoT5's rule)."""
    lr: float = Field(1e-3, gt=0)
    """The highest rate of the schedule; relative to the size of the weights for adafactor and adamw_rms."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Memory of the gradient and of its square, per step (adamw, adamw_rms)."""
    eps: float = Field(1e-6, gt=0)
    """Added to the root of the squares (adamw, adamw_rms)."""
    weight_decay: float = Field(0.0, ge=0)
    """Times the rate: share of a weight lost in a step (adamw, adamw_rms); norms, biases, bias tables are spared."""
    schedule: Literal["constant", "linear", "cosine", "inverse_sqrt", "wsd"] = "constant"
    """wsd: constant, then linear over the last `decay_fraction`. inverse_sqrt: T5's, level for the warm-up steps."""
    warmup_steps: int = Field(0, ge=0)
    """Steps in which the rate rises linearly; with inverse_sqrt, stays level."""
    warmup_start: float = Field(0.0, ge=0, le=1)
    """Where the warm-up begins, as a share of `lr`."""
    final_lr: float = Field(0.0, ge=0, le=1)
    """Where linear, cosine and wsd end, as a share of `lr`."""
    decay_fraction: float = Field(0.1, gt=0, le=1)
    """Share of all steps in which wsd goes down."""
    clip_norm: float | None = Field(None, gt=0)
    """Gradients with a larger global norm are scaled down to it; None = never."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas: got {self.betas}, expected two numbers from 0 to below 1.")
        if self.name == "adafactor":
            self._refuse("name", "betas", "eps", "weight_decay")
        if self.schedule in ("constant", "inverse_sqrt"):
            self._refuse("schedule", "final_lr")
        if self.schedule != "wsd":
            self._refuse("schedule", "decay_fraction")
        if self.schedule == "inverse_sqrt":
            self._refuse("schedule", "warmup_start")
            if not self.warmup_steps:
                raise ValueError("warmup_steps: got 0, and inverse_sqrt falls from there on. Give it (T5: 10000).")
        if not self.warmup_steps:
            self._refuse("warmup_steps", "warmup_start")
        return self

    def _refuse(self, cause: str, *names: str) -> None:
        """Refuses values other than the default (a saved recipe spells out the defaults)."""
        for name in names:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name}: cannot take effect with {cause} = {getattr(self, cause)!r}. Drop it.")


def lr_at(step: int, options: OptimOptions, num_steps: int) -> float:
    """The learning rate of step `step` (from 0) of a run of `num_steps`.

    Source: inverse_sqrt: T5 §3.1.2, 1/sqrt(max(n, 10^4)) is `lr` 0.01 with 10^4 warm-up steps. cosine with
    `warmup_start` 0.5: nanoT5's LinearLR followed by CosineAnnealingLR.
    """
    warmup = options.warmup_steps
    if options.schedule == "inverse_sqrt":
        return options.lr * math.sqrt(warmup / max(step, warmup))
    if step < warmup:
        return options.lr * (options.warmup_start + (1 - options.warmup_start) * step / warmup)
    if options.schedule == "constant":
        return options.lr
    begin = warmup
    if options.schedule == "wsd":
        begin = max(warmup, num_steps - round(num_steps * options.decay_fraction))
    gone = min(max(step - begin, 0) / max(num_steps - begin, 1), 1.0)
    left = (1 + math.cos(math.pi * gone)) / 2 if options.schedule == "cosine" else 1 - gone
    return options.lr * (options.final_lr + (1 - options.final_lr) * left)


def make_optimizer(named_parameters: Named, options: OptimOptions) -> torch.optim.Optimizer:
    """The optimiser that `options.name` names. A parameter without a gradient stays as it is and costs nothing."""
    named = list(named_parameters)
    if options.name == "adafactor":
        return Adafactor([parameter for _, parameter in named], lr=options.lr)
    groups: list[dict[str, Any]] = []
    for name, parameter in named:
        decay = options.weight_decay if _decays(name, parameter) else 0.0
        same = next((group for group in groups if group["weight_decay"] == decay), None)
        if same is None or options.name == "adamw_rms":  # relative: every parameter has its own rate, so its own group
            groups.append({"params": [parameter], "weight_decay": decay})
        else:
            same["params"].append(parameter)
    return AdamW(groups, options=options)


def _decays(name: str, parameter: Tensor) -> bool:
    """Matrices and embeddings lose weight; norms, biases and tables of relative position biases do not."""
    return parameter.ndim > 1 and "bias" not in name


@final
class AdamW(torch.optim.AdamW):
    """PyTorch's AdamW in its fused form, one pass over memory; the rate may be relative to each parameter's size.

    Source of the relative form: nanoT5's AdamWScale,
    p -= lr · sqrt(1−β₂ᵗ)/(1−β₁ᵗ) · max(10⁻³, RMS(p)) · m/(sqrt(v) + eps).
    """

    def __init__(self, groups: list[dict[str, Any]], *, options: OptimOptions) -> None:
        devices = {parameter.device.type for group in groups for parameter in group["params"]}
        fused = True if devices <= {"cpu", "cuda"} else None
        super().__init__(groups, lr=options.lr, betas=options.betas, eps=options.eps, fused=fused)
        self._relative = options.name == "adamw_rms"

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Moves every parameter that has a gradient. `closure` is not supported."""
        assert closure is None
        for parameter, state in self.state.items():
            # a checkpoint gives counters back on the CPU, the fused step wants them beside the parameter
            if self.defaults["fused"] and state["step"].device != parameter.device:
                state["step"] = state["step"].to(parameter.device)
        if self._relative:
            self._relative_step()
        else:
            super().step()

    def _relative_step(self) -> None:
        groups = [group for group in self.param_groups if group["params"][0].grad is not None]
        if not groups:
            return
        sizes = torch.stack([_rms(group["params"][0]) for group in groups]).tolist()
        counts = self._counts([group["params"][0] for group in groups])
        kept = [(group, group["lr"], group["eps"], group["weight_decay"]) for group in groups]
        for group, size, count in zip(groups, sizes, counts, strict=True):
            scale = max(SCALE_FLOOR, size)
            group["lr"] *= scale
            group["weight_decay"] /= scale  # losing a share is relative already
            # PyTorch adds eps after correcting the bias of v, the rule before
            group["eps"] /= math.sqrt(1 - group["betas"][1] ** (count + 1))
        super().step()
        for group, lr, eps, weight_decay in kept:
            group.update(lr=lr, eps=eps, weight_decay=weight_decay)

    def _counts(self, parameters: list[nn.Parameter]) -> list[float]:
        """Steps that each has made; read together, so a GPU is waited for once."""
        begun = [parameter for parameter in parameters if self.state.get(parameter)]
        steps = torch.stack([self.state[parameter]["step"] for parameter in begun]).tolist() if begun else []
        known = dict(zip(begun, steps, strict=True))
        return [known.get(parameter, 0.0) for parameter in parameters]


@final
class Adafactor(torch.optim.Optimizer):
    """Adafactor as T5 was trained with: no momentum, factored second moments, updates clipped, steps relative to size.

    Source: Shazeer and Stern 2018, arXiv 1804.04235; the defaults of mesh_tensorflow/optimize.py's AdafactorOptimizer:
    decay 1 − t^−0.8, clipping at 1, and only matrices with both sides ≥ 128 factored (`transformers` factors all).
    """

    def __init__(self, parameters: list[nn.Parameter], *, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Moves every parameter that has a gradient. `closure` is not supported."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group["lr"])

    def _move(self, parameter: Tensor, grad: Tensor, lr: float) -> None:
        state = self.state[parameter]
        factored = parameter.ndim == 2 and min(parameter.shape) >= MIN_FACTORED_DIM
        if not state:
            state["step"] = torch.zeros(())
            sizes = {"row": parameter.shape[0], "col": parameter.shape[1]} if factored else {"square": parameter.shape}
            state.update({key: parameter.new_zeros(size) for key, size in sizes.items()})
        state["step"] += 1
        fresh = float(state["step"]) ** -DECAY_POWER
        rate = lr * _rms(parameter).clamp(min=SCALE_FLOOR)
        if factored:
            _move_matrix(parameter, grad, state["row"], state["col"], fresh, rate)
            return
        square = state["square"].lerp_(grad.square() + SQUARE_FLOOR, fresh)
        update = grad * square.rsqrt()
        parameter -= update * (rate / (_rms(update) / MOST_RMS).clamp(min=1))


def _move_matrix(parameter: Tensor, grad: Tensor, row: Tensor, col: Tensor, fresh: float, rate: Tensor) -> None:
    """One Adafactor step of a matrix; of the gradient's size only chunks are ever held.

    The second moment of element (i, j) is row_i · col_j / mean(row). The mean square of the update follows from
    the squared gradient and these factors, so the update itself is made once, where it is added.
    """
    num_rows, num_cols = parameter.shape
    rows_at_once = num_rows if parameter.is_cuda else max(1, CHUNK_NUMBERS // num_cols)
    chunks = [slice(start, start + rows_at_once) for start in range(0, num_rows, rows_at_once)]
    row_means, col_sums = torch.empty_like(row), torch.zeros_like(col)
    for rows in chunks:
        square = grad[rows].square()
        torch.mean(square, 1, out=row_means[rows])
        col_sums += square.sum(0)
    row.lerp_(row_means + SQUARE_FLOOR, fresh)
    col.lerp_(col_sums / num_rows + SQUARE_FLOOR, fresh)
    row_factor, col_factor = (row / row.mean()).rsqrt(), col.rsqrt()
    row_weight, col_weight = row_factor.square(), col_factor.square()
    total = sum(((grad[rows].square() @ col_weight) @ row_weight[rows] for rows in chunks), torch.zeros_like(rate))
    too_long = (total / parameter.numel()).sqrt() / MOST_RMS
    row_factor *= -rate / too_long.clamp(min=1)
    for rows in chunks:
        parameter[rows].addcmul_(grad[rows] * row_factor[rows, None], col_factor)


def _rms(tensor: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(tensor)
    return norm / math.sqrt(tensor.numel())
