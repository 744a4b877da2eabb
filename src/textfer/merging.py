"""What a reader says of several passages, put together: one answer, its score, alternatives, or honestly none.

Readers give shares among what they found in one passage, and such shares cannot be compared: a passage without the
answer also has a best stretch, with nearly all the share of its own. What can be compared is how much likelier an
answer is than "no answer" in the same passage: its odds. "No answer" is the same statement in all and weighs 1:

    share of answer c = odds(c) / (1 + Σ odds of all answers of all passages)

For a single passage that is the reader's own share again. The same place read in two overlapping passages counts once,
with its higher odds; the same words at several places count together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

from textfer.calibration import SURE, log_odds

ARTICLES = re.compile(r"\b(a|an|the)\b")
NO_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """An answer that a reader found in a passage."""

    text: str
    log_odds: float
    """Natural log of its probability over that of "no answer" in this passage."""
    start: int | None = None
    """Where it stands in the passage, in characters; None when it does not stand there word for word."""
    end: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a reader said of one passage."""

    candidates: tuple[Named, ...]
    none: bool = False
    """The reader decided that the passage holds no answer; candidates are then only alternatives."""
    other: float = 0.0
    """Odds of the answers that it did not name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a passage comes from: places of one source can be the same place."""

    source: Hashable
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """An answer with its share among all answers of all passages and "no answer"."""

    text: str
    share: float
    passage: int
    """The number of the passage in which it is likeliest."""
    start: int | None
    """Where it stands in that passage."""
    end: int | None
    num_places: int
    """Different places that say so."""
    offered: bool
    """Some reader gave it as the answer of a passage, not only as an alternative to none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """All passages together."""

    answers: tuple[Weighed, ...]
    """Likeliest first; of answers that overlap in the text only the likeliest."""
    no_answer: float
    """The share of "no answer"."""

    def best(self, *, min_share: float = 0.0) -> Weighed | None:
        """The likeliest answer that was offered; None = no answer. Less likely ones than `min_share` are not given."""
        return next((one for one in self.answers if one.offered and one.share >= min_share), None)


def heard(text: str | None, probability: float, *, start: int | None = None, end: int | None = None) -> Heard:
    """What a reader said that gives one answer with its probability; None for "no answer"."""
    if text is None:
        return Heard(candidates=(), none=True, other=math.exp(-log_odds(probability)))
    return Heard(candidates=(Named(text=text, log_odds=log_odds(probability), start=start, end=end),))


def merge(passages: Sequence[Heard], origins: Sequence[Origin]) -> Merged:
    """The answers of all passages by their share. Ties: the passage that comes first, then the earlier place."""
    places = _places(passages, origins)
    logs = [place.log_odds for place in places]
    logs += [math.log(one.other) for one in passages if one.other > 0.0]
    top = max([0.0, *logs])
    whole = math.exp(-top) + sum(math.exp(one - top) for one in logs)
    groups: dict[str, list[_Place]] = {}
    for place in places:
        groups.setdefault(_same(place.text), []).append(place)
    weighed = []
    for some in groups.values():
        best = min(some, key=lambda place: (-place.log_odds, place.passage, place.start or 0))
        weighed.append(
            Weighed(
                text=best.text,
                share=sum(math.exp(place.log_odds - top) for place in some) / whole,
                passage=best.passage,
                start=best.start,
                end=best.end,
                num_places=_count_apart(some, origins),
                offered=any(place.offered for place in some),
            )
        )
    weighed.sort(key=lambda one: (-one.share, one.passage, one.start or 0))
    return Merged(answers=tuple(_apart(weighed, origins)), no_answer=math.exp(-top) / whole)


def merge_windows(said: Sequence[Heard], starts: Sequence[int]) -> Merged:
    """The answers of all windows of one text; `starts` says where each begins. Their places are those in the text."""
    merged = merge(said, [Origin(source=0, offset=start) for start in starts])
    placed = [
        one if one.start is None or one.end is None else replace(one, start=one.start + at, end=one.end + at)
        for one, at in ((one, starts[one.passage]) for one in merged.answers)
    ]
    return replace(merged, answers=tuple(placed))


def joined(said: Sequence[Heard], starts: Sequence[int]) -> Heard:
    """What was heard of all windows of one text, as if it had been read at once."""
    named = [
        one if one.start is None or one.end is None else replace(one, start=one.start + at, end=one.end + at)
        for passage, at in zip(said, starts, strict=True)
        for one in passage.candidates
    ]
    others = sum(one.other for one in said)
    return Heard(candidates=tuple(named), none=all(one.none for one in said), other=others)


@dataclass(frozen=True, slots=True)
class _Place:
    text: str
    log_odds: float
    passage: int
    start: int | None
    end: int | None
    offered: bool


def _places(passages: Sequence[Heard], origins: Sequence[Origin]) -> list[_Place]:
    """Every place once, with its highest odds."""
    found: dict[Hashable, _Place] = {}
    for number, (said, origin) in enumerate(zip(passages, origins, strict=True)):
        for one in said.candidates:
            log_odds = min(SURE, max(-SURE, one.log_odds))
            key: Hashable = (number, _same(one.text))
            if one.start is not None and one.end is not None:
                key = (origin.source, origin.offset + one.start, origin.offset + one.end)
            known = found.get(key)
            offered = not said.none or (known is not None and known.offered)
            if known is None or log_odds > known.log_odds:
                found[key] = _Place(one.text, log_odds, number, one.start, one.end, offered)
            elif offered and not known.offered:
                found[key] = _Place(known.text, known.log_odds, known.passage, known.start, known.end, True)
    return list(found.values())


def _count_apart(places: Sequence[_Place], origins: Sequence[Origin]) -> int:
    """How many there are when those that overlap ("mill" in "the mill") are one."""
    ends: dict[Hashable, int] = {}
    count = 0
    spots = ((origins[one.passage], one.start, one.end) for one in places)
    located = [
        (origin, start + origin.offset, end + origin.offset)
        for origin, start, end in spots
        if start is not None and end is not None
    ]
    for origin, start, end in sorted(located, key=lambda spot: spot[1:]):
        count += start >= ends.get(origin.source, 0)
        ends[origin.source] = max(end, ends.get(origin.source, 0))
    return count + sum(one.start is None for one in places)


def _apart(weighed: Iterable[Weighed], origins: Sequence[Origin]) -> Iterable[Weighed]:
    """Without answers that overlap a likelier one: "Hale" beside "Maud Hale"."""
    taken: dict[Hashable, list[tuple[int, int]]] = {}
    for one in weighed:
        if one.start is not None and one.end is not None:
            origin = origins[one.passage]
            start, end = origin.offset + one.start, origin.offset + one.end
            spans = taken.setdefault(origin.source, [])
            if any(start < theirs[1] and theirs[0] < end for theirs in spans):
                continue
            spans.append((start, end))
        yield one


def _same(text: str) -> str:
    """Answers that are one answer, as the official SQuAD script sees it: case, articles and marks do not count."""
    bare = " ".join(ARTICLES.sub(" ", NO_WORD.sub(" ", text.lower())).split())
    return bare or text
