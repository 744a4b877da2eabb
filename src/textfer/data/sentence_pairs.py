"""Sentence pairs for next-sentence prediction, built as BERT's release builds them.

Source: `create_instances_from_document`, `truncate_seq_pair` in create_pretraining_data.py of the release. There one
generator walks through the corpus; here every document has a key, so its pairs depend on nothing that was built before.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, final

import numpy as np
from pydantic import Field

from textfer.batch import Ids, Int32, Specials
from textfer.config import Options
from textfer.draws import Draws, UInt64
from textfer.errors import ConfigError
from textfer.objectives import MaskedLanguageModel

Document: TypeAlias = Sequence[Int32]
"""The ids of its sentences, none empty."""
NUM_MARKS = 3
"""`[CLS]` A `[SEP]` B `[SEP]`."""
NUM_TRIES = 10
"""Draws of another document; with few documents the last may still be the same."""
FOLLOWS, RANDOM = 0, 1
"""What the head `next_sentence` says."""
DRAWN_AT_ONCE = 64


class PairOptions(Options):
    """How sentences are joined to pairs."""

    max_len: int = Field(128, ge=5)
    """Tokens of a pair with its marks."""
    short_share: float = Field(0.1, ge=0, le=1)
    """Share of documents whose pairs aim at a random shorter length, as texts met later will be short."""
    random_share: float = Field(0.5, ge=0, le=1)
    """Share of pairs whose second half comes from another document."""


@dataclass(frozen=True, slots=True)
class SentencePair:
    """Two stretches of text, without marks."""

    first: Int32
    second: Int32
    is_random: bool
    """The second comes from elsewhere."""


@final
class _Draw:
    """Random numbers of one key, one after the other."""

    def __init__(self, key: np.uint64) -> None:
        self._draws = Draws(np.array([key], np.uint64))
        self._left: list[float] = []

    def chance(self) -> float:
        """A number in [0, 1)."""
        if not self._left:
            self._left = self._draws.uniform(DRAWN_AT_ONCE)[0].tolist()[::-1]
        return self._left.pop()

    def between(self, low: int, high: int) -> int:
        """One of low … high, both included."""
        return low + int(self.chance() * (high - low + 1))


class PairSpans(NamedTuple):
    """Where both halves of a pair stand: documents, and tokens `start:end` of them."""

    first_document: int
    first_start: int
    first_end: int
    second_document: int
    second_start: int
    second_end: int
    is_random: bool


def sentence_pairs(
    documents: Sequence[Document], number: int, options: PairOptions, *, key: np.uint64
) -> list[SentencePair]:
    """The pairs of document `number`, in order; all that is random comes from `key`."""

    def edges(document: int) -> list[int]:
        return [0, *np.cumsum([len(sentence) for sentence in documents[document]]).tolist()]

    def tokens(document: int, start: int, end: int) -> Int32:
        return np.concatenate(documents[document])[start:end]

    return [
        SentencePair(tokens(*spans[:3]), tokens(*spans[3:6]), spans.is_random)
        for spans in pair_spans(edges, len(documents), number, options, key=key)
    ]


def pair_spans(
    edges: Callable[[int], Sequence[int]], count: int, number: int, options: PairOptions, *, key: np.uint64
) -> list[PairSpans]:
    """Where the pairs of document `number` of `count` stand; `edges(n)` are the borders of n's sentences, from 0 on.

    Sentences are gathered until they reach the target length and cut at random between two of them. What follows the
    cut is the second half; or a random stretch of another document is, and the sentences after the cut are used again.
    A lone sentence gets a random second half always.
    """
    draw = _Draw(key)
    own, room = edges(number), options.max_len - NUM_MARKS
    target = draw.between(2, room) if draw.chance() < options.short_share else room
    pairs: list[PairSpans] = []
    begin, last = 0, len(own) - 1
    while begin < last:
        at = min(bisect_left(own, own[begin] + target, begin + 1), last)
        gathered = at - begin
        middle = begin + (draw.between(1, gathered - 1) if gathered >= 2 else 1)
        is_random = gathered == 1 or draw.chance() < options.random_share
        if is_random:
            second = _elsewhere(edges, count, number, target - (own[middle] - own[begin]), draw)
        else:
            second = number, own[middle], own[at]
        halves = _shortened((own[begin], own[middle]), second[1:], room, draw)
        pairs.append(PairSpans(number, *halves[0], second[0], *halves[1], is_random))
        begin = middle if is_random else at
    return pairs


def _elsewhere(
    edges: Callable[[int], Sequence[int]], count: int, number: int, wanted: int, draw: _Draw
) -> tuple[int, int, int]:
    """Sentences of a random document from a random one on, until there are enough tokens: (document, start, end)."""
    for _ in range(NUM_TRIES):
        other = draw.between(0, count - 1)
        if other != number:
            break
    its = edges(other)
    first, last = draw.between(0, len(its) - 2), len(its) - 1
    return other, its[first], its[min(bisect_left(its, its[first] + wanted, first + 1), last)]


def _shortened(
    first: tuple[int, int], second: tuple[int, int], room: int, draw: _Draw
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Both halves with tokens dropped from the longer, at its front or its end, until they fit."""
    start, end, from_, to = *first, *second
    while (end - start) + (to - from_) > room:
        front = draw.chance() < 0.5
        if end - start > to - from_:
            start, end = start + front, end - (not front)
        else:
            from_, to = from_ + front, to - (not front)
    return (start, end), (from_, to)


def framed(first: Int32, second: Int32 | None, specials: Specials) -> tuple[Int32, Int32]:
    """(ids, types): `[CLS]` A `[SEP]` of type 0 and B `[SEP]` of type 1; None = there is no B.

    Errors: ConfigError when the vocabulary has no such marks.
    """
    if specials.cls is None or specials.sep is None:
        raise ConfigError("tokenizer: has no [CLS] or no [SEP], which sentence pairs need. Take one such as BERT's.")
    head = np.concatenate([[specials.cls], first, [specials.sep]])
    tail = np.zeros(0, np.int32) if second is None else np.concatenate([second, [specials.sep]])
    types = np.repeat(np.array([0, 1], np.int32), [len(head), len(tail)])
    return np.concatenate([head, tail]).astype(np.int32), types


def masked_pairs(
    pairs: Sequence[SentencePair], objective: MaskedLanguageModel, specials: Specials, *, keys: UInt64
) -> list[Ids]:
    """Pairs with hidden words, one key for each, and what the head `next_sentence` should say."""
    assert len(pairs) == len(keys), "every pair has a key"
    whole = [framed(pair.first, pair.second, specials) for pair in pairs]
    by_len: dict[int, list[int]] = {}
    for number, (ids, _) in enumerate(whole):
        by_len.setdefault(len(ids), []).append(number)
    made: dict[int, Ids] = {}
    for numbers in by_len.values():  # rows of one length are hidden at once; each by its own key
        rows = np.stack([whole[number][0] for number in numbers])
        inputs, weights = objective.hide(rows, specials, Draws(keys[numbers]))
        for number, read, weight in zip(numbers, inputs, weights, strict=True):
            ids, types = whole[number]
            label = RANDOM if pairs[number].is_random else FOLLOWS
            made[number] = Ids(read, ids, weight, types=types, heads={"next_sentence": label})
    return [made[number] for number in range(len(pairs))]
