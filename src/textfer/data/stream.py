"""The training stream: which example stands where, as a pure function of (seed, position).

Nothing here depends on how many processes or threads there are, and nothing is replayed to resume. Position p of the
mixture → task and draw number (`Schedule`); draw → epoch and example, by a seeded permutation; noise → by the
example's address. Positions are handled in blocks of `BLOCK`; packing never crosses a block, so a place in the stream
is two integers (`Cursor`).
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from queue import SimpleQueue
from typing import NamedTuple, Protocol, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from textfer.batch import Batch, Ids, Int32, Specials
from textfer.data.layout import LAYOUTS, Lens, pack
from textfer.data.schedule import Schedule
from textfer.data.tokens import TokenTable
from textfer.draws import Draws, address, below, permute, stem
from textfer.errors import DataError
from textfer.objectives import Objective

T = TypeVar("T")
BLOCK = 1024
PREFETCH_STEPS = 4
JOIN_SECONDS = 30.0
"""The longest wait for the prefetching thread to finish the block it is at."""


class Cursor(NamedTuple):
    """A place in the stream: the next row to be read."""

    block: int = 0
    row: int = 0


class Step(NamedTuple):
    """What one optimiser step reads: this process's batches, and what every process knows of all rows."""

    batches: list[Batch]
    """This process's micro-batches."""
    cursor: Cursor
    """The place after the step."""
    num_targets: float
    """`Ids.num_targets` of all rows of the step, in all processes: what the loss is divided by."""
    num_tokens: int
    """Tokens of all rows, both sides; targets that stand where the inputs do are no further tokens."""


class Part(Protocol):
    """One task's examples in ids, any of them at any time."""

    @property
    def name(self) -> str:
        """For messages and random addresses: `"squad/train"`."""
        ...

    def __len__(self) -> int: ...

    def ids(self, indices: Sequence[int], keys: NDArray[np.uint64]) -> list[Ids]:
        """The examples with end marks, trimmed; whatever is random in example k is drawn from `keys[k]`."""
        ...

    def mean_tokens(self) -> float:
        """Tokens of an example on average, both sides, as `ids` gives them."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Supervised:
    """Inputs and targets as they are; the longer ones lose their end, never their end mark."""

    table: TokenTable
    lens: Lens
    eos: int

    @property
    def name(self) -> str:
        """The table's."""
        return self.table.name

    def __len__(self) -> int:
        return len(self.table)

    def mean_tokens(self) -> float:
        """Tokens of an example on average, both sides, cut and with end marks."""
        pairs = (("inputs", self.lens.inputs), ("targets", self.lens.targets))
        return sum(float(np.minimum(self.table.lens(side) + 1, most).mean()) for side, most in pairs)

    def num_cut(self) -> tuple[int, int]:
        """How many inputs and targets are too long for `lens`."""
        cut = (self.table.lens("inputs") >= self.lens.inputs, self.table.lens("targets") >= self.lens.targets)
        return int(cut[0].sum()), int(cut[1].sum())

    def ids(self, indices: Sequence[int], keys: NDArray[np.uint64]) -> list[Ids]:
        made = [
            Ids(
                ended(self.table.get("inputs", index), self.lens.inputs, self.eos),
                ended(self.table.get("targets", index), self.lens.targets, self.eos),
                origin=self.table.origin(index),
            )
            for index in map(int, indices)
        ]
        self.table.release()
        return made


def ended(tokens: Int32, max_len: int, eos: int) -> Int32:
    """`tokens` cut so that the end mark fits into `max_len`, and the end mark (seqio's append_eos_after_trim)."""
    length = min(len(tokens), max_len - 1)
    whole = np.empty(length + 1, np.int32)
    whole[:length] = tokens[:length]
    whole[length] = eos
    return whole


@final
class Denoised:
    """Plain text cut into pieces of the objective's raw length, each given to the objective.

    Documents are joined first where the objective says so; the cuts are the same in every epoch, the noise is not.
    """

    def __init__(self, table: TokenTable, objective: Objective, lens: Lens, specials: Specials) -> None:
        self.name = table.name
        self._table = table
        self._objective = objective
        self._specials = specials
        self._lens = lens
        self.raw_len = objective.raw_len(lens.inputs, lens.targets)
        self._document_eos = specials.eos if objective.document_eos else None
        if objective.joins:
            total = table.num_tokens() + (len(table) if objective.document_eos else 0)
            self._num = total // self.raw_len + (total % self.raw_len > 1)
            self._ends = None
        else:
            lengths = table.lens("targets") + objective.document_eos
            pieces = lengths // self.raw_len + (lengths % self.raw_len > 1)
            self._ends = np.cumsum(pieces)
            self._num = int(self._ends[-1])
        if not self._num:
            raise DataError(
                f"{self.name}: too little text for one piece of {self.raw_len} tokens. Add text or lower inputs_len."
            )

    def __len__(self) -> int:
        return self._num

    def ids(self, indices: Sequence[int], keys: NDArray[np.uint64]) -> list[Ids]:
        pieces = [self.piece(int(index)) for index in indices]
        self._table.release()
        by_len: dict[int, list[int]] = {}
        for number, (tokens, _) in enumerate(pieces):
            by_len.setdefault(len(tokens), []).append(number)
        made: dict[int, Ids] = {}
        for numbers in by_len.values():
            tokens = np.stack([pieces[number][0] for number in numbers])
            made.update(zip(numbers, self._objective(tokens, self._specials, Draws(keys[numbers])), strict=True))
        return [self._finished(made[number], pieces[number][1]) for number in range(len(pieces))]

    def mean_tokens(self) -> float:
        """Tokens of the first piece, both sides; but for the ends of documents, pieces are alike."""
        (first,) = self.ids([0], np.zeros(1, np.uint64))
        return float(len(first.inputs) + len(first.targets) * (not self._objective.in_place))

    def piece(self, index: int) -> tuple[Int32, str]:
        """(the text's own tokens, where they stand) of one piece, before the objective."""
        if self._ends is None:
            start = index * self.raw_len
            return self._table.joined(start, start + self.raw_len, eos=self._document_eos), f"{self.name}:token {start}"
        document = bisect_right(self._ends, index)
        start = (index - int(self._ends[document - 1] if document else 0)) * self.raw_len
        tokens = self._table.get("targets", document)
        if self._document_eos is not None:
            tokens = np.append(tokens, np.int32(self._document_eos))
        return tokens[start : start + self.raw_len], self._table.origin(document)

    def _finished(self, ids: Ids, origin: str) -> Ids:
        inputs, targets = ids.inputs, ids.targets
        weights = ids.weights
        if self._objective.eos[0]:
            inputs = ended(inputs, self._lens.inputs, self._specials.eos)
        if self._objective.eos[1]:
            targets = ended(targets, self._lens.targets, self._specials.eos)
            weights = None if weights is None else np.append(weights[: len(targets) - 1], np.float32(1))
        return Ids(inputs, targets, weights, origin)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """How rows are made of examples, and steps of rows."""

    seed: int
    layout: str
    lens: Lens
    specials: Specials
    batch_size: int
    """Rows of one optimiser step, over all processes and micro-batches."""
    pack: bool = False
    shuffle: bool = True
    fixed: bool = False
    """Pad every batch to `lens`."""
    micro_batch_size: int | None = None
    """Rows of one forward pass; None = all rows of this process."""


@final
class Stream:
    """Batches of a mixture, from any place on."""

    def __init__(self, parts: Sequence[Part], rates: Sequence[float], options: StreamOptions) -> None:
        assert len(parts) == len(rates) > 0
        self.parts = parts
        self.rates = list(rates)
        self.options = options
        self._schedule = Schedule(rates)
        self._sizes = np.array([len(part) for part in parts], np.int64)
        self._orders = np.array([stem(options.seed, f"order/{part.name}") for part in parts], np.uint64)
        self._noises = np.array([stem(options.seed, part.name) for part in parts], np.uint64)

    def places(self, positions: NDArray[np.int64]) -> list[tuple[int, int, int]]:
        """(task number, epoch, example number) of each stream position."""
        tasks, draws = self._schedule(positions)
        sizes = self._sizes[tasks]
        epochs, indices = np.divmod(draws, sizes)
        if self.options.shuffle:
            indices = permute(indices, sizes, below(self._orders[tasks], epochs, 0))
        return list(zip(tasks.tolist(), epochs.tolist(), indices.tolist(), strict=True))

    def block(self, number: int) -> list[list[Ids]]:
        """The rows of block `number`, each a list of the examples that share it."""
        options = self.options
        places = self.places(np.arange(number * BLOCK, (number + 1) * BLOCK))
        examples: list[Ids | None] = [None] * len(places)
        tasks, epochs, indices = np.array(places, np.int64).T
        keys = below(self._noises[tasks], epochs, indices)
        for task in np.unique(tasks):
            members = np.flatnonzero(tasks == task)
            made = self.parts[task].ids(indices[members].tolist(), keys[members])
            for at, ids in zip(members.tolist(), made, strict=True):
                examples[at] = ids
        whole = [ids for ids in examples if ids is not None]
        assert len(whole) == BLOCK
        if not options.pack:
            return [[ids] for ids in whole]
        together = LAYOUTS[options.layout].together
        written = LAYOUTS[options.layout].answers == "written"
        lens = [len(ids.inputs) for ids in whole], [len(ids.targets) if written else 0 for ids in whole]
        return [[whole[at] for at in group] for group in pack(*lens, options.lens, together=together)]

    def rows(self, cursor: Cursor) -> Iterator[tuple[list[Ids], Cursor]]:
        """Rows from `cursor` on, each with the place after it."""
        block, row = cursor
        while True:
            rows = self.block(block)
            for at in range(row, len(rows)):
                yield rows[at], Cursor(block, at + 1) if at + 1 < len(rows) else Cursor(block + 1, 0)
            block, row = block + 1, 0

    def steps(self, cursor: Cursor, *, rank: int = 0, world: int = 1) -> Iterator[Step]:
        """Optimiser steps from `cursor` on, without end: every `world`-th row is process `rank`'s.

        Rows of a step are shuffled: tasks take turns in the stream, and no process is to get always the same ones.
        """
        rows = self.rows(cursor)
        written = LAYOUTS[self.options.layout].answers == "written"
        while True:
            step: list[list[Ids]] = []
            key = address(self.options.seed, "rows", cursor.block, np.array([cursor.row]))
            while len(step) < self.options.batch_size:
                row, cursor = next(rows)
                step.append(row)
            if self.options.shuffle:
                order = permute(np.arange(len(step)), len(step), int(key[0]))
                step = [step[at] for at in order.tolist()]
            examples = [ids for row in step for ids in row]
            yield Step(
                [self.arrange(part) for part in _split(step[rank::world], self.options.micro_batch_size)],
                cursor,
                num_targets=sum(ids.num_targets for ids in examples),
                num_tokens=sum(len(ids.inputs) + len(ids.targets) * written for ids in examples),
            )

    def arrange(self, rows: Sequence[Sequence[Ids]]) -> Batch:
        """Rows laid out for the architecture."""
        options = self.options
        return LAYOUTS[options.layout].arrange(rows, options.lens, options.specials, fixed=options.fixed)


def _split(rows: list[list[Ids]], size: int | None) -> list[list[list[Ids]]]:
    cuts = [*range(0, len(rows), size or max(1, len(rows))), len(rows)]
    return [rows[start:stop] for start, stop in pairwise(cuts) if stop > start]


def prefetched(items: Iterator[T], *, ahead: int = PREFETCH_STEPS) -> Generator[T, None, None]:
    """The same items, made by a thread of their own up to `ahead` before they are asked for. Order is untouched.

    An exception of `items` is raised where its item would stand. The thread ends when the generator is closed.
    """
    queue: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()
    room = threading.Semaphore(ahead)
    stopped = threading.Event()

    def work() -> None:
        try:
            for item in items:
                queue.put((item,))
                room.acquire()
                if stopped.is_set():
                    return
            queue.put(None)
        except BaseException as error:
            queue.put(error)

    thread = threading.Thread(target=work, daemon=True, name="textfer-prefetch")
    thread.start()
    try:
        while (found := queue.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            room.release()
            yield found[0]
    finally:
        stopped.set()
        room.release()
        thread.join(timeout=JOIN_SECONDS)
