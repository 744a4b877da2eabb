"""Post-norm transformer blocks that see both ways: what BERT is a stack of.

Letters: B rows, L tokens of a row, D model width, F feed-forward width, H heads, K width of one head, N tokens of all
examples laid end to end, E examples.
Source: Devlin et al. 2019, arXiv 1810.04805; Vaswani et al. 2017 for the blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textfer.batch import Run, Side
from textfer.models.attention import Ragged, spans_of, token_places
from textfer.models.int8 import Int8Linear
from textfer.models.layers import BiasedLinear, LayerNorm, add_dropped

if TYPE_CHECKING:
    from textfer.models.bert import BertOptions

TOKENS_STEP = 64
"""Where examples lie end to end, so many tokens at a time are worked on."""
Activation = Literal["gelu", "gelu_tanh", "relu"]
"""`gelu` by the error function, or its approximation by a tanh."""


def activated(x: Tensor, kind: Activation) -> Tensor:
    """The non-linearity, element by element."""
    if kind == "relu":
        return F.relu(x)
    return F.gelu(x, approximate="tanh" if kind == "gelu_tanh" else "none")


@dataclass(frozen=True, slots=True)
class Padded:
    """Who sees whom in padded rows; where tokens lie end to end, they stand in rows for the attention alone."""

    sees: Tensor
    """[B, 1, 1 or L, L] bool; every query has something to see."""
    places: Tensor | None = None
    """[N] where each token stands in the B · L places of the rows; None = the states are rows themselves."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, num_heads: int, dropout: float) -> Tensor:
        """[N, D] or [B, L, D] three times → as the queries"""
        rows, length = self.sees.shape[0], self.sees.shape[-1]

        def heads(x: Tensor) -> Tensor:
            if self.places is not None:
                x = x.new_zeros(rows * length, x.shape[-1]).index_copy(0, self.places, x)
            return x.view(rows, length, num_heads, -1).transpose(1, 2)

        out = F.scaled_dot_product_attention(heads(q), heads(k), heads(v), self.sees, dropout, scale=1.0)
        out = out.transpose(1, 2)
        return out.flatten(2) if self.places is None else out.reshape(rows * length, -1)[self.places]


@dataclass(frozen=True, slots=True)
class Reading:
    """How a side's tokens are laid for the stack."""

    sight: Ragged | Padded
    places: Tensor | None
    """[N] where the tokens that are worked on stand in the flattened side; None = rows are worked on as they are."""
    num_idle: int = 0
    """So many of them, the last, are padding."""

    def taken(self, x: Tensor) -> Tensor:
        """[B, L] of the side → [N], or as it is."""
        return x if self.places is None else x.flatten()[self.places]


def idle_runs(side: Side) -> tuple[Run, ...]:
    """Padding that is worked on as if it were examples, to make the number of tokens a multiple of `TOKENS_STEP`.

    Products of a new size are compiled anew, and what a training keeps for each of them would stand between the blocks
    of its memory: with a new size nearly every step it grew by 25 MB a step. Less where the rows have less padding.
    """
    ends = [0] * len(side.ids)
    for run in side.runs:
        ends[run.row] = max(ends[run.row], run.end)
    missing = -sum(run.end - run.start for run in side.runs) % TOKENS_STEP
    found = []
    for row, end in enumerate(ends):
        if size := min(missing, side.ids.shape[1] - end):
            found.append(Run(row, end, end + size))
            missing -= size
    return tuple(found)


def reading(side: Side, form: Literal["ragged", "padded attention", "dense"]) -> Reading:
    """How to read the side: examples one by one, end to end with rows for the attention, or rows throughout."""
    if form == "dense":
        one_each = [run.row for run in side.runs] == list(range(len(side.ids)))
        if one_each:
            return Reading(Padded((side.segments > 0)[:, None, None, :]), None)
        return Reading(Padded((side.segments[:, :, None] == side.segments[:, None, :])[:, None]), None)
    if form == "ragged":
        idle = idle_runs(side)
        filled = replace(side, runs=(*side.runs, *idle))
        num_idle = sum(run.end - run.start for run in idle)
        return Reading(Ragged(spans_of(filled.runs)), token_places(filled), num_idle)
    places, spans = token_places(side), spans_of(side.runs)
    lens = torch.tensor([end - start for start, end, _, _ in spans])
    count = torch.arange(int(lens.max()))
    sees = count < lens[:, None]
    device = side.ids.device
    inside = sees.flatten().nonzero().squeeze(1).to(device)
    return Reading(Padded(sees[:, None, None, :].to(device), inside), places.to(device))


class Attention(nn.Module):
    """Heads that look at the whole example; products have biases, scores are divided by √K."""

    def __init__(self, dim: int, *, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.scale = (dim // num_heads) ** -0.5
        self.together = ("q", "k", "v")
        """Products with the same input, which `joined` holds in their place when weights are int8."""
        self.joined: Int8Linear | None = None
        self.q, self.k, self.v, self.o = (BiasedLinear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor, sight: Ragged | Padded) -> Tensor:
        """[N, D] or [B, L, D] → the same"""
        rate = self.dropout if self.training else 0.0
        q, k, v = (self.q(x), self.k(x), self.v(x)) if self.joined is None else self.joined.split(x)
        seen = sight.attend(q * self.scale, k, v, num_heads=self.num_heads, dropout=rate)
        out: Tensor = self.o(seen)
        return out


class FeedForward(nn.Module):
    """D → F → D with biases."""

    def __init__(self, dim: int, ff_dim: int, *, kind: Activation) -> None:
        super().__init__()
        self.kind = kind
        self.wi, self.wo = BiasedLinear(dim, ff_dim), BiasedLinear(ff_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[…, D] → […, D]"""
        out: Tensor = self.wo(activated(self.wi(x), self.kind))
        return out


class Block(nn.Module):
    """Self-attention and feed-forward; each sum of the stream and a branch is normed."""

    def __init__(self, options: BertOptions) -> None:
        super().__init__()
        self.dim, self.dropout = options.model_dim, options.dropout
        self.adapter: nn.Module | None = None
        """What a way of transfer puts after the feed-forward, its residual included."""
        self.attention = Attention(self.dim, num_heads=options.num_heads, dropout=options.attention_rate)
        self.attention_norm = LayerNorm(self.dim, eps=options.norm_eps)
        self.feed_forward = FeedForward(self.dim, options.ff_dim, kind=options.activation)
        self.feed_forward_norm = LayerNorm(self.dim, eps=options.norm_eps)

    def forward(self, x: Tensor, sight: Ragged | Padded) -> Tensor:
        """[N, D] or [B, L, D] → the same"""
        rate = self.dropout if self.training else 0.0
        x = self.attention_norm(add_dropped(x, self.attention(x, sight), rate))
        branch = self.feed_forward(x)
        if self.adapter is not None:
            branch = self.adapter(branch)
        out: Tensor = self.feed_forward_norm(add_dropped(x, branch, rate))
        return out
