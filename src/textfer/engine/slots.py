"""Sequences that are written beside each other, each from its own input; they come and go at any step.

Letters: n sequences, H heads, K width of one head, S tokens of an input, P tokens that a decoder was given to read, V
vocabulary, R rows of a cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from textfer.models import Generator
from textfer.models.cache import FIRST_ROOM, Cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """One input that was read, as a cache holds it."""

    keys: tuple[Tensor, ...]
    """Per layer [H, P, K]; P is 0 where an encoder reads."""
    values: tuple[Tensor, ...]
    cross: tuple[tuple[Tensor, Tensor], ...]
    """Per layer ([1, H, S, K], [1, H, S, K]); empty where there is no encoder."""
    logits: Tensor | None
    """[V] what comes next; None where the start mark was not read yet."""
    num_tokens: int
    """S or P."""

    @property
    def num_bytes(self) -> int:
        """Of memory."""
        parts = [*self.keys, *self.values, *(part for pair in self.cross for part in pair)]
        return sum(part.nbytes for part in parts) + (0 if self.logits is None else self.logits.nbytes)


def pasts_of(cache: Cache, lens: Sequence[int]) -> list[Past]:
    """The rows of a cache that `begin` made, apart; `lens` are the tokens of their inputs. They share no memory."""
    found = []
    starts = [0] * len(lens) if cache.starts is None else cache.starts.tolist()
    before = cache.cross_keys[0].shape[2] - max(lens) if cache.cross_keys else 0  # a soft prompt, in every row
    for row, start in enumerate(starts):
        length = lens[row] + before
        found.append(
            Past(
                keys=tuple(part[row, :, start : cache.length].clone() for part in cache.keys),
                values=tuple(part[row, :, start : cache.length].clone() for part in cache.values),
                cross=tuple(
                    (keys[row : row + 1, :, :length].clone(), values[row : row + 1, :, :length].clone())
                    for keys, values in zip(cache.cross_keys, cache.cross_values, strict=True)
                ),
                logits=None if cache.logits is None else cache.logits[row].clone(),
                num_tokens=length if cache.cross_keys else cache.length - start,
            )
        )
    return found


@final
class Slots:
    """The memory of the sequences that are written now, in the form that the models' `step` takes.

    What a decoder wrote lies in tensors with room for more rows than there are; a sequence that leaves is replaced by
    the last one, so nothing else moves. All rows end at the same place, as `Cache` has it, and begin where they may:
    what no row needs any more at the left is cut off now and then. Inputs of encoders lie apart and are not copied.
    """

    def __init__(self, model: Generator) -> None:
        self.model = model
        self._pasts: list[Past] = []
        self._lens: list[int] = []
        """Tokens that each row has in the memory."""
        self._keys: list[Tensor] = []
        """Per layer [R, H, room, K], of which the first n rows are in use."""
        self._values: list[Tensor] = []
        self._length = 0
        self._cache: Cache | None = None
        """Views of the above; None when they are to be made anew."""

    def __len__(self) -> int:
        return len(self._pasts)

    @property
    def length(self) -> int:
        """Positions that every row takes."""
        return self._length

    @property
    def num_read(self) -> int:
        """Tokens of all inputs that are held apart."""
        return sum(past.num_tokens for past in self._pasts)

    def join(self, past: Past) -> None:
        """A sequence comes in, at the end."""
        given, row = past.keys[0].shape[1], len(self)
        if not self._keys:
            self._begin(past, room=max(FIRST_ROOM, given + 1))
        self._make_room(row + 1, max(given, self._length) + 1)
        if given > self._length:
            self._shift(given - self._length)
        for stored, parts in ((self._keys, past.keys), (self._values, past.values)):
            for old, new in zip(stored, parts, strict=True):
                old[row] = 0  # what stands before its start counts nothing, but nothing times "not a number" is none
                old[row, :, self._length - given : self._length] = new
        self._pasts.append(past)
        self._lens.append(given)
        self._cache = None

    def leave(self, row: int) -> None:
        """A sequence goes; the last one takes its place."""
        last = len(self) - 1
        if row != last:
            for stored in (*self._keys, *self._values):
                stored[row, :, : self._length] = stored[last, :, : self._length]
            self._pasts[row], self._lens[row] = self._pasts[last], self._lens[last]
        self._pasts.pop()
        self._lens.pop()
        self._cache = None
        if not self._pasts:
            self._keys, self._values, self._length = [], [], 0
        elif 2 * (unused := self._length - max(self._lens)) >= self._length > 0:
            self._shift(-unused)

    def step(self, ids: Sequence[int]) -> Tensor:
        """The token that each sequence wrote → [n, V] logits of its next one."""
        if self._cache is None or self._length == self._room:
            self._make_room(len(self), self._length + 1)
            self._cache = self._view()
        cache = self._cache
        logits = self.model.step(torch.tensor(ids, device=self._keys[0].device)[:, None], cache)
        self._length = cache.length
        self._lens = [length + 1 for length in self._lens]
        return logits

    @property
    def _room(self) -> int:
        return self._keys[0].shape[2] if self._keys else 0

    def _view(self) -> Cache:
        """The rows in use. `near` depends on the room alone, so it is made anew by whoever needs it."""
        count, device = len(self), self._keys[0].device
        layers = range(len(self._pasts[0].cross))
        return Cache(
            keys=[part[:count] for part in self._keys],
            values=[part[:count] for part in self._values],
            cross_apart=[[past.cross[layer] for past in self._pasts] for layer in layers],
            starts=torch.tensor([self._length - length for length in self._lens], device=device),
            length=self._length,
        )

    def _begin(self, past: Past, *, room: int) -> None:
        """The first sequence of an empty memory."""
        layers = range(len(past.keys))
        heads, _, width = past.keys[0].shape
        self._keys, self._values = ([past.keys[0].new_zeros(1, heads, room, width) for _ in layers] for _ in range(2))

    def _make_room(self, rows: int, positions: int) -> None:
        """Makes the tensors larger where they must be: twice as large, so that it happens seldom."""
        have, room = self._keys[0].shape[0], self._room
        if rows <= have and positions <= room:
            return
        rows = have if rows <= have else max(rows, 2 * have)
        positions = room if positions <= room else max(positions, 2 * room)
        for stored in (self._keys, self._values):
            for layer, old in enumerate(stored):
                wider = old.new_zeros(rows, old.shape[1], positions, old.shape[3])
                wider[: len(self), :, : self._length] = old[: len(self), :, : self._length]
                stored[layer] = wider
        self._cache = None

    def _shift(self, by: int) -> None:
        """Moves all rows by so many positions to the right; to the left where it is negative."""
        length = self._length + by
        for part in (*self._keys, *self._values):
            rows = part[: len(self), :, max(-by, 0) : self._length].clone()
            part[: len(self), :, : max(by, 0)] = 0
            part[: len(self), :, max(by, 0) : length] = rows
        self._length = length
        self._cache = None
