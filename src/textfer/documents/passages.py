"""Cuts a text into overlapping passages that begin and end where sentences and paragraphs do."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from textfer.documents.document import MAX_CHARS
from textfer.documents.sentences import sentences
from textfer.errors import ConfigError, DataError
from textfer.tokenizers.base import Tokenizer

PASSAGE_CHARS = 1000
"""Some 220 tokens of English: it fits beside a question into what readers were trained on."""
OVERLAP_CHARS = 200
WINDOW_TOKENS = 448
"""Of a text that is read whole: with the question about what T5 was trained on (512)."""
WINDOW_OVERLAP = 128
WINDOW_SLACK = 32
"""A text that is this little longer is not cut: a window cut out of a text may have other tokens at its ends."""

BLOCK_CHARS = 1 << 18
"""Cut at once: places of tokens take some 200 bytes a character."""

Measure: TypeAlias = Callable[[int, int], int]
"""How long `start:end` of the text is."""


class Passage(NamedTuple):
    """A stretch of a text, in characters."""

    start: int
    end: int


def passages(
    text: str, *, size: int = PASSAGE_CHARS, overlap: int = OVERLAP_CHARS, measure: Measure | None = None
) -> list[Passage]:
    """Passages of at most `size` in order; every word stands in one. Two neighbours share up to `overlap`.

    What is shared are whole sentences, so every sentence that is no longer than `overlap` stands whole in a passage.
    A sentence that is longer is cut between words where it does not fit, and a word where it alone is longer than
    `size`. `measure` counts in other units than characters; what it says of a stretch may not grow when that shrinks.
    Errors: ConfigError for a size that is not above the overlap.
    """
    if not 0 <= overlap < size:
        raise ConfigError(f"passages: got size {size} and overlap {overlap}, expected size > overlap ≥ 0.")
    measure = measure or _characters
    units = list(_units(text, max(1, overlap or size), measure))
    ends_paragraph = {at for at, (one, two) in enumerate(pairwise(units)) if text.count("\n", one[1], two[0]) > 1}
    found: list[Passage] = []
    first = new = 0
    while first < len(units):
        last = _fill(units, (first, new), size, measure, ends_paragraph)
        found.append(Passage(units[first][0], units[last][1]))
        if last + 1 == len(units):
            break
        after = last + 1
        while (
            after - 1 > first
            and measure(units[after - 1][0], units[last][1]) <= overlap
            and measure(units[after - 1][0], units[last + 1][1]) <= size  # else the next would hold nothing new
        ):
            after -= 1
        first, new = after, last + 1
    return found


def token_measure(text: str, tokenizer: Tokenizer) -> Measure:
    """How many tokens of the text begin in a stretch of it."""
    _, places = tokenizer.encode_places(text)
    starts: list[int] = places[:, 0].tolist()
    starts.sort()
    return lambda start, end: bisect_left(starts, end) - bisect_left(starts, start)


def windows(text: str, tokenizer: Tokenizer, *, size: int = WINDOW_TOKENS) -> list[Passage]:
    """Overlapping passages that a model can read beside a question, by its own tokens; one where the text is short."""
    whole = [Passage(0, len(text))]
    if len(text) <= min(size, WINDOW_TOKENS):
        return whole
    if len(text) <= BLOCK_CHARS:
        measure = token_measure(text, tokenizer)
        if measure(0, len(text)) <= size + WINDOW_SLACK:
            return whole
    found: list[Passage] = []
    at, length = 0, BLOCK_CHARS
    while at < len(text):
        block = text[at : at + length]
        cut = passages(
            block, size=size, overlap=min(WINDOW_OVERLAP, size // 3), measure=token_measure(block, tokenizer)
        )
        ends = at + length >= len(text)
        if not ends and len(cut) == 1:  # hardly a token in all that
            length *= 2
            continue
        found += [Passage(at + start, at + end) for start, end in (cut if ends else cut[:-1])]
        at += cut[-1].start if cut and not ends else length  # the last of a block would be longer in the whole
        length = BLOCK_CHARS
    return found or whole


def check_size(text: str, *, where: str) -> None:
    """Refuses a text that would take days to read. Errors: DataError."""
    if len(text) > MAX_CHARS:
        raise DataError(
            f"{where}: the text has {len(text):,} characters, expected {MAX_CHARS:,} at most. Cut it into files of a "
            "folder, which is searched first (textfer ask --docs)."
        )


def _fill(
    units: list[tuple[int, int]], begin: tuple[int, int], size: int, measure: Measure, ends_paragraph: set[int]
) -> int:
    """The last unit of a passage: the last that fits, or in its second half the last that ends a paragraph.

    `begin`: its first unit, and the first that no passage before it holds.
    """
    first, new = begin
    last = first
    while last + 1 < len(units) and measure(units[first][0], units[last + 1][1]) <= size:
        last += 1
    if last + 1 == len(units):
        return last
    for at in range(last, max(first, new - 1), -1):
        if 2 * measure(units[first][0], units[at][1]) < size:
            break
        if at in ends_paragraph:
            return at
    return last


def _units(text: str, most: int, measure: Measure) -> Iterator[tuple[int, int]]:
    """Sentences; of those longer than `most`, pieces of so much at most."""
    for start, end in sentences(text):
        while measure(start, end) > most:
            cut = _furthest(start, end, most, measure)
            space = text.rfind(" ", start + 1, cut + 1)
            stop = space if space > start and text[start:space].strip() else cut
            yield start, stop
            start = stop
            while start < end and text[start].isspace():
                start += 1
        if start < end:
            yield start, end


def _furthest(start: int, end: int, most: int, measure: Measure) -> int:
    """The largest end with at most that much; one character at least."""
    low, high = start + 1, end
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if measure(start, middle) <= most else (low, middle - 1)
    return low


def _characters(start: int, end: int) -> int:
    return end - start
