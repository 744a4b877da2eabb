"""What flows: row → example → ids → batch → output. Frozen, and nothing else passes between the stages.

Letters for shapes, here and everywhere: B rows of a batch, S input tokens, T target tokens, L tokens of either side,
D model width, H heads, K width of one head, F feed-forward width, V vocabulary, N tokens of all rows laid end to end,
E examples, C classes, M tokens that count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # torch takes seconds to import and only models need it
    import torch
    from torch import Tensor

Row: TypeAlias = Mapping[str, Any]
Int32: TypeAlias = NDArray[np.int32]
Float32: TypeAlias = NDArray[np.float32]

NO_TARGET = -100
"""Where a head need not say anything (torch's own `ignore_index`); of a number, NaN says the same."""


class Span(NamedTuple):
    """A labelled stretch of one of an example's fields, in characters, end exclusive."""

    field: str
    start: int
    end: int
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One task instance said in text."""

    inputs: str
    """What the model reads; empty for plain text."""
    targets: str
    """What it should write."""
    origin: str
    """Where it comes from, for messages: `"squad/train:4711"`."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What only the metric may see: all gold answers, ids, groups."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """The ordered parts (question, context / premise, hypothesis) that encoders read."""
    spans: tuple[Span, ...] = ()
    """Extractive answers or tags, as places in `fields`."""
    number: float | None = None
    """The target of a regression."""


@dataclass(frozen=True, slots=True)
class Ids:
    """One example in token ids, unpadded, with end marks where the objective wants them."""

    inputs: Int32
    """[S]; empty when nothing is read."""
    targets: Int32
    """[T]"""
    weights: Float32 | None = None
    """[T] how much each target counts; None = 1 everywhere."""
    origin: str = ""
    types: Int32 | None = None
    """[S] which sentence of a pair each input token belongs to; None = 0, the first, everywhere."""
    heads: Mapping[str, Any] = field(default_factory=dict)
    """What each head should say: one number, or [S] one for every input token."""
    cuts: tuple[int, ...] = ()
    """Where in `inputs` the example is read anew, once for each of its choices; () = it is read once."""

    @property
    def num_targets(self) -> float:
        """What the loss is divided by: the weights of the targets; where only heads learn, what they should say."""
        if self.weights is not None:
            return float(self.weights.sum(dtype=np.float64))
        return float(len(self.targets) or sum(_num_told(np.asarray(value)) for value in self.heads.values()))


def _num_told(values: NDArray[Any]) -> int:
    left_out = np.isnan(values) if values.dtype.kind == "f" else values == NO_TARGET
    return values.size - int(left_out.sum())


@dataclass(frozen=True, slots=True)
class Borders:
    """What the pieces of a vocabulary tell of words and sentences, [num_ids] each."""

    begins: NDArray[np.bool_]
    """A piece begins a word."""
    ends: NDArray[np.bool_]
    """It is a final mark (`.`, `!`, `?` and the like), alone or with what closes behind it."""
    closes: NDArray[np.bool_]
    """It is a mark that closes: quotes and brackets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Specials:
    """The ids with a meaning of their own. None = the vocabulary has no such token."""

    pad: int
    eos: int
    unk: int | None = None
    bos: int | None = None
    mask: int | None = None
    cls: int | None = None
    sep: int | None = None
    sentinels: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    """The ids of `<extra_id_0>`, `<extra_id_1>`, … in that order (T5 counts them down from the top)."""
    num_ids: int = 0
    """Ids that stand for something; 0 = not known."""
    inside: NDArray[np.bool_] | None = None
    """[num_ids] whether a piece goes on with the word of the piece before it; None = pieces do not tell."""
    borders: Borders | None = None
    """Where words and sentences begin and end; None = pieces do not tell."""


class Run(NamedTuple):
    """One example's place in a packed side: tokens `start:end` of row `row`."""

    row: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Side:
    """One stack's tokens."""

    ids: Tensor
    """[B, L] int64; pad where nothing stands."""
    segments: Tensor
    """[B, L] int64; 0 = padding, examples of one row count from 1."""
    positions: Tensor
    """[B, L] int64; starts at 0 in every segment."""
    runs: tuple[Run, ...]
    """The same as `segments`, example by example; run k of the encoder belongs to run k of the decoder."""
    types: Tensor | None = None
    """[B, L] int64; which sentence of a pair a token belongs to. None = 0 everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Rows for one forward pass. Loss counts where `weights` > 0."""

    encoder: Side | None = None
    decoder: Side | None = None
    prefix: Tensor | None = None
    """[B, T] bool: decoder tokens that every token of their segment may see (prefix LM)."""
    targets: Tensor | None = None
    """[B, T] int64"""
    weights: Tensor | None = None
    """[B, T] float32"""
    heads: Mapping[str, Tensor] = field(default_factory=dict)
    """Targets of class, span, tag and number heads: [examples] in the order of the runs, or [B, L] one a token."""
    head_weights: Tensor | None = None
    """[examples] how much each example's heads count; None = 1."""
    passes: tuple[int, ...] = ()
    """How many runs each example has; () = one."""
    origins: tuple[str, ...] = ()
    """Where the examples come from, example by example."""

    @property
    def num_targets(self) -> float:
        """What the loss is divided by: as `Ids.num_targets` of all examples."""
        if self.weights is not None:
            return float(self.weights.sum())
        return float(sum(_num_told(told.cpu().numpy()) for told in self.heads.values()))

    @property
    def num_tokens(self) -> int:
        """Tokens that are not padding, both sides."""
        return sum(run.end - run.start for side in (self.encoder, self.decoder) if side for run in side.runs)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""

        def move(value: Any) -> Any:
            if isinstance(value, Side):
                return Side(move(value.ids), move(value.segments), move(value.positions), value.runs, move(value.types))
            if isinstance(value, Mapping):
                return {name: move(part) for name, part in value.items()}
            return value.to(device, non_blocking=True) if hasattr(value, "to") else value

        return replace(self, **{part.name: move(getattr(self, part.name)) for part in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a model says of a batch."""

    logits: Tensor | None = None
    """[B, T, V]"""
    hidden: Tensor | None = None
    """[B, L, D] last hidden states of the stack that answers"""
    heads: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """What the loss of a batch with heads is made of, from one pass."""

    heads: Mapping[str, Tensor]
    """Logits [E, C], or [B, L, C] one for every token; or numbers [E]. As the batch's own `heads`, by name."""
    states: tuple[Tensor, Tensor, Tensor] | None = None
    """(states [M, D] ready for `readout`, targets [M], weights [M]) of the words that are named beside."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss not yet divided: micro-batches and processes add up, and one division by the global count follows."""

    sum: Tensor
    count: Tensor
