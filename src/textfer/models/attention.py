"""Attention with relative position biases, in two forms that give the same numbers.

**Ragged** (CPU): the tokens of all examples lie end to end as [N, D], so that no product, norm or feed-forward ever
sees padding, and attention goes example by example. **Dense** (accelerators, compiling, export): [B, L, D] with one
additive mask for all layers of a stack.

Letters: B rows, T queries, S keys, D model width, H heads, K width of one head, N tokens laid end to end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textfer.batch import Run, Side
from textfer.models.int8 import Int8Linear
from textfer.models.layers import Linear, Table, apply_typed, kept_mask, random_bits

Span = tuple[int, int, int, int]
"""(first query, end of queries, first key, end of keys) of one example in tokens laid end to end."""


def token_places(side: Side) -> Tensor:
    """[N] where the tokens of all runs stand in the flattened side."""
    length = side.ids.shape[1]
    return torch.cat([torch.arange(row * length + start, row * length + end) for row, start, end in side.runs])


def laid(states: Tensor, places: Tensor, side: Side) -> Tensor:
    """[N, D] at the places that `token_places` gave → [B, L, D], zeros where nothing stands."""
    empty = states.new_zeros(side.ids.numel(), states.shape[-1])
    return empty.index_copy(0, places, states).view(*side.ids.shape, -1)


def spans_of(runs: Iterable[Run]) -> tuple[Span, ...]:
    """Each run's place among the tokens laid end to end, as queries and as keys."""
    spans, at = [], 0
    for _, start, end in runs:
        spans.append((at, at + end - start, at, at + end - start))
        at += end - start
    return tuple(spans)


def longest(spans: Iterable[Span]) -> int:
    """The most queries of a span; 0 when there is none."""
    return max((end - start for start, end, _, _ in spans), default=0)


def relative_buckets(distance: Tensor, *, both_ways: bool, num_buckets: int, max_distance: int) -> Tensor:
    """The bucket of each distance (key position − query position), int64.

    Half of the buckets hold one distance each, the other half logarithmically growing ranges up to `max_distance`.
    `both_ways`: one half of the buckets for each sign; else keys after the query share bucket 0.
    Source: T5 §2.1; Mesh TensorFlow `_relative_position_bucket`.
    """
    if both_ways:
        num_buckets //= 2
        first = (distance > 0).long() * num_buckets
        back = distance.abs()
    else:
        first = torch.zeros_like(distance)
        back = (-distance).clamp(min=0)
    exact = num_buckets // 2
    growth = torch.log(back.clamp(min=1).float() / exact) / math.log(max_distance / exact) * (num_buckets - exact)
    far = (exact + growth.long()).clamp(max=num_buckets - 1)
    return first + torch.where(back < exact, back, far)


def toeplitz(values: Tensor, length: int) -> Tensor:
    """[H, 2L] → [H, L, L] with out[h, i, j] = values[h, (j − i) mod 2L].

    A row of 2L numbers read over and over with a stride of 2L − 1: a gather by views, whose gradient is a plain sum.
    """
    heads = values.shape[0]
    rows = values[:, None, :].expand(heads, length, 2 * length).reshape(heads, 2 * length * length)
    return rows[:, : length * (2 * length - 1)].view(heads, length, 2 * length - 1)[:, :, :length]


class RelativeBias(Table):
    """One learnt number a bucket of distances and a head, added to attention scores and shared by a stack's layers."""

    def __init__(self, num_heads: int, *, num_buckets: int, max_distance: int, both_ways: bool) -> None:
        super().__init__(num_buckets, num_heads)
        self.max_distance, self.both_ways = max_distance, both_ways

    def at(self, distance: Tensor, *, both_ways: bool | None = None) -> Tensor:
        """[…] distances (key − query) → […, H]; `both_ways` where one table is read in another way than its own."""
        size, ways = self.num_embeddings, self.both_ways if both_ways is None else both_ways
        buckets = relative_buckets(distance, both_ways=ways, num_buckets=size, max_distance=self.max_distance)
        return F.embedding(buckets, self.weight)

    def square(self, length: int, *, both_ways: bool | None = None) -> Tensor:
        """[H, L, L] for L consecutive tokens."""
        count = torch.arange(2 * length, device=self.weight.device)
        distances = torch.where(count < length, count, count - 2 * length)
        return toeplitz(self.at(distances, both_ways=both_ways).t(), length)


@dataclass(frozen=True, slots=True)
class Ragged:
    """Who sees whom when examples lie end to end."""

    spans: tuple[Span, ...]
    bias: Tensor | None = None
    """[H, L, L], of which an example of length l reads the corner [H, l, l]; −inf where nothing may be seen."""
    hidden: tuple[Tensor, ...] | None = None
    """Per span [l, m] bool: what is hidden besides."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, num_heads: int, dropout: float) -> Tensor:
        """[Nq, H·K], [Nk, H·K], [Nk, H·K] → [Nq, H·K]"""
        q, k, v = (part.view(part.shape[0], num_heads, -1) for part in (q, k, v))
        bias = None if self.bias is None else self.bias.to(q.dtype)
        out = apply_typed(_RaggedAttention, (q, k, v, bias, self.spans, self.hidden, dropout))
        return out.view(out.shape[0], -1)


@dataclass(frozen=True, slots=True)
class Dense:
    """Who sees whom in padded rows."""

    bias: Tensor
    """[B, H or 1, T, S], relative positions and mask together; every row has something to see."""
    sees: Tensor | None = None
    """[B, 1, T, 1], 0 where a query has no key at all: it then reads zeros."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, num_heads: int, dropout: float) -> Tensor:
        """[B, T, H·K], [B, S, H·K], [B, S, H·K] → [B, T, H·K]"""
        q, k, v = (part.view(*part.shape[:2], num_heads, -1).transpose(1, 2) for part in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, self.bias.to(q.dtype), dropout, scale=1.0)
        if self.sees is not None:
            out = out * self.sees.to(out.dtype)
        return out.transpose(1, 2).flatten(2)


@dataclass(frozen=True, slots=True)
class Causal:
    """Every token sees what came before, by torch's own kernel: faster over long texts, and no score is kept."""

    spans: tuple[Span, ...] | None
    """Of examples end to end, one after the other; None = padded rows that hold one example each, from their start."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, num_heads: int, dropout: float) -> Tensor:
        """[N, H·K] ×3 or [B, T, H·K] ×3 → the same"""
        if self.spans is None:
            return _seen_before((q, k, v), num_heads, dropout)
        parts = [tuple(part[None, start:end] for part in (q, k, v)) for start, end, _, _ in self.spans]
        return torch.cat([_seen_before(part, num_heads, dropout)[0] for part in parts])


def _seen_before(parts: tuple[Tensor, ...], num_heads: int, dropout: float) -> Tensor:
    q, k, v = (part.view(*part.shape[:2], num_heads, -1).transpose(1, 2) for part in parts)
    return F.scaled_dot_product_attention(q, k, v, None, dropout, is_causal=True, scale=1.0).transpose(1, 2).flatten(2)


def dense_bias(sees: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """[B, T, S] bool and [H, T, S] → [B, H or 1, T, S] to add to scores. Finite, so that no row turns into NaN."""
    floor = torch.finfo(dtype).min / 2
    if bias is None:
        return torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill(~sees, floor)[:, None]
    return torch.where(sees[:, None], bias.to(dtype), floor)


def looked_up(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(q kᵀ + bias) v, without gradients.  [B, H, T, K], [B, H, S, K] ×2, [1 or B, 1 or H, T, S] → as `q`"""
    if q.shape[2] > 1 or q.dtype != torch.float32 or q.device.type != "cpu" or torch.compiler.is_compiling():
        return F.scaled_dot_product_attention(q, k, v, bias, scale=1.0)
    scores = q @ k.transpose(2, 3)  # torch's own kernel is made for many queries; with one it takes 1.5 times as long
    return torch.softmax(scores if bias is None else scores.add_(bias), -1) @ v


def _unfilled(like: Tensor, spans: tuple[Span, ...]) -> Tensor:
    """Memory in a tensor's shape that the spans will fill; zeros where one of them has no queries or no keys."""
    full = all(q_start < q_end and k_start < k_end for q_start, q_end, k_start, k_end in spans)
    return (torch.empty if full else torch.zeros)(like.shape, dtype=like.dtype)


class _RaggedAttention(torch.autograd.Function):
    """softmax(q kᵀ + bias) v, example by example.  [Nq, H, K] ×, [Nk, H, K] ×2, [H, L, L] → [Nq, H, K]"""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        bias: Tensor | None,
        spans: tuple[Span, ...],
        hidden: tuple[Tensor, ...] | None,
        dropout: float,
    ) -> Tensor:
        out = _unfilled(q, spans)
        saved: list[Tensor] = []
        ctx.spans, ctx.dropout, ctx.factor, ctx.has_bias = spans, dropout, 1.0, bias is not None
        for number, (q_start, q_end, k_start, k_end) in enumerate(spans):
            if q_start == q_end or k_start == k_end:
                continue
            q_run, v_run = q[q_start:q_end].transpose(0, 1), v[k_start:k_end].transpose(0, 1)
            k_run = k[k_start:k_end].permute(1, 2, 0)
            if bias is None:
                scores = torch.bmm(q_run, k_run)
            else:
                scores = torch.baddbmm(bias[:, : q_end - q_start, : k_end - k_start], q_run, k_run)
            if hidden is not None:
                scores.masked_fill_(hidden[number], -math.inf)
            share = torch.softmax(scores, -1, out=scores)
            saved.append(share)
            if dropout:
                bits, ctx.factor = random_bits(share, dropout)
                saved.append(bits)
                share = kept_mask(bits, dropout, share.dtype).mul_(share).mul_(ctx.factor)
            out[q_start:q_end] = torch.bmm(share, v_run).transpose(0, 1)
        ctx.save_for_backward(q, k, v, *((bias,) if bias is not None else ()), *saved)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *saved = ctx.saved_tensors
        bias = saved.pop(0) if ctx.has_bias else None
        grad_bias = torch.zeros(bias.shape, dtype=bias.dtype) if ctx.needs_input_grad[3] and bias is not None else None
        grad_q, grad_k, grad_v = (_unfilled(part, ctx.spans) for part in (q, k, v))
        for q_start, q_end, k_start, k_end in ctx.spans:
            if q_start == q_end or k_start == k_end:
                continue
            share = dropped = saved.pop(0)
            grad = grads[0][q_start:q_end].transpose(0, 1)
            grad_share = torch.bmm(grad, v[k_start:k_end].permute(1, 2, 0))
            if ctx.dropout:
                kept = kept_mask(saved.pop(0), ctx.dropout, share.dtype).mul_(ctx.factor)
                dropped = share * kept
                grad_share.mul_(kept)
            grad_v[k_start:k_end] = torch.bmm(dropped.transpose(1, 2), grad).transpose(0, 1)
            grad_scores = torch.ops.aten._softmax_backward_data(grad_share, share, -1, share.dtype)
            if grad_bias is not None:
                grad_bias[:, : q_end - q_start, : k_end - k_start] += grad_scores
            grad_q[q_start:q_end] = torch.bmm(grad_scores, k[k_start:k_end].transpose(0, 1)).transpose(0, 1)
            grad_k[k_start:k_end] = torch.bmm(grad_scores.transpose(1, 2), q[q_start:q_end].transpose(0, 1)).transpose(
                0, 1
            )
        return grad_q, grad_k, grad_v, grad_bias, None, None, None


class Attention(nn.Module):
    """Heads that look up `memory`; scores are not divided by √K (the initialisation holds that factor)."""

    def __init__(self, dim: int, *, num_heads: int, head_dim: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.dropout = num_heads, head_dim, dropout
        self.together: tuple[str, ...] = ("q", "k", "v")
        """Products with the same input, which `joined` holds in their place when weights are int8."""
        self.joined: Int8Linear | None = None
        self.q = Linear(dim, num_heads * head_dim)
        self.k = Linear(dim, num_heads * head_dim)
        self.v = Linear(dim, num_heads * head_dim)
        self.o = Linear(num_heads * head_dim, dim)

    def forward(self, x: Tensor, memory: Tensor, sight: Ragged | Dense) -> Tensor:
        """[N, D] or [B, T, D] for queries, the same for keys and values → as queries"""
        rate = self.dropout if self.training else 0.0
        parts = self.all_of(x) if memory is x else (self.q(x), *self.stored(memory))
        out: Tensor = self.o(sight.attend(*parts, num_heads=self.num_heads, dropout=rate))
        return out

    def all_of(self, x: Tensor) -> tuple[Tensor, ...]:
        """[…, D] → three of […, H·K]: queries, keys and values of the same states"""
        return (self.q(x), self.k(x), self.v(x)) if self.joined is None else self.joined.split(x)

    def stored(self, memory: Tensor) -> tuple[Tensor, ...]:
        """[…, D] → two of […, H·K]: keys and values of what others look at"""
        return (self.k(memory), self.v(memory)) if self.joined is None else self.joined.split(memory)

    def heads(self, x: Tensor) -> Tensor:
        """[B, T, H·K] → [B, H, T, K]"""
        rows, count, _ = x.shape
        if count == 1:
            return x.view(rows, self.num_heads, 1, self.head_dim)
        return x.view(rows, count, self.num_heads, self.head_dim).transpose(1, 2)
