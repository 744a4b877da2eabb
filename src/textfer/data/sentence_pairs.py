"""Sentence pairs for next-sentence prediction, built as BERT's release builds them.

Source: `create_instances_from_document`, `truncate_seq_pair` in create_pretraining_data.py of the release. There one
generator walks through the corpus; here every document has a key, so its pairs depend on nothing that was built before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

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


def sentence_pairs(
    documents: Sequence[Document], number: int, options: PairOptions, *, key: np.uint64
) -> list[SentencePair]:
    """The pairs of document `number`, in order; all that is random comes from `key`.

    Sentences are gathered until they reach the target length and cut at random between two of them. What follows the
    cut is the second half; or a random stretch of another document is, and the sentences after the cut are used again.
    A lone sentence gets a random second half always.
    """
    draw = _Draw(key)
    document, room = documents[number], options.max_len - NUM_MARKS
    target = draw.between(2, room) if draw.chance() < options.short_share else room
    pairs: list[SentencePair] = []
    begin = at = gathered = 0
    while at < len(document):
        gathered += len(document[at])
        at += 1
        if at < len(document) and gathered < target:
            continue
        count = at - begin
        cut = draw.between(1, count - 1) if count >= 2 else 1
        first = list(document[begin : begin + cut])
        is_random = count == 1 or draw.chance() < options.random_share
        if is_random:
            second = _elsewhere(documents, number, target - sum(map(len, first)), draw)
            at = begin + cut
        else:
            second = list(document[begin + cut : at])
        pairs.append(SentencePair(*_shortened(np.concatenate(first), np.concatenate(second), room, draw), is_random))
        begin, gathered = at, 0
    return pairs


def _elsewhere(documents: Sequence[Document], number: int, wanted: int, draw: _Draw) -> list[Int32]:
    """Sentences of a random document from a random one on, until there are enough tokens."""
    for _ in range(NUM_TRIES):
        other = draw.between(0, len(documents) - 1)
        if other != number:
            break
    document = documents[other]
    found: list[Int32] = []
    total = 0
    for sentence in document[draw.between(0, len(document) - 1) :]:
        found.append(sentence)
        total += len(sentence)
        if total >= wanted:
            break
    return found


def _shortened(first: Int32, second: Int32, room: int, draw: _Draw) -> tuple[Int32, Int32]:
    """Both halves with tokens dropped from the longer, at its front or its end, until they fit."""
    edges = [[0, len(first)], [0, len(second)]]
    while sum(end - start for start, end in edges) > room:
        longer = edges[0] if edges[0][1] - edges[0][0] > edges[1][1] - edges[1][0] else edges[1]
        if draw.chance() < 0.5:
            longer[0] += 1
        else:
            longer[1] -= 1
    return first[slice(*edges[0])], second[slice(*edges[1])]


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
    found = []
    for number, pair in enumerate(pairs):
        ids, types = framed(pair.first, pair.second, specials)
        inputs, weights = objective.hide(ids[None], specials, Draws(keys[number : number + 1]))
        label = RANDOM if pair.is_random else FOLLOWS
        found.append(Ids(inputs[0], ids, weights[0], types=types, heads={"next_sentence": label}))
    return found
