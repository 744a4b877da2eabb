"""Where sentences and paragraphs end."""

from __future__ import annotations

import re
from collections.abc import Iterator

BORDER = re.compile(
    r"(?<![.!?…])[.!?…]++[\"'”’»)\]]*+(?=\s)"  # the end of a sentence
    r"|[。！？][」』”’）]*+"  # so in scripts without spaces
    r"|\n(?=[ \t]*\n)"  # of a paragraph
    r"|\n(?=[ \t]*(?:[-*+•‣#>|]|\(?\d{1,3}[.)])[ \t])"  # the next line is an item, a heading, a row
)
NO_END = re.compile(
    r"(?:\b(?:[A-Z]|Mr|Mrs|Ms|Dr|St|Prof|Gen|Col|Lt|Sgt|Rev|Hon|Sen|Rep|Gov|Jr|vs|No|Nos|Vol|Fig|pp?|cf|ca|approx"
    r"|e\.g|i\.e|Jan|Feb|Mar|Apr|Aug|Sept?|Oct|Nov|Dec|z\.B|Nr|bzw))\.$"
)
"""What a full stop does not end: initials, titles, common abbreviations."""
LONGEST_ABBREVIATION = 8


def sentences(text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """(start, end) of every sentence of `text[start:end]`, without white space around; together they hold all words."""
    end = len(text) if end is None else end
    at = start
    for match in BORDER.finditer(text, start, end):
        stop = match.end()
        if text[match.start()] == "." and NO_END.search(text, max(at, match.end() - LONGEST_ABBREVIATION), stop):
            continue
        yield from _trimmed(text, at, stop)
        at = stop
    yield from _trimmed(text, at, end)


def sentence_at(text: str, start: int, end: int) -> tuple[int, int]:
    """The place of the sentence (or sentences) that hold `start:end`."""
    holding = [(one, two) for one, two in sentences(text) if one < max(end, start + 1) and two > start]
    return (holding[0][0], holding[-1][1]) if holding else (start, end)


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    if start < end:
        yield start, end
