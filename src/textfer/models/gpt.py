"""GPT: pre-norm transformer blocks with learnt positions that see only what came before; GPT-2's layout.

Letters: B rows, T tokens of a row, L tokens of either side, D model width, H heads, K width of one head, V vocabulary,
N tokens of all examples laid end to end, M target tokens that count, R rows being generated.
Source: GPT-2 §2.3 and openai/gpt-2 src/model.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from textfer.batch import Batch, Output, Side
from textfer.config import Options, build
from textfer.errors import DataError
from textfer.models import MODELS
from textfer.models.attention import Causal, Dense, Ragged, dense_bias, laid, longest, spans_of, token_places
from textfer.models.cache import FIRST_ROOM, Cache, moved_right
from textfer.models.gpt_hub import MODEL_TYPES, config_of, is_turned, load, names_of
from textfer.models.hub import MAX_SHARD_BYTES, LoadReport, file_tensors, write_model
from textfer.models.layers import BiasedLinear, LayerNorm, Linear, Table, add_dropped, drop

WEIGHT_STD, POSITION_STD = 0.02, 0.01
LONG = 512
"""On a CPU, tokens of a text from which on torch's own attention is faster."""


class GPTOptions(Options):
    """The shape of a GPT. The defaults are GPT-2's smallest."""

    model_dim: int = Field(768, ge=1)
    """D, the width of the residual stream."""
    ff_dim: int | None = Field(None, ge=1)
    """The inner width of the feed-forward layers; none given = 4 D."""
    num_heads: int = Field(12, ge=1)
    num_layers: int = Field(12, ge=1)
    context_len: int = Field(1024, ge=1)
    """The longest text in tokens, what is read and what is written together: rows of the table of positions."""
    activation: Literal["gelu_tanh", "gelu", "relu"] = "gelu_tanh"
    """Of the feed-forward layers; GPT's own is GELU by its tanh approximation."""
    tie_output: bool = True
    """The output layer is the embedding table."""
    scale_by_depth: bool = False
    """Attention scores of layer n are divided by n besides √K (Mistral's GPT-2)."""
    dropout: float = Field(0.1, ge=0, lt=1)
    attention_dropout: float | None = Field(None, ge=0, lt=1)
    """On attention shares; none given = `dropout`."""
    embedding_dropout: float | None = Field(None, ge=0, lt=1)
    """On the sum of embeddings and positions; none given = `dropout`."""
    norm_eps: float = Field(1e-5, gt=0)
    """Added to the variance before its root is taken."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.model_dim % self.num_heads:
            raise ValueError(f"model_dim is {self.model_dim}, expected a multiple of num_heads ({self.num_heads}).")
        return self

    @property
    def ff_width(self) -> int:
        """`ff_dim` with its default filled in."""
        return self.ff_dim or 4 * self.model_dim

    @property
    def attention_rate(self) -> float:
        """`attention_dropout` with its default filled in."""
        return self.dropout if self.attention_dropout is None else self.attention_dropout

    @property
    def embedding_rate(self) -> float:
        """`embedding_dropout` with its default filled in."""
        return self.dropout if self.embedding_dropout is None else self.embedding_dropout


class CausalAttention(nn.Module):
    """Heads that look up what came before; one product makes queries, keys and values."""

    def __init__(self, options: GPTOptions, *, layer: int) -> None:
        super().__init__()
        self.num_heads, self.dropout = options.num_heads, options.attention_rate
        self.scale = (options.model_dim // options.num_heads) ** -0.5 / (layer + 1 if options.scale_by_depth else 1)
        self.qkv = BiasedLinear(options.model_dim, 3 * options.model_dim)
        self.o = BiasedLinear(options.model_dim, options.model_dim)

    def forward(self, x: Tensor, sight: Ragged | Dense | Causal) -> Tensor:
        """[N, D] or [B, T, D] → the same"""
        q, k, v = self.qkv(x).chunk(3, -1)
        rate = self.dropout if self.training else 0.0
        out: Tensor = self.o(sight.attend(q * self.scale, k, v, num_heads=self.num_heads, dropout=rate))
        return out

    def step(self, x: Tensor, cache: Cache, layer: int, bias: Tensor | None) -> Tensor:
        """[R, t, D] new tokens, which the cache learns → the same; `bias` [1 or R, 1, t, length + t]"""
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        keys, values = cache.append(layer, k, v)
        seen = F.scaled_dot_product_attention(q, keys, values, bias, scale=self.scale)
        out: Tensor = self.o(seen.transpose(1, 2).flatten(2))
        return out


class PlainFeedForward(nn.Module):
    """D → F → D with biases."""

    def __init__(self, options: GPTOptions) -> None:
        super().__init__()
        self.activation = options.activation
        self.wi = BiasedLinear(options.model_dim, options.ff_width)
        self.wo = BiasedLinear(options.ff_width, options.model_dim)

    def forward(self, x: Tensor) -> Tensor:
        """[…, D] → […, D]"""
        inner = self.wi(x)
        if self.activation == "relu":
            inner = F.relu(inner)
        else:
            inner = F.gelu(inner, approximate="tanh" if self.activation == "gelu_tanh" else "none")
        out: Tensor = self.wo(inner)
        return out


class GPTBlock(nn.Module):
    """Attention, then feed-forward, each on the normed residual stream."""

    def __init__(self, options: GPTOptions, *, layer: int) -> None:
        super().__init__()
        self.dim, self.dropout = options.model_dim, options.dropout
        self.adapter: nn.Module | None = None
        """What a way of transfer puts after the feed-forward, its residual included."""
        self.attention_norm = LayerNorm(options.model_dim, eps=options.norm_eps)
        self.attention = CausalAttention(options, layer=layer)
        self.feed_forward_norm = LayerNorm(options.model_dim, eps=options.norm_eps)
        self.feed_forward = PlainFeedForward(options)

    def forward(self, x: Tensor, sight: Ragged | Dense | Causal) -> Tensor:
        """[N, D] or [B, T, D] → the same"""
        rate = self.dropout if self.training else 0.0
        x = add_dropped(x, self.attention(self.attention_norm(x), sight), rate)
        return self._adapted(add_dropped(x, self.feed_forward(self.feed_forward_norm(x)), rate))

    def step(self, x: Tensor, cache: Cache, layer: int, bias: Tensor | None) -> Tensor:
        """[R, t, D] new tokens, which the cache learns → the same"""
        x = x + self.attention.step(self.attention_norm(x), cache, layer, bias)
        return self._adapted(x + self.feed_forward(self.feed_forward_norm(x)))

    def _adapted(self, x: Tensor) -> Tensor:
        out: Tensor = x if self.adapter is None else self.adapter(x)
        return out


@MODELS.named("gpt")
class GPT(nn.Module):
    """Reads a `Batch`, says how likely every next token is. `attention` picks the form: see `models.attention`."""

    options_class: ClassVar[type[Options]] = GPTOptions
    model_types: ClassVar[tuple[str, ...]] = MODEL_TYPES
    pooling: ClassVar[str] = "last"
    """The token whose state stands for a text: only the last has seen all of it."""
    load_report: LoadReport | None = None
    """Where the tensors of the file went, for a model that was loaded."""

    def __init__(self, options: GPTOptions, vocab_size: int) -> None:
        super().__init__()
        self.options, self.vocab_size = options, vocab_size
        self.attention: Literal["auto", "ragged", "dense"] = "auto"
        self.marks: dict[str, Any] = {}
        """The ids of start, end and padding that the file named, for the file that is written."""
        self.embedding = Table(vocab_size, options.model_dim)
        self.positions = Table(options.context_len, options.model_dim)
        self.layers = nn.ModuleList(GPTBlock(options, layer=layer) for layer in range(options.num_layers))
        self.norm = LayerNorm(options.model_dim, eps=options.norm_eps)
        self.output = None if options.tie_output else Linear(options.model_dim, vocab_size)
        self.initialise()

    @classmethod
    def make(cls, options: Mapping[str, Any], *, vocab_size: int) -> Self:
        """A model with new weights; the options are the fields of GPTOptions."""
        return cls(build(GPTOptions, options, where="model"), vocab_size)

    @classmethod
    def load(cls, folder: Path, options: Mapping[str, Any] | None = None, *, dtype: torch.dtype | None = None) -> Self:
        """The model of a hub-format folder, in `dtype` (None = float32); `options` replace those of the file.

        Errors: CheckpointError when a tensor is missing, left over or misshapen, or a file damaged.
        """
        return load(cls, Path(folder), options or {}, dtype)

    def save(self, folder: Path, *, max_shard_bytes: int = MAX_SHARD_BYTES) -> None:
        """Writes config.json and safetensors that `load` and transformers read."""
        names = self.file_names()
        found = file_tensors(self.named_parameters(), names, folder=Path(folder), family="GPT-2")
        tensors = {
            theirs: found[theirs].detach().t() if is_turned(ours) else found[theirs] for ours, theirs in names.items()
        }
        write_model(Path(folder), config_of(self), tensors, max_shard_bytes=max_shard_bytes)

    def file_names(self) -> dict[str, str]:
        """Our parameter → the reference's tensor; what a way of transfer added has none."""
        return names_of(self)

    @property
    def layout(self) -> str:
        """The name of the layout that makes its batches."""
        return "causal"

    @property
    def max_len(self) -> int:
        """The longest text that has positions."""
        return self.options.context_len

    @torch.no_grad()
    def initialise(self) -> None:
        """Draws all weights anew from torch's default generator.

        Source: GPT-2 §2.3: what joins the residual stream is scaled by one over the root of the number of its layers;
        openai/gpt-2 src/model.py: 0.02 for all weights but the positions, which get 0.01; biases are 0.
        """
        if self.embedding.weight.is_meta:  # about to be loaded
            return
        joins = WEIGHT_STD * (2 * self.options.num_layers) ** -0.5
        std = {"positions": POSITION_STD, "o": joins, "wo": joins}
        for name, weight in self.named_parameters():
            *_, part, kind = name.split(".")
            if weight.dim() == 1:
                nn.init.constant_(weight, float(kind == "weight"))
            else:
                nn.init.normal_(weight, std=std.get(part, WEIGHT_STD))

    @torch.no_grad()
    def lay_for_generation(self) -> None:
        """Stores product weights by columns, as `T5.lay_for_generation` does. Files are not affected."""
        for part in self.modules():
            if isinstance(part, Linear) and part.weight.device.type == "cpu":
                part.weight.data = part.weight.data.t().contiguous().t()

    # What a batch says

    def forward(self, batch: Batch) -> Output:
        """Logits [B, T, V] and last states [B, T, D]; where a row holds padding they mean nothing."""
        hidden = self.hidden(batch)
        return Output(logits=self._read(hidden), hidden=hidden)

    def hidden(self, batch: Batch) -> Tensor:
        """[B, T, D] last states, normed."""
        return self._hidden(self._side(batch), None)

    def layer_states(self, batch: Batch) -> list[Tensor]:
        """[B, T, D] states of the embeddings and after every layer, bottom to top; the last alone are normed."""
        seen: list[Tensor] = []
        last = self._hidden(self._side(batch), seen)
        return [*seen, last]

    def _hidden(self, side: Side, seen: list[Tensor] | None) -> Tensor:
        if not self._is_ragged():
            return self._dense(side, seen)
        states, index = self._ragged(side, seen)
        if seen:
            seen[:] = [laid(x, index, side) for x in seen]
        return laid(states, index, side)

    def states(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(states [M, D] ready for `readout`, targets [M], weights [M]) of the target tokens with weight > 0."""
        assert batch.targets is not None, "a batch without targets has no loss"
        assert batch.weights is not None, "a batch without weights has no loss"
        targets, weights = batch.targets.flatten(), batch.weights.flatten()
        if self._is_ragged():
            states, index = self._ragged(self._side(batch))
            targets, weights = targets[index], weights[index]
        else:
            states = self.hidden(batch).flatten(0, 1)
        counts = weights > 0
        if torch.compiler.is_compiling() or not (counts.device.type == "cpu" and bool(counts.all())):
            where = counts.nonzero().squeeze(1)
            states, targets, weights = states[where], targets[where], weights[where]
        return states.to(self.embedding.weight.dtype), targets, weights

    def readout(self) -> tuple[Tensor, None]:
        """([V, D] weight, no bias) of the output layer."""
        return (self.embedding if self.output is None else self.output).weight, None

    def depth(self) -> list[list[str]]:
        """Names of all parameters, bottom to top; final norm and output belong to the top layer."""
        groups: list[list[str]] = [[] for _ in range(self.options.num_layers + 1)]
        for name, _ in self.named_parameters():
            kind, *rest = name.split(".")
            at = {"embedding": 0, "positions": 0}.get(kind, self.options.num_layers)
            groups[1 + int(rest[0]) if kind == "layers" else at].append(name)
        return groups

    def blocks(self) -> list[GPTBlock]:
        """`layers`, typed."""
        return list(self.layers)  # type: ignore[arg-type]

    def _side(self, batch: Batch) -> Side:
        """The decoder's side; of a text that is only read, the encoder's."""
        side = batch.decoder or batch.encoder
        assert side is not None, "a batch needs a side"
        assert batch.encoder is None or batch.decoder is None, "GPT reads its inputs from the decoder side"
        assert batch.prefix is None, "GPT's tokens see only what came before"
        if not torch.compiler.is_compiling():
            lens = [run.end - run.start for run in side.runs]
            if lens and max(lens) > self.max_len:
                origin = batch.origins[lens.index(max(lens))] if batch.origins else ""
                raise DataError(self._too_long(origin or "a text", max(lens)))
        return side

    def _too_long(self, where: str, length: int) -> str:
        return (
            f"{where}: is {length:,} tokens long with its answer, expected {self.max_len:,} at most (the model's "
            "positions). Shorten it; or lower max_input_tokens, in training data.inputs_len and data.targets_len."
        )

    def _is_ragged(self) -> bool:
        if self.attention == "auto":
            return self.embedding.weight.device.type == "cpu" and not torch.compiler.is_compiling()
        return self.attention == "ragged"

    def _compute_dtype(self) -> torch.dtype:
        """What products are made in: autocast's choice, or the weights' own."""
        kind = self.embedding.weight.device.type
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.embedding.weight.dtype

    def _embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        x = F.embedding(ids, self.embedding.weight) + F.embedding(positions, self.positions.weight)
        x = x.float() if x.dtype == torch.float16 else x  # the residual stream leaves float16's range
        return drop(x, self.options.embedding_rate if self.training else 0.0)

    def _read(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden.to(self.embedding.weight.dtype), self.readout()[0])

    def _ragged(self, side: Side, seen: list[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """([N, D] last states of examples laid end to end, [N] their places in the flattened side)"""
        places, spans = token_places(side), spans_of(side.runs)
        x = self._embed(side.ids.flatten()[places], side.positions.flatten()[places])
        length = longest(spans)
        rate = self.options.attention_rate if self.training else 0.0
        sight: Ragged | Causal = Causal(spans)
        if length < LONG or rate:
            sight = Ragged(spans, torch.full((1, length, length), -math.inf).triu_(1))
        return self._layered(x, sight, seen), places

    def _dense(self, side: Side, seen: list[Tensor] | None = None) -> Tensor:
        """[B, T, D] last states of padded rows"""
        length = side.ids.shape[1]
        x = self._embed(side.ids, side.positions)
        sight: Dense | Causal = Causal(None)
        if torch.compiler.is_compiling() or _is_packed(side):  # a compiled model would ask for a graph of each kind
            sees = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
            sees = sees & (side.segments[:, :, None] == side.segments[:, None, :])
            sight = Dense(dense_bias(sees, None, self._compute_dtype()))
        return self._layered(x, sight, seen)

    def _layered(self, x: Tensor, sight: Ragged | Dense | Causal, seen: list[Tensor] | None) -> Tensor:
        """Embeddings → last states; what every layer was given is added to `seen`."""
        for layer in self.layers:
            if seen is not None:
                seen.append(x)
            x = layer(x, sight)
        out: Tensor = self.norm(x)
        return out

    # One token after the other

    @torch.no_grad()
    def begin(self, batch: Batch) -> Cache:
        """The memory of a generation that has read the batch, one example a row; dropout does not take part.

        `cache.logits` says what follows. The side is what the layout makes of (inputs, any one target).
        """
        assert not (self.training and self.options.dropout), "generation needs model.eval()"
        side = self._side(batch)
        rows, heads = side.ids.shape[0], self.options.num_heads
        width = self.options.model_dim // heads
        empty = self.embedding.weight.new_empty(rows, heads, FIRST_ROOM, width, dtype=self._compute_dtype())
        layers = range(self.options.num_layers)
        cache = Cache([torch.empty_like(empty) for _ in layers], [torch.empty_like(empty) for _ in layers])
        source, cache.starts = moved_right(side)
        self.step(side.ids.gather(1, source.clamp(min=0)), cache)
        return cache

    @torch.no_grad()
    def step(self, ids: Tensor, cache: Cache) -> Tensor:
        """[R, t] tokens just written → [R, V] logits of the next one, also kept as `cache.logits`."""
        cache.logits = self._read(self._pass(ids, cache)[:, -1])
        return cache.logits

    @torch.no_grad()
    def follow(self, ids: Tensor, cache: Cache) -> Tensor:
        """[R, t] tokens → [R, t, V] logits after every one of them; the last are kept as `cache.logits`."""
        logits = self._read(self._pass(ids, cache))
        cache.logits = logits[:, -1]
        return logits

    def _pass(self, ids: Tensor, cache: Cache) -> Tensor:
        """[R, t] new tokens, which the cache learns → [R, t, D] last states"""
        end = cache.length + ids.shape[1]
        shift = 0 if cache.starts is None else int(cache.starts.min())
        if end - shift > self.max_len:
            raise DataError(self._too_long("a text", end - shift))
        if end > cache.room:
            cache.grow(max(2 * cache.room, end))
        positions = torch.arange(cache.length, end, device=ids.device)[None]
        if cache.starts is not None:
            positions = (positions - cache.starts[:, None]).clamp(min=0)
        x = self._embed(ids, positions)
        bias = self._step_bias(cache, ids.shape[1])
        for number, layer in enumerate(self.blocks()):
            x = layer.step(x, cache, number, bias)
        cache.length = end
        out: Tensor = self.norm(x)
        return out

    def _step_bias(self, cache: Cache, count: int) -> Tensor | None:
        """[1 or R, 1, t, length + t] what the next `count` tokens see; None = everything."""
        if count == 1 and cache.starts is None:
            return None
        end, device = cache.length + count, cache.keys[0].device
        sees = torch.ones(end, end, dtype=torch.bool, device=device).tril()[None, -count:]
        if cache.starts is not None:
            sees = sees & (torch.arange(end, device=device) >= cache.starts[:, None])[:, None, :]
        return dense_bias(sees, None, cache.keys[0].dtype)


def _is_packed(side: Side) -> bool:
    """Whether a row holds something else than one example from its start."""
    return [(run.row, run.start) for run in side.runs] != [(row, 0) for row in range(len(side.ids))]
