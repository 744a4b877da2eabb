"""T5: pre-norm transformer blocks that know places only by relative biases; encoder-decoder, or one stack.

Letters: B rows, S input tokens, T target tokens, L tokens of either side, D model width, H heads, K width of one head,
V vocabulary, N tokens of all examples laid end to end, M target tokens that count, R rows being generated.
Source: T5 §2.1; v1.1 as in the released t5.1.1 configurations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from textfer.batch import Batch, Output, Side
from textfer.config import Options, build
from textfer.models import MODELS
from textfer.models.attention import Dense, Ragged, dense_bias, laid, longest, spans_of, token_places
from textfer.models.blocks import Stack
from textfer.models.cache import FIRST_ROOM, Cache, moved_right
from textfer.models.hub import MAX_SHARD_BYTES, LoadReport, file_tensors, write_model
from textfer.models.int8 import Int8Linear, Int8Table, lay_parts
from textfer.models.layers import Activation, Linear, Table, product
from textfer.models.prompt import SoftPrompt
from textfer.models.t5_hub import MODEL_TYPES, ONE_STACK, config_of, load, names_of


class T5Options(Options):
    """The shape of a T5. The defaults are t5-v1.1-small."""

    model_dim: int = Field(512, ge=1)
    """D, the width of the residual stream."""
    ff_dim: int = Field(1024, ge=1)
    """F, the inner width of the feed-forward layers."""
    head_dim: int = Field(64, ge=1)
    """K, the width of one head; heads times K need not be D."""
    num_heads: int = Field(6, ge=1)
    num_layers: int = Field(8, ge=1)
    """Blocks of the encoder, or of the only stack."""
    num_decoder_layers: int | None = Field(None, ge=1)
    """Blocks of the decoder; none given = as many as the encoder."""
    feed_forward: Activation = "gated_gelu"
    """`relu` in v1.0, `gated_gelu` in v1.1 and later."""
    tie_output: bool = False
    """The output layer is the embedding table (v1.0)."""
    scale_output: bool | None = None
    """States are multiplied by D^-0.5 before the output layer; none given = when tied."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """In every place of the original: embeddings, attention shares, feed-forward, residual branches, stack outputs."""
    num_buckets: int = Field(32, ge=4, multiple_of=2)
    """Rows of the relative position bias."""
    max_distance: int = Field(128, ge=1)
    """Offsets from here on share one bucket."""
    norm_eps: float = Field(1e-6, gt=0)
    """Added to the mean square before its root is taken."""
    arrangement: Literal["encdec", "causal", "prefix"] = "encdec"
    """Encoder and decoder; or one stack that sees what came before, without or with a prefix seen by all."""
    share_stacks: bool = False
    """The encoder is the decoder without its attention to the encoder: half of the parameters (T5 §3.2.2)."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.arrangement != "encdec" and self.num_decoder_layers is not None:
            raise ValueError(
                f"arrangement '{self.arrangement}' has one stack, expected no num_decoder_layers. Set num_layers."
            )
        if self.share_stacks and self.arrangement != "encdec":
            raise ValueError(f"share_stacks goes with arrangement 'encdec', got '{self.arrangement}'. Drop one.")
        if self.share_stacks and self.decoder_depth != self.num_layers:
            raise ValueError(
                f"share_stacks: num_decoder_layers is {self.decoder_depth}, expected num_layers ({self.num_layers})."
            )
        if self.max_distance <= self.num_buckets // 2:
            raise ValueError(
                f"max_distance is {self.max_distance}, expected more than half of num_buckets ({self.num_buckets})."
            )
        return self

    @property
    def decoder_depth(self) -> int:
        """Blocks of the stack that writes."""
        return self.num_decoder_layers or self.num_layers

    @property
    def scales_output(self) -> bool:
        """`scale_output` with its default filled in."""
        return self.tie_output if self.scale_output is None else self.scale_output


@MODELS.named("t5")
class T5(nn.Module):
    """Reads a `Batch`, says how likely every next token is. `attention` picks the form: see `models.attention`."""

    options_class: ClassVar[type[Options]] = T5Options
    model_types: ClassVar[tuple[str, ...]] = (*MODEL_TYPES, ONE_STACK)
    load_report: LoadReport | None = None
    """Where the tensors of the file went, for a model that was loaded."""

    def __init__(self, options: T5Options, vocab_size: int) -> None:
        super().__init__()
        self.options, self.vocab_size = options, vocab_size
        self.attention: Literal["auto", "ragged", "dense"] = "auto"
        self.embedding = Table(vocab_size, options.model_dim)
        encdec = options.arrangement == "encdec"
        own = encdec and not options.share_stacks
        self.encoder = Stack(options, options.num_layers, cross=False, both_ways=True) if own else None
        both_ways = options.arrangement == "prefix"
        self.decoder = Stack(options, options.decoder_depth, cross=encdec, both_ways=both_ways)
        self.output = None if options.tie_output else Linear(options.model_dim, vocab_size)
        self.prompt: SoftPrompt | None = None
        self.initialise()

    @classmethod
    def make(cls, options: Mapping[str, Any], *, vocab_size: int) -> Self:
        """A model with new weights; the options are the fields of T5Options."""
        return cls(build(T5Options, options, where="model"), vocab_size)

    @classmethod
    def load(cls, folder: Path, options: Mapping[str, Any] | None = None, *, dtype: torch.dtype | None = None) -> Self:
        """The model of a hub-format folder, in `dtype` (None = float32); `options` replace those of the file.

        Errors: CheckpointError when a tensor is missing, left over or misshapen, or a file damaged.
        """
        return load(cls, Path(folder), options or {}, dtype)

    def save(self, folder: Path, *, max_shard_bytes: int = MAX_SHARD_BYTES) -> None:
        """Writes config.json and safetensors that `load` and transformers read."""
        tensors = file_tensors(self.named_parameters(), self.file_names(), folder=Path(folder), family="T5")
        write_model(Path(folder), config_of(self), tensors, max_shard_bytes=max_shard_bytes)

    def file_names(self) -> dict[str, str]:
        """Our parameter → the reference's tensor; what a way of transfer added has none."""
        return names_of(self)

    @property
    def layout(self) -> str:
        """The name of the layout that makes its batches."""
        return self.options.arrangement

    @property
    def pooling(self) -> Literal["last", "mean"]:
        """The state of a text that is only read: its last token's where no other has seen all of it, else the mean."""
        return "last" if self.options.arrangement == "causal" else "mean"

    @property
    def max_len(self) -> None:
        """Any: places are relative."""

    @torch.no_grad()
    def initialise(self) -> None:
        """Draws all weights anew from torch's default generator.

        Source: Mesh TensorFlow's rules for T5: queries (D·K)^-0.5, else fan-in^-0.5, embeddings 1. An output layer of
        its own gets D^-0.5 (variance scaling, as in T5X), so that the first loss is near ln V.
        """
        if self.embedding.weight.is_meta:  # about to be loaded; drawing without memory imports a compiler first (1 s)
            return
        dim, inner = self.options.model_dim, self.options.num_heads * self.options.head_dim
        std = {
            "embedding": 1.0,
            "q": (dim * self.options.head_dim) ** -0.5,
            "o": inner**-0.5,
            "wo": self.options.ff_dim**-0.5,
        }
        for name, weight in self.named_parameters():
            if weight.dim() == 1:
                nn.init.ones_(weight)
            else:
                nn.init.normal_(weight, std=std.get(name.split(".")[-2], dim**-0.5))

    @torch.no_grad()
    def lay_for_generation(self) -> None:
        """Stores product weights by columns: the same numbers; at batch 1 on a CPU 1.25 times the tokens a second.

        One row times a matrix reads 15 GB/s when the matrix lies by rows and 25 GB/s when it lies by columns (MKL).
        Optimiser steps would be slower. Files are not affected.
        """
        for part in self.modules():
            if isinstance(part, Linear) and part.weight.device.type == "cpu":
                part.weight.data = part.weight.data.t().contiguous().t()

    def lay_int8(self) -> None:
        """Lays products, the output layer and the table of tokens in int8: see `models.int8`."""
        if tied := self.output is None:
            self.output = Linear(self.options.model_dim, self.vocab_size)
            self.output.weight = self.embedding.weight
        lay_parts(self)
        if tied:
            cast(Int8Linear, self.output).num_weights = 0  # those of the table
        self.embedding = cast(Table, Int8Table(self.embedding))

    # What a batch says

    def forward(self, batch: Batch) -> Output:
        """Logits [B, T, V] and the decoder's last states [B, T, D]; where a row holds padding they mean nothing."""
        hidden = self.hidden(batch)
        return Output(logits=self._read(hidden), hidden=hidden)

    def hidden(self, batch: Batch) -> Tensor:
        """[B, T, D] last states of the decoder, or [B, S, D] of what reads when the batch has no decoder side."""
        return self._hidden(self._prompted(batch))

    def layer_states(self, batch: Batch) -> list[Tensor]:
        """[B, S, D] states of the embeddings and after every layer of what reads; the last alone are normed."""
        assert batch.decoder is None, "the states of what is read, not of what is written"
        seen: list[Tensor] = []
        last = self._hidden(self._prompted(batch), seen)
        return [*seen, last]

    def _prompted(self, batch: Batch) -> Batch:
        """The batch with the soft prompt's ids in it; for one stack that reads an encoder's side, as its own side."""
        if (side := batch.encoder) is None:
            return batch
        if self.options.arrangement == "encdec":
            return batch if self.prompt is None else replace(batch, encoder=self.prompt.lay(side))
        prefix = side.segments > 0 if self.options.arrangement == "prefix" else None
        return replace(batch, encoder=None, decoder=side, prefix=prefix)

    def _hidden(self, batch: Batch, seen: list[Tensor] | None = None) -> Tensor:
        if not self._is_ragged():
            return self._dense(batch, seen)
        side = batch.decoder or batch.encoder
        assert side is not None, "a batch needs a side"
        states, index = self._ragged(batch, seen)
        if seen:
            seen[:] = [laid(x, index, side) for x in seen]
        return laid(states, index, side)

    def states(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(states [M, D] ready for `readout`, targets [M], weights [M]) of the target tokens with weight > 0."""
        assert batch.targets is not None, "a batch without targets has no loss"
        assert batch.weights is not None, "a batch without weights has no loss"
        targets, weights = batch.targets.flatten(), batch.weights.flatten()
        batch = self._prompted(batch)
        if self._is_ragged():
            states, index = self._ragged(batch)
            targets, weights = targets[index], weights[index]
        else:
            states = self._hidden(batch).flatten(0, 1)
        counts = weights > 0
        if torch.compiler.is_compiling() or not (counts.device.type == "cpu" and bool(counts.all())):
            where = counts.nonzero().squeeze(1)
            states, targets, weights = states[where], targets[where], weights[where]
        return self._scaled(states), targets, weights

    def readout(self) -> tuple[Tensor, None]:
        """([V, D] weight, no bias) of the output layer."""
        return (self.embedding if self.output is None else self.output).weight, None

    def depth(self) -> list[list[str]]:
        """Names of all parameters, bottom to top: embeddings, then encoder and decoder layers side by side.

        The tops stand side by side where the decoder has fewer layers; final norms and the output belong to the top.
        """
        encoder_depth = self.options.num_layers if self.encoder is not None else 0
        height = max(encoder_depth, self.options.decoder_depth)
        groups: list[list[str]] = [[] for _ in range(height + 1)]
        for name, _ in self.named_parameters():
            stack, kind, *rest = name.split(".")
            if kind == "layers":
                own = encoder_depth if stack == "encoder" else self.options.decoder_depth
                groups[1 + height - own + int(rest[0])].append(name)
            else:
                groups[0 if stack == "embedding" or kind == "relative_bias" else height].append(name)
        return groups

    def _is_ragged(self) -> bool:
        if self.attention == "auto":
            return self._kin.device.type == "cpu" and not torch.compiler.is_compiling()
        return self.attention == "ragged"

    @property
    def _kin(self) -> Tensor:
        """A parameter that shows where weights lie and their type."""
        return self.decoder.norm.weight

    def _compute_dtype(self) -> torch.dtype:
        """What products are made in: autocast's choice, or the weights' own."""
        kind = self._kin.device.type
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self._kin.dtype

    def _embed(self, ids: Tensor) -> Tensor:
        x: Tensor = self.embedding(ids) if self.prompt is None else self.prompt.embed(ids, self.embedding.weight)
        return x.float() if x.dtype == torch.float16 else x  # the residual stream leaves float16's range

    def _scaled(self, hidden: Tensor) -> Tensor:
        hidden = hidden.to(self._kin.dtype)
        return hidden * self.options.model_dim**-0.5 if self.options.scales_output else hidden

    def _read(self, hidden: Tensor) -> Tensor:
        hidden = self._scaled(hidden)
        if isinstance(output := cast(nn.Module | None, self.output), Int8Linear):
            found: Tensor = output(hidden)
            return found
        return (F.linear if torch.is_grad_enabled() else product)(hidden, self.readout()[0])

    def _reader(self) -> Stack:
        """The stack that reads inputs: where stacks are shared the decoder, which then looks at no memory."""
        assert self.options.arrangement == "encdec", f"arrangement '{self.options.arrangement}' has no encoder"
        return self.decoder if self.encoder is None else self.encoder

    # Examples end to end

    def _ragged(self, batch: Batch, seen: list[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """([N, D] last states, [N] their places in the flattened side that answers); `seen` as `Stack` has it."""
        sides = [side for side in (batch.encoder, batch.decoder) if side is not None]
        places = [token_places(side) for side in sides]
        ids = torch.cat([side.ids.flatten()[index] for side, index in zip(sides, places, strict=True)])
        embedded = torch.split(self._embed(ids), [len(index) for index in places])  # one table look-up, one gradient
        memory = None
        if batch.encoder is not None:
            spans, stack = spans_of(batch.encoder.runs), self._reader()
            sight = Ragged(spans, stack.relative_bias.square(longest(spans), both_ways=True))
            memory = stack(embedded[0], sight, seen=seen if batch.decoder is None else None)
        if batch.decoder is None:
            assert memory is not None
            return memory, places[0]
        spans = spans_of(batch.decoder.runs)
        bias = self.decoder.relative_bias.square(length := longest(spans))
        later = torch.ones(length, length, dtype=torch.bool).triu_(1)
        hidden: tuple[Tensor, ...] | None = None
        if batch.prefix is None:
            bias = bias.masked_fill(later, -math.inf)
        else:
            free = batch.prefix.flatten()[places[-1]]
            hidden = tuple(later[: end - start, : end - start] & ~free[start:end] for start, end, _, _ in spans)
        cross = None
        if batch.encoder is not None:
            keys = spans_of(batch.encoder.runs)
            cross = Ragged(tuple((*q[:2], *k[:2]) for q, k in zip(spans, keys, strict=True)))
        return self.decoder(embedded[-1], Ragged(spans, bias, hidden), memory, cross, seen), places[-1]

    # Padded rows

    def _dense(self, batch: Batch, seen: list[Tensor] | None = None) -> Tensor:
        """[B, L, D] last states of the side that answers"""
        memory = None
        if batch.encoder is not None:
            memory = self._dense_encoder(batch.encoder, seen if batch.decoder is None else None)
        side = batch.decoder
        if side is None:
            assert memory is not None, "a batch needs a side"
            return memory
        length = side.ids.shape[1]
        x = self._embed(side.ids)
        dtype = self._compute_dtype()
        sees = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        if batch.prefix is not None:
            sees = sees | batch.prefix[:, None, :]
        sees = sees & (side.segments[:, :, None] == side.segments[:, None, :])
        sight = Dense(dense_bias(sees, self.decoder.relative_bias.square(length), dtype))
        cross = None
        if batch.encoder is not None:
            sees = side.segments[:, :, None] == batch.encoder.segments[:, None, :]
            cross = Dense(dense_bias(sees, None, dtype), sees.any(-1)[:, None, :, None])
        out: Tensor = self.decoder(x, sight, memory, cross, seen)
        return out

    def _dense_encoder(self, side: Side, seen: list[Tensor] | None = None) -> Tensor:
        """[B, S, D] the encoder's last states"""
        stack = self._reader()
        x = self._embed(side.ids)
        sees = side.segments[:, :, None] == side.segments[:, None, :]
        relative = stack.relative_bias.square(side.ids.shape[1], both_ways=True)
        memory: Tensor = stack(x, Dense(dense_bias(sees, relative, self._compute_dtype())), seen=seen)
        return memory

    # One token after the other

    @torch.no_grad()
    def begin(self, batch: Batch) -> Cache:
        """The memory of a generation that has read the batch, one example a row; dropout does not take part.

        Encoder-decoder: the encoder runs once; with no decoder side nothing is written yet and `cache.logits` is None
        (step with the start token next). Whatever stands on the decoder side is read too, rows of different lengths
        included; `cache.logits` then says what follows. A decoder-only model reads its inputs from there: the side that
        its layout makes of (inputs, any one target).
        """
        assert not (self.training and self.options.dropout), "generation needs model.eval()"
        batch = self._prompted(batch)
        side = batch.encoder or batch.decoder
        assert side is not None, "a batch needs a side"
        rows, heads, width = side.ids.shape[0], self.options.num_heads, self.options.head_dim
        empty = self._kin.new_empty(rows, heads, FIRST_ROOM, width, dtype=self._compute_dtype())
        layers = range(self.options.decoder_depth)
        cache = Cache([torch.empty_like(empty) for _ in layers], [torch.empty_like(empty) for _ in layers])
        if batch.encoder is not None:
            self._read_inputs(batch.encoder, cache)
        if batch.decoder is not None:
            self._read_start(batch.decoder, batch.prefix, cache)
        return cache

    def _read_inputs(self, side: Side, cache: Cache) -> None:
        """Fills the encoder's part of the cache."""
        rows, length = side.ids.shape
        assert [run.row for run in side.runs] == list(range(rows)), "generation takes one example a row"
        if self._is_ragged():
            memory, index = self._ragged(Batch(encoder=side))
        else:
            memory, index = self._dense_encoder(side).flatten(0, 1), None
        for layer in self.decoder.blocks():
            for flat, stored in zip(layer.cross.stored(memory), (cache.cross_keys, cache.cross_values), strict=True):
                if index is not None:
                    flat = flat.new_zeros(rows * length, flat.shape[-1]).index_copy_(0, index, flat)
                stored.append(flat.view(rows, length, self.options.num_heads, -1).transpose(1, 2).contiguous())
        if any(run.end - run.start < length for run in side.runs):
            sees = (side.segments > 0)[:, None, :]
            cache.cross_bias = dense_bias(sees, None, cache.cross_keys[0].dtype)

    def _read_start(self, side: Side, prefix: Tensor | None, cache: Cache) -> None:
        """Reads what the decoder is given, moved to the right so that all rows go on from the same position."""
        source, cache.starts = moved_right(side)
        ids = side.ids.gather(1, source.clamp(min=0))
        self._advance(ids, cache, None if prefix is None else prefix.gather(1, source.clamp(min=0)) & (source >= 0))

    @torch.no_grad()
    def step(self, ids: Tensor, cache: Cache) -> Tensor:
        """[R, t] tokens just written → [R, V] logits of the next one, also kept as `cache.logits`."""
        return self._advance(ids, cache, None)

    @torch.no_grad()
    def follow(self, ids: Tensor, cache: Cache) -> Tensor:
        """[R, t] tokens → [R, t, V] logits after every one of them; the last are kept as `cache.logits`."""
        logits = self._read(self._pass(ids, cache, None))
        cache.logits = logits[:, -1]
        return logits

    def _advance(self, ids: Tensor, cache: Cache, prefix: Tensor | None) -> Tensor:
        cache.logits = self._read(self._pass(ids, cache, prefix)[:, -1])
        return cache.logits

    def _pass(self, ids: Tensor, cache: Cache, prefix: Tensor | None) -> Tensor:
        """[R, t] new tokens, which the cache learns → [R, t, D] last states"""
        return self.decoder.step(self._embed(ids), cache, prefix)
