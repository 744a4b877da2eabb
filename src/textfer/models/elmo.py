"""ELMo: two language models, one from each side, whose layers together say what a word means where it stands.

Characters of a token → filters, highways → P numbers → LSTM layers from the left, and others from the right. Neither
side sees the token that it guesses, nor what lies behind it:

    <text> a b c      from the left: a is guessed after <text>, b after a, …
           a b c </text>   from the right: c is guessed before </text>, b before c, …

Tokens are the vocabulary's pieces, spelt by their bytes; whole words outside any vocabulary are read by
`word_layer_states`. Marks before and behind a text are the model's own.

Letters: B rows, L tokens of a row, E examples, N tokens of all examples end to end, P width of a token's vector and of
one side's states, D = 2P, V vocabulary, C characters of a token, U different tokens of a batch, M tokens that count.
Source: Peters et al. 2018, arXiv 1802.05365; allenai/bilm-tf (bin/train_elmo.py, bilm/training.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from textfer.batch import Batch, Output, Side
from textfer.config import Options, build
from textfer.errors import ConfigError, DataError
from textfer.models import MODELS
from textfer.models.attention import token_places
from textfer.models.characters import NUM_CHARACTERS, Characters, Filters, spelt_numbers, spelt_pieces
from textfer.models.elmo_hub import MODEL_TYPES, load, save
from textfer.models.framed import Framed
from textfer.models.hub import MAX_SHARD_BYTES, LoadReport
from textfer.models.layers import BiasedLinear, drop
from textfer.models.lstm import Bounds, Layer, Memory
from textfer.models.sampled import Sample, draw_log_uniform
from textfer.tokenizers import Tokenizer


class ElmoOptions(Options):
    """The shape of an ELMo. The defaults are the paper's."""

    model_dim: int = Field(512, ge=1)
    """P, the width of a token's vector and of one side's states; both sides together are twice as wide."""
    num_cells: int = Field(4096, ge=1)
    """Cells of an LSTM layer on one side."""
    num_layers: int = Field(2, ge=1)
    char_dim: int = Field(16, ge=1)
    """Width of a character's vector."""
    filters: Filters = ((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024))
    """(characters that a filter sees at once, how many of these there are)."""
    num_highways: int = Field(2, ge=0)
    """Highway layers behind the filters."""
    max_chars: int = Field(50, ge=3)
    """The most characters of a token, its two bounds counted; the rest of a longer one is not read."""
    cell_clip: float | None = Field(3.0, gt=0)
    """Cells stay within this, either way; none = as they come."""
    state_clip: float | None = Field(3.0, gt=0)
    """Projected states of an LSTM layer stay within this; none = as they come."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """On the inputs of every layer and on what is read out."""
    lm: bool = True
    """Has the output layer that guesses words, for both sides the same one."""
    num_sampled: int | None = Field(None, ge=1)
    """In training, words that each one is told from, drawn for every batch (the release: 8,192); none = all words."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.filters or min(min(one) for one in self.filters) < 1:
            raise ValueError(f"filters is {self.filters}, expected pairs of a width and a count. Give one at least.")
        if (widest := max(width for width, _ in self.filters)) > self.max_chars:
            raise ValueError(f"max_chars is {self.max_chars}, expected {widest} at least, the widest filter. Raise it.")
        if self.num_sampled and not self.lm:
            raise ValueError(f"num_sampled is {self.num_sampled}, expected none without an output layer. Drop it.")
        if self.num_cells < self.model_dim:
            raise ValueError(
                f"num_cells is {self.num_cells}, expected model_dim ({self.model_dim}) at least. Raise it."
            )
        return self


class Carried(NamedTuple):
    """What the left side knows at the end of each row, to go on with the rows' next tokens."""

    layers: tuple[Memory, ...]


class BothSides(nn.Module):
    """One layer from the left, and one from the right."""

    def __init__(self, options: ElmoOptions) -> None:
        super().__init__()
        dim, bounds = options.model_dim, Bounds(options.cell_clip, options.state_clip)
        self.left, self.right = (Layer(dim, options.num_cells, num_states=dim, bounds=bounds) for _ in range(2))


@MODELS.named("elmo")
class Elmo(nn.Module):
    """Reads a `Batch`: examples of any lengths, padded or packed, each by itself; nothing is computed for padding.

    Every different token of a batch goes through the filters once.
    """

    options_class: ClassVar[type[Options]] = ElmoOptions
    model_types: ClassVar[tuple[str, ...]] = MODEL_TYPES
    load_report: LoadReport | None = None
    """Where the tensors of the file went, for a model that was loaded."""
    spellings: Tensor

    def __init__(self, options: ElmoOptions, vocab_size: int) -> None:
        super().__init__()
        if options.num_sampled and options.num_sampled >= vocab_size:
            raise ConfigError(
                f"model.num_sampled: is {options.num_sampled}, expected fewer than the vocabulary's {vocab_size} rows. "
                "Lower it, or set it to none."
            )
        self.options, self.vocab_size = options, vocab_size
        self.is_spelt = False
        """Whether the model knows how its tokens are spelt. Till then their numbers are their spelling."""
        self.register_buffer("spellings", spelt_numbers(vocab_size, options.max_chars))
        self.characters = Characters(
            options.char_dim, options.filters, num_highways=options.num_highways, dim=options.model_dim
        )
        self.layers = nn.ModuleList(BothSides(options) for _ in range(options.num_layers))
        self.output = BiasedLinear(options.model_dim, vocab_size) if options.lm else None
        self.initialise()

    @classmethod
    def make(cls, options: Mapping[str, Any], *, vocab_size: int) -> Self:
        """A model with new weights; the options are the fields of ElmoOptions. `spell` tells it of its vocabulary."""
        return cls(build(ElmoOptions, options, where="model"), vocab_size)

    @classmethod
    def load(cls, folder: Path, options: Mapping[str, Any] | None = None, *, dtype: torch.dtype | None = None) -> Self:
        """The model of a folder that `save` wrote, in `dtype` (None = float32); `options` replace those of the file.

        Errors: CheckpointError when a tensor is missing, left over or misshapen, or a file damaged.
        """
        return load(cls, Path(folder), options or {}, dtype)

    def save(self, folder: Path, *, max_shard_bytes: int = MAX_SHARD_BYTES) -> None:
        """Writes config.json and safetensors, the spellings among them."""
        save(self, Path(folder), max_shard_bytes)

    def spell(self, tokenizer: Tokenizer) -> None:
        """Tells the model how the tokens of its vocabulary are spelt.

        Errors: ConfigError when the vocabulary has more ids than the model.
        """
        if tokenizer.vocab_size > self.vocab_size:
            raise ConfigError(
                f"model: names {self.vocab_size} words, its vocabulary has {tokenizer.vocab_size}. Give the one it was "
                "made for."
            )
        self.spellings.copy_(spelt_pieces(tokenizer, self.vocab_size, self.options.max_chars))
        self.is_spelt = True

    def file_names(self) -> dict[str, str]:
        """Our parameter → the tensor of the file: the same name, there is no other format."""
        return {name: name for name, _ in self.named_parameters()}

    @property
    def layout(self) -> str:
        """`both_ways` when it can guess words, else `pair`: only heads can learn."""
        return "pair" if self.output is None else "both_ways"

    @property
    def max_len(self) -> None:
        """Texts may be of any length."""
        return None

    @property
    def state_dim(self) -> int:
        """D, the width of both sides' states."""
        return 2 * self.options.model_dim

    @torch.no_grad()
    def initialise(self) -> None:
        """Draws all weights anew from torch's default generator, by the release's rules."""
        if self.characters.embedding.weight.is_meta:  # about to be loaded
            return
        self.characters.initialise()
        for layer in self._sides():
            layer.left.initialise()
            layer.right.initialise()
        if self.output is not None:
            nn.init.normal_(self.output.weight, std=self.options.model_dim**-0.5)
            nn.init.zeros_(self.output.bias)

    # What a batch says

    def forward(self, batch: Batch) -> Output:
        """Last states [B, L, D]. There are no logits: each side has its own, see `states`."""
        return Output(hidden=self.hidden(batch))

    def hidden(self, batch: Batch) -> Tensor:
        """[B, L, D] last states, the left side's first; zeros where nothing stands."""
        return self.layer_states(batch)[-1]

    def layer_states(self, batch: Batch) -> list[Tensor]:
        """[B, L, D] of the tokens by themselves (their vectors twice), then of every layer; zeros for padding."""
        found, _ = self._read(batch, None)
        return found

    def word_layer_states(self, characters: Tensor) -> list[Tensor]:
        """The same of words given by their own characters, as `characters.spelt_words` makes them.

        Shapes: [B, L, C] int64, 0 where no word stands, else 1 + a character's number, → [B, L, D].

        Errors: DataError where a row holds no word, one stands behind a gap, or a number is no character's; ConfigError
        for a model that was never told of any spelling.
        """
        if not self.is_spelt:
            raise ConfigError("model: knows its tokens by their numbers alone. Call spell(tokenizer) before training.")
        lens = (characters > 0).any(2).sum(1)
        ok = int(lens.min()) > 0 if len(lens) else False
        filled = torch.arange(characters.shape[1], device=characters.device) < lens[:, None]
        if not ok or not bool(((characters > 0).all(2) == filled).all()) or int(characters.max()) > NUM_CHARACTERS:
            raise DataError(
                f"characters: got [{', '.join(map(str, characters.shape))}] with gaps, rows without words or numbers "
                f"outside 0 to {NUM_CHARACTERS}, expected what `spelt_words` makes."
            )
        places = filled.flatten().nonzero().squeeze(1)
        framed = Framed(lens.tolist())
        marks = self.spellings[self.vocab_size :].long()[:, : characters.shape[2]]
        everything = torch.cat([characters.flatten(0, 1)[places] - 1, marks])
        numbers = framed.between_marks(torch.arange(len(places), device=places.device), len(places))
        found, _ = self._all_states(self.characters(everything), numbers, framed, None)
        return [_laid(one, places, (len(characters), characters.shape[1])) for one in found]

    @torch.no_grad()
    def stream_states(self, batch: Batch, carried: Carried | None = None) -> tuple[list[Tensor], Carried]:
        """(`layer_states`, what to hand in with the rows' next tokens), for texts that come in parts.

        From the left a text read in parts is read as if it were whole; from the right each part is read by itself.

        Errors: DataError when rows hold more than one text, or are others than before.
        """
        assert not (self.training and self.options.dropout), "reading needs model.eval()"
        side = _side(batch)
        if [(run.row, run.start) for run in side.runs] != [(row, 0) for row in range(len(side.ids))]:
            raise DataError("stream: got rows with several texts or none, expected one a row. Do not pack them.")
        if carried is not None and len(carried.layers[0].states) != len(side.ids):
            raise DataError(
                f"stream: got {len(side.ids)} rows after {len(carried.layers[0].states)}, expected the same ones."
            )
        return self._read(batch, carried)

    def states(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(states [2M, P] ready for `readout`, targets [2M], weights [2M]) of the tokens with weight > 0.

        Token by token the left side's and the right side's; each counts half, so that the loss is the mean of both.

        Errors: ConfigError when the model has no output layer.
        """
        assert batch.targets is not None, "a batch without targets has no loss"
        assert batch.weights is not None, "a batch without weights has no loss"
        if self.output is None:
            raise ConfigError("model: this ELMo has no output layer for words. Start from weights with lm.")
        side = _side(batch)
        vectors, numbers, framed, places = self._tokens(side)
        *_, (left, right) = self._layers(vectors, numbers, framed, None)
        targets, weights = batch.targets.flatten()[places], batch.weights.flatten()[places]
        where = (weights > 0).nonzero().squeeze(1)
        before, behind = framed.neighbours(side.ids.device)
        rate = self.options.dropout if self.training else 0.0
        states = drop(torch.stack([left[before[where]], right[behind[where]]], 1).flatten(0, 1), rate)
        return states, targets[where].repeat_interleave(2), weights[where].repeat_interleave(2) / 2

    def bare(self) -> Self:
        """The same model without the output layer, which heads for tasks have no use for."""
        self.output = None
        self.options = self.options.model_copy(update={"lm": False, "num_sampled": None})
        return self

    def readout(self) -> tuple[Tensor, Tensor]:
        """([V, P] weight, [V] bias) of the output layer, the same for both sides."""
        if self.output is None:
            raise ConfigError("model: this ELMo has no output layer for words. Start from weights with lm.")
        return self.output.weight, self.output.bias

    def draw_words(self) -> Sample | None:
        """The words that those of a batch are told from; None = all. Drawn by torch's default generator."""
        if self.options.num_sampled is None or not self.training:
            return None
        return draw_log_uniform(self.options.num_sampled, self.vocab_size)

    def depth(self) -> list[list[str]]:
        """Names of all parameters, bottom to top: characters, then layer by layer; the output belongs to the top."""
        groups: list[list[str]] = [[] for _ in range(self.options.num_layers + 1)]
        for name, _ in self.named_parameters():
            kind, *rest = name.split(".")
            groups[1 + int(rest[0]) if kind == "layers" else 0 if kind == "characters" else -1].append(name)
        return groups

    def _sides(self) -> list[BothSides]:
        return list(self.layers)  # type: ignore[arg-type]

    def _tokens(self, side: Side) -> tuple[Tensor, Tensor, Framed, Tensor]:
        """([U, P] vectors of different tokens, [N + 2E] which of them stands where, how, [N] places in the side)"""
        places = token_places(side).to(side.ids.device)
        framed = Framed([end - start for _, start, end in side.runs])
        ids = framed.between_marks(side.ids.flatten()[places], self.vocab_size)
        different, numbers = torch.unique(ids, return_inverse=True)
        return self.characters(self.spellings[different]), numbers, framed, places

    def _read(self, batch: Batch, carried: Carried | None) -> tuple[list[Tensor], Carried]:
        side = _side(batch)
        vectors, numbers, framed, places = self._tokens(side)
        if carried is not None:
            framed = Framed(framed.lens, goes_on=True)
        found, memories = self._all_states(vectors, numbers, framed, carried)
        return [_laid(one, places, tuple(side.ids.shape)) for one in found], Carried(memories)

    def _all_states(
        self, vectors: Tensor, numbers: Tensor, framed: Framed, carried: Carried | None
    ) -> tuple[list[Tensor], tuple[Memory, ...]]:
        """([N, D] of every layer, what the left side knows at the ends)"""
        memories: list[Memory] = []
        left_here, right_here = framed.own(vectors.device)
        token = F.embedding(numbers[framed.inner(vectors.device)], vectors)
        found = [torch.cat([token, token], 1)]
        for left, right in self._layers(vectors, numbers, framed, carried, memories):
            found.append(torch.cat([left[left_here], right[right_here]], 1))
        return found, tuple(memories)

    def _layers(
        self,
        vectors: Tensor,
        numbers: Tensor,
        framed: Framed,
        carried: Carried | None,
        memories: list[Memory] | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(left side's states, right side's) after every layer, in the order of the sides' steps"""
        rate = self.options.dropout if self.training else 0.0
        from_left, from_right = framed.steps(vectors.device)
        left, right = F.embedding(numbers[from_left], vectors), F.embedding(numbers[from_right], vectors)
        for number, layer in enumerate(self._sides()):
            left, right = drop(left, rate), drop(right, rate)
            ours, memory = layer.left(left, framed.left, None if carried is None else carried.layers[number])
            theirs, _ = layer.right(right, framed.right)
            left, right = (ours, theirs) if number == 0 else (left + ours, right + theirs)
            if memories is not None:
                memories.append(memory)
            yield left, right


def _side(batch: Batch) -> Side:
    assert batch.encoder is not None, "ELMo reads the encoder's side"
    assert batch.decoder is None, "ELMo has no decoder"
    return batch.encoder


def _laid(states: Tensor, places: Tensor, shape: tuple[int, ...]) -> Tensor:
    """[N, D] → [B, L, D], zeros where nothing stands"""
    empty = states.new_zeros(shape[0] * shape[1], states.shape[-1])
    return empty.index_copy(0, places, states).view(*shape, -1)
