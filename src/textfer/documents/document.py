"""A text with the pages or lines it came from."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

Unit: TypeAlias = Literal["page", "line", "paragraph"]

MAX_FILE_MIB = 128
"""Larger files are refused before they are read."""
MAX_CHARS = 32_000_000
"""Longer texts are refused: some 16,000 pages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a file says."""

    path: str
    title: str
    text: str
    """With `\\n` as its only line end; all offsets are characters of it."""
    unit: Unit
    """What `numbers` count."""
    starts: Sequence[int]
    """Where each page, line or paragraph begins in `text`, ascending; the first begins at 0."""
    numbers: Sequence[int]
    """Its number in the file, counted from 1."""
    notes: tuple[str, ...] = ()
    """What a reader should know: bytes that were replaced, pages without text."""

    def __post_init__(self) -> None:
        assert len(self.starts) == len(self.numbers) > 0 == self.starts[0], self.path
        assert all(one < two for one, two in pairwise(self.starts)), self.path

    def place(self, start: int, end: int) -> Place:
        """The pages or lines that `start:end` of the text stands on."""
        first = bisect_right(self.starts, start) - 1
        last = bisect_right(self.starts, max(start, end - 1)) - 1
        return Place(self.unit, self.numbers[first], self.numbers[last])

    def marks(self, start: int, end: int) -> tuple[tuple[int, int], ...]:
        """(offset from `start`, number) of every page or line that has a part in `start:end`."""
        first = bisect_right(self.starts, start) - 1
        last = bisect_right(self.starts, max(start, end - 1)) - 1
        return tuple((max(0, self.starts[at] - start), self.numbers[at]) for at in range(first, last + 1))


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a file something stands."""

    unit: Unit
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.unit} {self.first}" if self.first == self.last else f"{self.unit}s {self.first}–{self.last}"


def lines_of(text: str) -> tuple[list[int], range]:
    """`starts` and `numbers` of a text whose lines are those of its file."""
    starts = [0]
    at = text.find("\n")
    while at >= 0:
        if at + 1 < len(text):
            starts.append(at + 1)
        at = text.find("\n", at + 1)
    return starts, range(1, len(starts) + 1)
