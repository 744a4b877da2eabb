"""BERT: an encoder that sees both ways, learnt by guessing hidden words.

Token, segment and position embeddings, post-norm blocks, and the heads of its pre-training: masked words, and whether
one sentence follows another.

Letters: B rows, L tokens of a row, D model width, F feed-forward width, H heads, V vocabulary, N tokens of all examples
laid end to end, E examples, M tokens that count.
Source: Devlin et al. 2019, arXiv 1810.04805; modeling.py of the release.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from textfer.batch import Batch, Output, Run, Side, Told
from textfer.config import Options, build
from textfer.errors import ConfigError, DataError
from textfer.models import MODELS
from textfer.models.attention import laid
from textfer.models.bert_blocks import Activation, Block, Reading, activated, reading
from textfer.models.bert_hub import MODEL_TYPES, config_of, load, names_of
from textfer.models.hub import MAX_SHARD_BYTES, LoadReport, file_tensors, write_model
from textfer.models.int8 import Int8Table, lay_parts
from textfer.models.layers import BiasedLinear, LayerNorm, Table, drop

INIT_STD = 0.02
NUM_NEXT_CLASSES = 2
"""Of `next_sentence`: 0 = it follows, 1 = it comes from elsewhere."""


class BertOptions(Options):
    """The shape of a BERT. The defaults are bert-base."""

    model_dim: int = Field(768, ge=1)
    """D, the width of the states."""
    ff_dim: int = Field(3072, ge=1)
    """F, the inner width of the feed-forward layers."""
    num_heads: int = Field(12, ge=1)
    """H; each is D / H wide."""
    num_layers: int = Field(12, ge=1)
    max_positions: int = Field(512, ge=3)
    """The longest row, marks included: every place has a learnt vector."""
    num_types: int = Field(2, ge=1)
    """Kinds of sentences that are told apart."""
    activation: Activation = "gelu"
    """The non-linearity of feed-forward layers and of the head for words."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """On embeddings and residual branches."""
    attention_dropout: float | None = Field(None, ge=0, lt=1)
    """On attention shares; none given = as `dropout`."""
    norm_eps: float = Field(1e-12, gt=0)
    """Added to the variance before its root is taken."""
    masked_lm: bool = True
    """Has the head that guesses hidden words."""
    pooler: bool = True
    """Has the layer that turns the first token's state into one of the whole row."""
    next_sentence: bool = True
    """Has the head on it that says whether the second sentence follows the first."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.model_dim % self.num_heads:
            raise ValueError(
                f"model_dim is {self.model_dim}, expected a multiple of num_heads ({self.num_heads}). Change one."
            )
        if self.next_sentence and not self.pooler:
            raise ValueError("next_sentence is true, expected a pooler below it. Set pooler = true.")
        return self

    @property
    def attention_rate(self) -> float:
        """`attention_dropout` with its default filled in."""
        return self.dropout if self.attention_dropout is None else self.attention_dropout


class MaskedHead(nn.Module):
    """Dense, activation and norm before the product with the embedding table, and the bias of that product."""

    def __init__(self, options: BertOptions, vocab_size: int) -> None:
        super().__init__()
        self.kind = options.activation
        self.dense = BiasedLinear(options.model_dim, options.model_dim)
        self.norm = LayerNorm(options.model_dim, eps=options.norm_eps)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, x: Tensor) -> Tensor:
        """[…, D] → […, D]"""
        out: Tensor = self.norm(activated(self.dense(x), self.kind))
        return out


@MODELS.named("bert")
class Bert(nn.Module):
    """Reads a `Batch`; says what each hidden word was, and whether two sentences belong together.

    `attention` picks how rows are worked on. `ragged`, the default: tokens of all examples end to end, so that no
    product, norm or feed-forward sees padding; on a CPU the attention goes example by example too, elsewhere it alone
    stands in padded rows. `dense`, when compiling: padded rows throughout. All give the same numbers.
    """

    options_class: ClassVar[type[Options]] = BertOptions
    model_types: ClassVar[tuple[str, ...]] = MODEL_TYPES
    pooling: ClassVar[str] = "first"
    """The token whose state stands for a text: `[CLS]`."""
    load_report: LoadReport | None = None
    """Where the tensors of the file went, for a model that was loaded."""

    def __init__(self, options: BertOptions, vocab_size: int) -> None:
        super().__init__()
        self.options, self.vocab_size = options, vocab_size
        self.attention: Literal["auto", "ragged", "padded attention", "dense"] = "auto"
        dim = options.model_dim
        self.embedding = Table(vocab_size, dim)
        self.positions = Table(options.max_positions, dim)
        self.types = Table(options.num_types, dim)
        self.norm = LayerNorm(dim, eps=options.norm_eps)
        self.layers = nn.ModuleList(Block(options) for _ in range(options.num_layers))
        self.pooler = BiasedLinear(dim, dim) if options.pooler else None
        self.masked_lm = MaskedHead(options, vocab_size) if options.masked_lm else None
        self.next_sentence = BiasedLinear(dim, NUM_NEXT_CLASSES) if options.next_sentence else None
        self.initialise()

    @classmethod
    def make(cls, options: Mapping[str, Any], *, vocab_size: int) -> Self:
        """A model with new weights; the options are the fields of BertOptions."""
        return cls(build(BertOptions, options, where="model"), vocab_size)

    @classmethod
    def load(cls, folder: Path, options: Mapping[str, Any] | None = None, *, dtype: torch.dtype | None = None) -> Self:
        """The model of a hub-format folder, in `dtype` (None = float32); `options` replace those of the file.

        It has the heads that the file has; one that `options` set to false is left unread, and reported.

        Errors: CheckpointError when a tensor is missing, left over or misshapen, or a file damaged.
        """
        return load(cls, Path(folder), options or {}, dtype)

    def save(self, folder: Path, *, max_shard_bytes: int = MAX_SHARD_BYTES) -> None:
        """Writes config.json and safetensors that `load` and transformers read."""
        tensors = file_tensors(self.named_parameters(), self.file_names(), folder=Path(folder), family="BERT")
        write_model(Path(folder), config_of(self), tensors, max_shard_bytes=max_shard_bytes)

    def file_names(self) -> dict[str, str]:
        """Our parameter → the reference's tensor; what a way of transfer added has none."""
        return names_of(self)

    @property
    def layout(self) -> str:
        """`masked` when it can guess words, else `pair`: only heads can learn."""
        return "pair" if self.masked_lm is None else "masked"

    @property
    def max_len(self) -> int:
        """The places that have a vector."""
        return self.options.max_positions

    @torch.no_grad()
    def initialise(self) -> None:
        """Draws all weights anew from torch's default generator: a normal cut off at two standard deviations of 0.02.

        Source: `create_initializer` in modeling.py of the release.
        """
        if self.embedding.weight.is_meta:  # about to be loaded
            return
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                nn.init.trunc_normal_(weight, std=INIT_STD, a=-2 * INIT_STD, b=2 * INIT_STD)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)
            else:
                nn.init.ones_(weight)

    def lay_int8(self) -> None:
        """Lays products in int8, and the table of tokens where no words are guessed: see `models.int8`."""
        lay_parts(self)
        if self.masked_lm is None:
            self.embedding = cast(Table, Int8Table(self.embedding))

    # What a batch says

    def forward(self, batch: Batch) -> Output:
        """Logits [B, L, V] of every token, last states [B, L, D], and `next_sentence` [E, 2], as far as it has them.

        Where a row holds padding they mean nothing.
        """
        assert batch.encoder is not None, "an encoder reads the encoder's side"
        hidden = self.hidden(batch)
        logits = F.linear(self.masked_lm(hidden), *self.readout()) if self.masked_lm is not None else None
        heads = {}
        if self.next_sentence is not None:
            heads["next_sentence"] = self.next_sentence(self.pooled(hidden, batch.encoder.runs))
        return Output(logits=logits, hidden=hidden, heads=heads)

    def hidden(self, batch: Batch) -> Tensor:
        """[B, L, D] last states; in `ragged` form zeros where nothing stands."""
        side, way = self._reading(batch)
        *_, x = self._states(side, way)
        return self._laid(x, side, way)

    def layer_states(self, batch: Batch) -> list[Tensor]:
        """[B, L, D] states of the embeddings and after every layer, bottom to top."""
        side, way = self._reading(batch)
        return [self._laid(x, side, way) for x in self._states(side, way)]

    def _laid(self, x: Tensor, side: Side, way: Reading) -> Tensor:
        """[N, D] or [B, L, D] → [B, L, D]"""
        if way.places is None:
            return x
        count = len(x) - way.num_idle
        return laid(x[:count], way.places[:count], side)

    def pooled(self, hidden: Tensor, runs: tuple[Run, ...]) -> Tensor:
        """[B, L, D] last states → [E, D]: the first token of each example through a dense layer and a tanh."""
        if self.pooler is None:
            raise ConfigError(
                "model: a BERT without a pooler has no state of a whole row. Average those of its tokens."
            )
        first = torch.tensor([run.row * hidden.shape[1] + run.start for run in runs], device=hidden.device)
        return torch.tanh(self.pooler(hidden.flatten(0, 1)[first]))

    def states(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(states [M, D] ready for `readout`, targets [M], weights [M]) of the tokens with weight > 0.

        Errors: ConfigError when the model has no head for words.
        """
        side, way = self._reading(batch)
        *_, x = self._states(side, way)
        return self._named(x, batch, way)

    def read(self, batch: Batch) -> Told:
        """Which sentences follow, [E, 2], and the states of the hidden words, from one pass.

        Errors: ConfigError when the model lacks one of the two heads.
        """
        if self.next_sentence is None:
            raise ConfigError("model: this BERT has no head next_sentence. Set model.next_sentence = true.")
        side, way = self._reading(batch)
        *_, x = self._states(side, way)
        pooled = self.pooled(self._laid(x, side, way), side.runs)
        return Told({"next_sentence": self.next_sentence(pooled)}, self._named(x, batch, way))

    def _named(self, x: Tensor, batch: Batch, way: Reading) -> tuple[Tensor, Tensor, Tensor]:
        """What `states` gives, from the last states."""
        assert batch.targets is not None, "a batch without targets has no loss"
        assert batch.weights is not None, "a batch without weights has no loss"
        if self.masked_lm is None:
            raise ConfigError("model: this BERT has no head that guesses words. Start from weights with masked_lm.")
        if way.places is None:
            x = x.flatten(0, 1)
        targets, weights = way.taken(batch.targets).flatten(), way.taken(batch.weights).flatten()
        where = (weights > 0).nonzero().squeeze(1)
        return self.masked_lm(x[where]), targets[where], weights[where]

    def bare(self) -> Self:
        """The same model without the heads of its pre-training, which heads for tasks have no use for."""
        self.masked_lm = self.next_sentence = None
        self.options = self.options.model_copy(update={"masked_lm": False, "next_sentence": False})
        return self

    def readout(self) -> tuple[Tensor, Tensor | None]:
        """([V, D] the embedding table, [V] bias) of the output layer."""
        return self.embedding.weight, None if self.masked_lm is None else self.masked_lm.bias

    def depth(self) -> list[list[str]]:
        """Names of all parameters, bottom to top: embeddings, then layer by layer; heads belong to the top."""
        groups: list[list[str]] = [[] for _ in range(self.options.num_layers + 1)]
        for name, _ in self.named_parameters():
            kind, *rest = name.split(".")
            if kind == "layers":
                groups[1 + int(rest[0])].append(name)
            else:
                groups[0 if kind in ("embedding", "positions", "types", "norm") else -1].append(name)
        return groups

    def _reading(self, batch: Batch) -> tuple[Side, Reading]:
        """The side that is read, and how. Errors: DataError when an example is too long."""
        side = batch.encoder
        assert side is not None, "an encoder reads the encoder's side"
        assert batch.decoder is None, "an encoder has no decoder"
        for number, (_, start, end) in enumerate(side.runs):
            if end - start > self.options.max_positions:
                name = batch.origins[number] if batch.origins else f"example {number}"
                raise DataError(
                    f"{name}: is {end - start} tokens long, expected at most {self.options.max_positions}, for which "
                    "the model has positions. Lower data.inputs_len or cut the text."
                )
        form = self.attention
        if form == "auto":
            form = "dense" if torch.compiler.is_compiling() else "ragged"
        return side, reading(side, "padded attention" if form == "ragged" and side.ids.device.type != "cpu" else form)

    def _states(self, side: Side, way: Reading) -> Iterator[Tensor]:
        """[N, D] or [B, L, D] of the embeddings, then of every layer"""
        yield (x := self._embed(side, way))
        for layer in self.layers:
            yield (x := layer(x, way.sight))

    def _embed(self, side: Side, way: Reading) -> Tensor:
        """[N, D] or [B, L, D]"""
        x: Tensor = self.embedding(way.taken(side.ids))
        x = x + F.embedding(way.taken(side.positions), self.positions.weight)
        if side.types is None:
            x = x + self.types.weight[0]
        else:
            x = x + F.embedding(way.taken(side.types), self.types.weight)
        return drop(self.norm(x), self.options.dropout if self.training else 0.0)
