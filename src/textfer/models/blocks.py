"""Pre-norm transformer blocks, and stacks of them that share a relative position bias.

Letters: B rows, L tokens, D model width, H heads, K width of one head, N tokens end to end, R rows being generated.
Source: T5 §2.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from textfer.models.attention import Attention, Dense, Ragged, RelativeBias, looked_up
from textfer.models.cache import Cache
from textfer.models.layers import FeedForward, RMSNorm, add_dropped, drop

if TYPE_CHECKING:
    from textfer.models.t5 import T5Options


class Block(nn.Module):
    """Self-attention, attention to the encoder where there is one, feed-forward; each on the normed residual stream."""

    def __init__(self, options: T5Options, *, cross: bool) -> None:
        super().__init__()
        dim, eps = options.model_dim, options.norm_eps
        self.dim, self.dropout = dim, options.dropout
        self.adapter: nn.Module | None = None
        """What a way of transfer puts after the feed-forward, its residual included."""

        def attention() -> Attention:
            return Attention(dim, num_heads=options.num_heads, head_dim=options.head_dim, dropout=options.dropout)

        self.attention_norm = RMSNorm(dim, eps=eps)
        self.attention = attention()
        if cross:
            self.cross_norm = RMSNorm(dim, eps=eps)
            self.cross = attention()
            self.cross.together = ("k", "v")
        self.feed_forward_norm = RMSNorm(dim, eps=eps)
        self.feed_forward = FeedForward(dim, options.ff_dim, kind=options.feed_forward, dropout=options.dropout)

    def forward(
        self,
        x: Tensor,
        sight: Ragged | Dense,
        memory: Tensor | None = None,
        cross_sight: Ragged | Dense | None = None,
    ) -> Tensor:
        """[N, D] or [B, L, D] → the same"""
        rate = self.dropout if self.training else 0.0
        normed = self.attention_norm(x)
        x = add_dropped(x, self.attention(normed, normed, sight), rate)
        if memory is not None and cross_sight is not None:
            x = add_dropped(x, self.cross(self.cross_norm(x), memory, cross_sight), rate)
        x = add_dropped(x, self.feed_forward(self.feed_forward_norm(x)), rate)
        return self._adapted(x)

    def step(self, x: Tensor, cache: Cache, layer: int, bias: Tensor) -> Tensor:
        """[R, t, D] new tokens, which the cache learns → the same; `bias` [1 or R, H, t, length + t]"""
        part = self.attention
        queries, keys, values = (part.heads(one) for one in part.all_of(self.attention_norm(x)))
        seen = looked_up(queries, *cache.append(layer, keys, values), bias)
        x = x + part.o(seen.transpose(1, 2).flatten(2))
        if cache.cross_keys or cache.cross_apart:
            x = x + self._look(self.cross_norm(x), cache, layer)
        return self._adapted(x + self.feed_forward(self.feed_forward_norm(x)))

    def _adapted(self, x: Tensor) -> Tensor:
        out: Tensor = x if self.adapter is None else self.adapter(x)
        return out

    def _look(self, x: Tensor, cache: Cache, layer: int) -> Tensor:
        """[R, t, D] → [R, t, D] from the encoder; the beams of one input stand as further queries beside each other."""
        if cache.cross_apart:
            return self._look_apart(x, cache.cross_apart[layer])
        keys, values, bias = cache.cross_keys[layer], cache.cross_values[layer], cache.cross_bias
        queries = x.reshape(keys.shape[0], -1, x.shape[-1])
        seen = looked_up(self.cross.heads(self.cross.q(queries)), keys, values, bias)
        out: Tensor = self.cross.o(seen.transpose(1, 2).reshape(*x.shape[:2], -1))
        return out

    def _look_apart(self, x: Tensor, inputs: list[tuple[Tensor, Tensor]]) -> Tensor:
        """[R, t, D] → [R, t, D], each row from an input of its own length."""
        queries = self.cross.heads(self.cross.q(x))
        seen = [looked_up(queries[row : row + 1], keys, values, None) for row, (keys, values) in enumerate(inputs)]
        out: Tensor = self.cross.o(torch.cat(seen).transpose(1, 2).flatten(2))
        return out


class Stack(nn.Module):
    """Blocks that share one relative position bias."""

    def __init__(self, options: T5Options, num_layers: int, *, cross: bool, both_ways: bool) -> None:
        super().__init__()
        self.dropout = options.dropout
        self.relative_bias = RelativeBias(
            options.num_heads,
            num_buckets=options.num_buckets,
            max_distance=options.max_distance,
            both_ways=both_ways,
        )
        self.layers = nn.ModuleList(Block(options, cross=cross) for _ in range(num_layers))
        self.norm = RMSNorm(options.model_dim, eps=options.norm_eps)

    def blocks(self) -> list[Block]:
        """`layers`, typed."""
        return list(self.layers)  # type: ignore[arg-type]

    def step(self, x: Tensor, cache: Cache, prefix: Tensor | None = None) -> Tensor:
        """[R, t, D] embeddings of new tokens, which the cache learns → [R, t, D] last states

        `prefix` [R, t] bool: which of them all others see; only at the start, when nothing stands before.
        """
        end = cache.length + x.shape[1]
        if end > cache.room:
            cache.grow(max(2 * cache.room, end))
        bias = self._step_bias(cache, x.shape[1], prefix)
        for number, layer in enumerate(self.blocks()):
            x = layer.step(x, cache, number, bias)
        cache.length = end
        out: Tensor = self.norm(x)
        return out

    def _step_bias(self, cache: Cache, count: int, prefix: Tensor | None) -> Tensor:
        """[1 or R, H, t, length + t] relative positions and mask of the next `count` tokens."""
        end, relative = cache.length + count, self.relative_bias
        dtype = cache.keys[0].dtype
        if cache.near is None or cache.near.shape[1] < end:
            cache.near = relative.at(-torch.arange(cache.room, device=relative.weight.device)).t().to(dtype)
        if count == 1:
            bias = cache.near[:, :end].flip(-1)[None, :, None]
            sees = None
        else:
            bias = relative.square(end)[None, :, -count:].to(dtype)
            sees = torch.ones(end, end, dtype=torch.bool, device=bias.device).tril()[None, -count:]
            if prefix is not None:
                sees = sees | prefix[:, None, :]
        if cache.starts is not None:
            valid = (torch.arange(end, device=bias.device) >= cache.starts[:, None])[:, None, :]
            sees = valid if sees is None else sees & valid
        return bias if sees is None else torch.where(sees[:, None], bias, torch.finfo(dtype).min / 2)

    def forward(
        self,
        x: Tensor,
        sight: Ragged | Dense,
        memory: Tensor | None = None,
        cross_sight: Ragged | Dense | None = None,
        seen: list[Tensor] | None = None,
    ) -> Tensor:
        """[N, D] or [B, L, D] embeddings → last states; what every layer was given is added to `seen`."""
        rate = self.dropout if self.training else 0.0
        x = drop(x, rate)
        for layer in self.layers:
            if seen is not None:
                seen.append(x)
            x = layer(x, sight, memory, cross_sight)
        return drop(self.norm(x), rate)
