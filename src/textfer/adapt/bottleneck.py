"""Bottleneck adapters: small blocks between layers that stay as they are.

Letters: D model width, d inner width.
"""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from textfer.adapt import METHODS, Method, Plan, one_stage
from textfer.errors import ConfigError
from textfer.models import Model
from textfer.models.layers import Linear, RMSNorm, add_dropped

SLOT = "adapter"
"""The attribute in which a model's blocks take one."""


class Adapter(nn.Module):
    """Norm, D → d, ReLU, d → D on a residual branch of its own. Begins as the identity: `up` is zero."""

    def __init__(self, dim: int, inner_dim: int, *, dropout: float, norm_eps: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.norm = RMSNorm(dim, eps=norm_eps)
        self.down = Linear(dim, inner_dim)
        self.up = Linear(inner_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[…, D] → […, D]"""
        rate = self.dropout if self.training else 0.0
        return add_dropped(x, self.up(F.relu(self.down(self.norm(x)))), rate)


@METHODS.named("adapters")
class Adapters(Method):
    """A dense-ReLU-dense block after every feed-forward; trained are these and the scales of the norms.

    Source: T5 §3.5.1, after Houlsby et al. 2019, arXiv 1902.00751. The last product begins at zero, so that the first
    step sees the model as it was.
    """

    adds: ClassVar[bool] = True
    partial: ClassVar[bool] = True
    inner_dim: int = Field(64, ge=1)
    """d, the width inside."""

    def install(self, model: Model, *, seed: int) -> None:
        """Puts one into every block."""
        generator = torch.Generator().manual_seed(seed)
        blocks = [part for part in cast(nn.Module, model).modules() if hasattr(part, SLOT)]
        if not blocks:
            raise ConfigError("method.name: got adapters, and this model has no feed-forward blocks to put them after.")
        for block in blocks:
            assert getattr(block, SLOT) is None, "a block takes one adapter"
            made = Adapter(block.dim, self.inner_dim, dropout=block.dropout, norm_eps=block.feed_forward_norm.eps)  # type: ignore[arg-type, union-attr]
            nn.init.normal_(made.down.weight, std=made.down.in_features**-0.5, generator=generator)
            nn.init.zeros_(made.up.weight)
            setattr(block, SLOT, made)

    def plan(self, model: Model, *, num_steps: int) -> Plan:
        """Adapters, and every scale of a norm."""
        del num_steps
        return one_stage(
            name
            for name, weight in model.named_parameters()
            if SLOT in name.split(".") or (weight.dim() == 1 and "norm" in name)
        )
