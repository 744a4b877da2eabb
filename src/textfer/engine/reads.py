"""Inputs that were read lately: who asks the same again finds it read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, final

from textfer.batch import Int32
from textfer.engine.slots import Past, pasts_of
from textfer.generate import Predictor

T = TypeVar("T")
R = TypeVar("R")
Key = tuple[str | None, bytes]
"""(adapter, ids) of an input: whoever reads the same ids under the same weights gets the same numbers."""


@final
class Shelf:
    """What was read, up to so many bytes; what was not asked for longest goes first."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self.num_found = 0
        """How often something was there."""
        self._pasts: OrderedDict[Key, Past] = OrderedDict()

    def __len__(self) -> int:
        return len(self._pasts)

    def get(self, key: Key) -> Past | None:
        """What was read under that key, if it is still there."""
        past = self._pasts.get(key)
        if past is not None:
            self._pasts.move_to_end(key)
            self.num_found += 1
        return past

    def put(self, key: Key, past: Past) -> None:
        """Keeps it, and lets go of others until all fit."""
        if past.num_bytes > self.max_bytes or key in self._pasts:
            return
        self._pasts[key] = past
        self.num_bytes += past.num_bytes
        while self.num_bytes > self.max_bytes:
            self.num_bytes -= self._pasts.popitem(last=False)[1].num_bytes


def read_inputs(
    predictor: Predictor, inputs: Sequence[Int32], adapter: str | None, *, shelf: Shelf, max_tokens: int
) -> list[Past | Exception]:
    """Each input as the model read it, or what went wrong with it. Equal inputs are read once.

    Those of like length are read together, up to `max_tokens` with padding.
    """
    keys = [(adapter, ids.tobytes()) for ids in inputs]
    found: dict[Key, Past | Exception] = {}
    new: dict[Key, Int32] = {}
    for key, ids in zip(keys, inputs, strict=True):
        if key in found or key in new:
            continue
        if (kept := shelf.get(key)) is not None:
            found[key] = kept
        else:
            new[key] = ids

    def read(some: Sequence[Key]) -> list[Past]:
        sequences = [new[key] for key in some]
        return pasts_of(predictor.model.begin(predictor.batch_of(sequences)), [len(ids) for ids in sequences])

    order = sorted(new, key=lambda key: -len(new[key]))
    for group in grouped([len(new[key]) for key in order], max_tokens):
        some = [order[number] for number in group]
        for key, past in zip(some, each(read, some), strict=True):
            found[key] = past
            if isinstance(past, Past):
                shelf.put(key, past)
    return [found[key] for key in keys]


def grouped(lens: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Numbers of texts that are read together, up to `max_tokens` with padding; `lens` fall from first to last."""
    group: list[int] = []
    for number in range(len(lens)):
        if group and (len(group) + 1) * lens[group[0]] > max_tokens:
            yield group
            group = []
        group.append(number)
    if group:
        yield group


def each(act: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T]) -> list[R | Exception]:
    """The result of every item of one call; where that fails, halves are tried, so that each has its own error."""
    try:
        found = list(act(items))
        assert len(found) == len(items), "a result for every item"
    except Exception as error:
        if len(items) == 1:
            return [error]
        half = len(items) // 2
        return [*each(act, items[:half]), *each(act, items[half:])]
    return list(found)
