"""A model that reads, and the heads that say what it understood: BERT's way, and GPT-1's.

Letters: B rows, L tokens of a row, R runs (an example is one run, or one for each of its choices), E examples,
C classes or choices, D model width.
Source: Devlin et al. 2019, arXiv 1810.04805 §4; Radford et al. 2018, "Improving Language Understanding by Generative
Pre-Training", §3.2–3.3.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, cast

import torch
from pydantic import Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from textfer.batch import Batch, Output, Told
from textfer.config import Options
from textfer.errors import CheckpointError, ConfigError
from textfer.heads import Head
from textfer.models import Model
from textfer.models.bert_heads import has_a_class, save_with, tensors_of, told_in
from textfer.models.bodies import BiLstm, Body, Chosen, Layers, Mlp, Runs, body_of, same_shape
from textfer.models.hub import holds_weights, read_config, read_json
from textfer.models.layers import BiasedLinear, drop

RECORD, TENSORS = "heads.json", "heads.safetensors"
FORMAT = 1
INIT_STD = 0.02
Pooling = Literal["first", "last", "mean"]


class HeadOptions(Options):
    """How heads learn from what was read."""

    dropout: float = Field(0.1, ge=0, lt=1)
    """On the states that the heads see."""
    pooling: Pooling | None = None
    """The state of a whole text: its first token's, its last token's, or the mean. None = as suits the reader."""
    lm_weight: float = Field(0.0, ge=0)
    """GPT only: the weight of naming every next word beside, each text's mean (GPT-1: 0.5)."""
    both_orders: bool = False
    """Two texts are read in both orders, and what is said of either is added up (GPT-1, where neither comes first)."""
    dev_share: float = Field(0.0, ge=0, lt=1)
    """Questions on about this share of the contexts are not trained on. They choose the checkpoint, and the score above
    which a span head says that there is no answer."""
    layers: Layers = "last"
    """Which of the reader's layers are seen: `last`; `mix`, all of them by learnt weights (ELMo); or their numbers,
    side by side, 0 = the embeddings, -1 = the top (BERT §5.3: the last four)."""
    body: Body = "linear"
    """What stands between them and the heads: nothing (with frozen weights, logistic regression); `mlp`, one layer;
    `bilstm`, two (BERT §5.3)."""
    hidden_dim: int | None = Field(None, ge=1)
    """Width of the body, of each side of a biLSTM. None = as wide as what it reads."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.body == "linear" and self.hidden_dim is not None:
            raise ValueError("hidden_dim cannot take effect without a body. Drop it, or set body to mlp or bilstm.")
        if self.lm_weight and self.layers != "last":
            raise ValueError("lm_weight cannot take effect, next words are named from the last layer. Drop layers.")
        return self


class Reader(Model, Protocol):
    """A model that gives every token a state."""

    def hidden(self, batch: Batch) -> Tensor:
        """[B, L, D] last states of what the encoder's side holds."""
        ...


class Memory(Protocol):
    """Who remembers what a reader that stands still said."""

    def __call__(self, chosen: Chosen, reader: Reader, batch: Batch) -> list[Tensor]:
        """What `chosen.read` gives."""
        ...


class Headed(nn.Module):
    """A reader with heads. Batches come from the layout `pair`."""

    options_class: ClassVar[type[Options]] = HeadOptions
    model_types: ClassVar[tuple[str, ...]] = ()
    """None: a folder with heads.json is one, whatever its reader is."""

    def __init__(self, reader: Model, heads: Sequence[Head], options: HeadOptions | None = None) -> None:
        super().__init__()
        if not hasattr(reader, "hidden"):
            raise ConfigError(f"model: a {type(reader).__name__} gives tokens no states for heads. Name an encoder.")
        self.reader = cast(nn.Module, reader.bare() if hasattr(reader, "bare") else reader)
        self.options = options or HeadOptions()
        self.kinds = {head.name: head for head in heads}
        assert len(self.kinds) == len(heads), "heads have names of their own"
        self.pooling = cast(Pooling, self.options.pooling or getattr(reader, "pooling", "mean"))
        self.vocab_size = reader.vocab_size
        self.frozen = False
        """Whether the reader stands still: then nothing in it is drawn at random either."""
        self.memory: Memory | None = None
        self.chosen = Chosen(reader, self.options.layers, width_of(reader))
        dim, rate = self.chosen.dim, self.options.dropout
        self.body = body_of(self.options.body, dim, self.options.hidden_dim, dropout=rate)
        whole = any(head.kind in ("class", "number", "choice") for head in heads)
        plain = self.body is None and self.options.layers == "last"
        pooled = whole and plain and self.pooling == "first"
        if getattr(reader, "pooler", None) is not None and not pooled:
            drop_pooler(reader)  # it would learn nothing
        own = getattr(reader, "pooler", None)
        self.dense = BiasedLinear(dim, dim) if pooled and own is None else None
        width = dim if self.body is None else self.body.dim
        self.heads = nn.ModuleDict({head.name: BiasedLinear(width, head.num_outputs) for head in heads})
        if self.options.lm_weight and not hasattr(reader, "begin"):
            raise ConfigError(
                f"head.lm_weight: cannot take effect, a {type(reader).__name__} names no next words. Drop it."
            )
        for name, weight in self.own_parameters():
            if name.startswith(("chosen.", "body.")):
                continue  # they begin by rules of their own
            if weight.dim() > 1:
                nn.init.normal_(weight, std=INIT_STD)
            else:
                nn.init.zeros_(weight)

    @classmethod
    def make(cls, options: Mapping[str, Any], *, vocab_size: int) -> Self:
        """Never: a reader comes first."""
        raise AssertionError("heads are put upon a reader")

    @classmethod
    def load(cls, folder: Path, options: Mapping[str, Any] | None = None, *, dtype: torch.dtype | None = None) -> Self:
        """The reader of a folder with its heads; `options` replace those of the reader.

        Errors: CheckpointError when a tensor is missing, left over or misshapen, or a file damaged.
        """
        from textfer.models import load_reader

        made = cls.around(load_reader(folder, options, dtype=dtype), folder)
        return made if dtype is None else made.to(dtype)

    @classmethod
    def around(cls, reader: Model, folder: Path) -> Self:
        """The reader with the heads that the folder holds.

        Errors: CheckpointError when they do not fit, or a file is damaged.
        """
        heads, options = heads_in(folder)
        pooler = getattr(reader, "pooler", None)
        if pooler is not None and (folder / RECORD).exists() and read_json(folder / RECORD).get("dense"):
            drop_pooler(reader)  # it was made with the head, and is no part of the reader
        made = cls(reader, heads, options)
        if (folder / TENSORS).exists() or not holds_weights(folder):
            made.fill_heads(folder)
        else:
            shapes = {name: tuple(weight.shape) for name, weight in made.own_parameters()}
            made._take(tensors_of(folder, heads, shapes))
        return made

    def fill_heads(self, folder: Path) -> None:
        """Takes the heads' numbers from a folder. Errors: CheckpointError."""
        try:
            tensors = load_file(folder / TENSORS)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{folder / TENSORS}: cannot be read ({error}). Copy it again.") from None
        own = dict(self.own_parameters())
        misshapen = {name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape}
        if wrong := sorted(misshapen | (own.keys() ^ tensors.keys())):
            raise CheckpointError(
                f"{folder / TENSORS}: '{wrong[0]}' is missing, left over or misshapen. Copy it again."
            )
        self._take(tensors)

    def _take(self, tensors: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, weight in self.own_parameters():
                weight.copy_(tensors[name])

    def save(self, folder: Path) -> None:
        """Writes the reader in its own format, and the heads beside it; where the reference has a class for the one
        head of a BERT, among the reader's tensors, as that class reads them.
        """
        (folder / TENSORS).unlink(missing_ok=True)
        if has_a_class(self):
            save_with(self, folder)
            self._write_record(folder)
        else:
            self.base.save(folder)
            self.save_heads(folder)

    def save_heads(self, folder: Path) -> None:
        """Writes heads.json and heads.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: weight.detach().cpu().contiguous() for name, weight in self.own_parameters()}
        save_file(tensors, folder / TENSORS, {"format": "pt"})
        self._write_record(folder)

    def _write_record(self, folder: Path) -> None:
        heads = [head.model_dump(mode="json") for head in self.kinds.values()]
        record = {
            "format": FORMAT,
            "options": self.options.model_dump(mode="json"),
            "dense": self.dense is not None,
            "heads": heads,
        }
        (folder / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @property
    def base(self) -> Reader:
        """The reader."""
        return cast(Reader, self.reader)

    @property
    def layout(self) -> str:
        """The name of the layout that makes its batches."""
        return "pair"

    @property
    def max_len(self) -> int | None:
        """The reader's."""
        return self.base.max_len

    def own_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """(name, parameter) of what is not the reader's."""
        return ((name, weight) for name, weight in self.named_parameters() if not name.startswith("reader."))

    def file_names(self) -> dict[str, str]:
        """Our parameter of the reader → the reference's tensor; heads have a file of their own."""
        return {f"reader.{ours}": theirs for ours, theirs in cast(Any, self.reader).file_names().items()}

    def depth(self) -> list[list[str]]:
        """Names of all parameters, bottom to top; the heads belong to the top layer."""
        groups = [[f"reader.{name}" for name in group] for group in self.base.depth()]
        groups[-1] += [name for name, _ in self.own_parameters()]
        return groups

    def train(self, mode: bool = True) -> Self:
        """The same model, learning or not; a reader that stands still is never learning."""
        super().train(mode)
        if self.frozen:
            self.reader.eval()
        return self

    # What a batch says

    def forward(self, batch: Batch) -> Output:
        """What every head says of every example, and the states that are seen, [B, L, D]."""
        told, hidden = self._read(batch)
        return Output(hidden=hidden, heads=told)

    def read(self, batch: Batch) -> Told:
        """What every head says: [E, C] of classes and choices, [E] numbers, [E, L] of places, [B, L, C] of tags."""
        told, hidden = self._read(batch)
        return Told(told, self._next_words(batch, hidden) if self.options.lm_weight else None)

    def states(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Never: heads learn from `read`."""
        raise AssertionError("a model with heads names no words by itself")

    def readout(self) -> tuple[Tensor, Tensor | None]:
        """The reader's: of the next words that GPT-1 names beside."""
        return self.base.readout()

    def _read(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        side = batch.encoder
        assert side is not None, "heads read the encoder's side"
        read = Batch(encoder=side, origins=batch.origins if not batch.passes else ())
        tell = self.chosen.read if self.memory is None else partial(self.memory, self.chosen)
        hidden = self.chosen(tell(self.base, read))
        runs = Runs.of(side)
        states = self.body(self._dropped(hidden), runs) if isinstance(self.body, BiLstm) else hidden
        seen = self._each(states)
        told: dict[str, Tensor] = {}
        kinds = {head.kind for head in self.kinds.values()}
        whole = self._whole(states, runs) if kinds & {"class", "number", "choice"} else None
        for name, head in self.kinds.items():
            part = self.heads[name]
            if head.kind == "tag":
                told[name] = part(seen)
            elif head.kind == "span":
                first = _first_passes(runs, batch.passes)
                told[f"{name}.start"], told[f"{name}.end"] = _by_run(part(seen), first)
            else:
                assert whole is not None
                told[name] = _of_examples(part(whole), batch.passes, head)
        return told, hidden

    def _whole(self, hidden: Tensor, runs: Runs) -> Tensor:
        """[B, L, D] → [R, D] the state of every run."""
        length = hidden.shape[1]
        if self.pooling == "mean":
            count = torch.arange(length, device=hidden.device)
            inside = (count >= runs.starts[:, None]) & (count < runs.ends[:, None])
            states = torch.where(inside[..., None], hidden[runs.rows], 0).sum(1) / (runs.ends - runs.starts)[:, None]
        else:
            at = runs.starts if self.pooling == "first" else runs.ends - 1
            states = hidden.flatten(0, 1)[runs.rows * length + at]
        dense = self.dense if self.dense is not None else getattr(self.reader, "pooler", None)
        if self.pooling == "first" and dense is not None:
            states = torch.tanh(dense(states))
        return self._each(states)

    def _each(self, states: Tensor) -> Tensor:
        """[…, D] → […, H] what heads see of each"""
        seen = self._dropped(states)
        return self._dropped(self.body(seen)) if isinstance(self.body, Mlp) else seen

    def _dropped(self, states: Tensor) -> Tensor:
        return drop(states, self.options.dropout if self.training else 0.0)

    def _next_words(self, batch: Batch, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(states, next words, weights): every example's weights sum to `lm_weight`, whatever its length.

        What is read several times weighs as much as what is read once, each pass the same.
        Source: `model` in train.py of openai/finetune-transformer-lm.
        """
        side = batch.encoder
        assert side is not None
        segments = side.segments
        follows = (segments[:, :-1] == segments[:, 1:]) & (segments[:, 1:] > 0)
        weights = torch.zeros_like(follows, dtype=torch.float32)
        passes = iter(side.runs)
        for count in batch.passes or (1,) * len(side.runs):
            for row, start, end in islice(passes, count):
                weights[row, start : end - 1] = self.options.lm_weight / (count * max(end - start - 1, 1))
        where = follows & (weights > 0)
        return hidden[:, :-1][where], side.ids[:, 1:][where], weights[where]


def with_heads(model: Model, heads: Sequence[Head], options: HeadOptions | None) -> Headed:
    """The model with these heads; one that it had already, of the same kind and labels, keeps what it learnt."""
    old = model if isinstance(model, Headed) else None
    if old is not None and options is None:
        options = old.options
    made = Headed(old.base if old is not None else model, heads, options)
    if old is not None:
        if made.dense is not None and old.dense is not None:
            made.dense = old.dense
        if same_shape(made.chosen, old.chosen) and same_shape(made.body, old.body):
            made.chosen, made.body = old.chosen, old.body
        for name, head in made.kinds.items():
            for theirs, other in old.kinds.items():
                if (head.kind, head.labels) == (other.kind, other.labels):
                    if same_shape(made.heads[name], old.heads[theirs]):
                        made.heads[name] = old.heads[theirs]
                    if None not in (head.threshold, other.threshold):  # both may say that there is no answer
                        made.kinds[name] = head.model_copy(update={"threshold": other.threshold})
    return made


def drop_pooler(reader: Model) -> None:
    """Takes away a BERT's layer over its first token, and what stands on it."""
    module = cast(Any, reader)
    module.pooler = module.next_sentence = None
    module.options = module.options.model_copy(update={"pooler": False, "next_sentence": False})


def width_of(reader: Model) -> int:
    """D, the width of a reader's states."""
    return int(getattr(reader, "state_dim", None) or cast(Any, reader).options.model_dim)


def has_heads(folder: Path) -> bool:
    """Whether the model of a folder answers by heads."""
    if (folder / RECORD).exists():
        return True
    return (folder / "config.json").exists() and told_in(read_config(folder), folder) is not None


def heads_in(folder: Path) -> tuple[list[Head], HeadOptions]:
    """The heads that a folder's heads.json names; without one, that of the class in its config.json.

    Errors: CheckpointError.
    """
    if not (folder / RECORD).exists():
        config = read_config(folder)
        head = told_in(config, folder)
        assert head is not None, "a folder with heads"
        dropout = config.get("classifier_dropout")
        return [head], HeadOptions(dropout=config.get("hidden_dropout_prob", 0.1) if dropout is None else dropout)
    record = read_json(folder / RECORD)
    try:
        if record["format"] != FORMAT:
            raise ValueError(f"format is {record['format']!r}, expected {FORMAT}")
        heads = [Head.model_validate(one) for one in record["heads"]]
        return heads, HeadOptions.model_validate(record["options"])
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        why = str(error).splitlines()[0]
        raise CheckpointError(f"{folder / RECORD}: does not describe heads ({why}). Copy it again.") from None


def _first_passes(runs: Runs, passes: tuple[int, ...]) -> Runs:
    """[E] the first run of every example."""
    if not passes:
        return runs
    counts = torch.tensor(passes, device=runs.rows.device)
    first = counts.cumsum(0) - counts
    return Runs(*(part[first] for part in runs))


def _single(said: Tensor) -> Tensor:
    """In float32 at least."""
    return said.to(torch.promote_types(said.dtype, torch.float32))


def _by_run(said: Tensor, runs: Runs) -> tuple[Tensor, Tensor]:
    """[B, L, 2] → two of [R, longest run]; −inf beyond a run's end."""
    places, inside = runs.laid(said.shape[1])
    found = torch.where(inside[..., None], _single(said.flatten(0, 1)[places]), -math.inf)
    return found[..., 0], found[..., 1]


def _of_examples(said: Tensor, passes: tuple[int, ...], head: Head) -> Tensor:
    """[R, outputs] → [E, C] for classes, [E] for a number, [E, most choices] for choices.

    What is read several times counts once: the passes of a class or number are added up (GPT-1's similarity).
    """
    said = _single(said)
    counts = torch.tensor(passes or (1,) * len(said), device=said.device)
    example = torch.repeat_interleave(torch.arange(len(counts), device=said.device), counts)
    if head.kind == "choice":
        first = counts.cumsum(0) - counts
        place = torch.arange(len(said), device=said.device) - first[example]
        table = said.new_full((len(counts), int(counts.max())), -math.inf)
        return table.index_put((example, place), said[:, 0])
    added = said if not passes else said.new_zeros(len(counts), said.shape[1]).index_add(0, example, said)
    return added[:, 0] if head.kind == "number" else added
