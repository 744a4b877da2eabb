"""ROUGE: words and word pairs that a summary shares with the gold one, and their longest common subsequences.

The rules are those of Google's `rouge-score`: words are runs of a-z and 0-9 in lower case, those of more than three
letters are stemmed, and the F-measure is told. ROUGE-Lsum takes every line for a sentence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from textfer.metrics.means import mean
from textfer.metrics.stemming import stem

WORD = re.compile(r"[a-z0-9]+")
T = TypeVar("T")
NAMES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def rouge(
    texts: Sequence[str], golds: Sequence[Sequence[str]], *, stemmed: bool = True, sentences: bool = True
) -> dict[str, float]:
    """`rouge1`, `rouge2`, `rougeL` and `rougeLsum`: means of F-measures, each the best over an example's gold texts.

    With `sentences` a new line is begun after every " . ", as T5 does for its summaries: its articles have no lines.
    T5's own code does not stem (`stemmed=False`), and tells the median of a bootstrap, which is this mean but for luck.

    **Source**: `rouge` of t5/evaluation/metrics.py; C.-Y. Lin, ROUGE, 2004; google-research/rouge.
    """
    columns: dict[str, list[float]] = {name: [] for name in NAMES}
    for text, golds_ in zip(texts, golds, strict=True):
        ours = _Text.of(text, stemmed=stemmed, sentences=sentences)
        theirs = [_Text.of(gold, stemmed=stemmed, sentences=sentences) for gold in golds_]
        scores = [_scores(ours, gold) for gold in theirs]
        for number, name in enumerate(NAMES):
            columns[name].append(max((score[number] for score in scores), default=0.0))
    return {name: mean(values) for name, values in columns.items()}


@dataclass(frozen=True, slots=True)
class _Text:
    """The words of a text, and of its lines."""

    words: list[str]
    lines: list[list[str]]

    @classmethod
    def of(cls, text: str, *, stemmed: bool, sentences: bool) -> _Text:
        parted = text.replace(" . ", " .\n") if sentences else text
        lines = [words(line, stemmed=stemmed) for line in parted.split("\n") if line]
        return cls([word for line in lines for word in line], lines)


def words(text: str, *, stemmed: bool = True) -> list[str]:
    """ROUGE's words of a text: runs of a-z and 0-9 in lower case; those of more than three letters stemmed."""
    found = WORD.findall(text.lower())
    return [stem(word) if len(word) > 3 else word for word in found] if stemmed else found


def _scores(ours: _Text, gold: _Text) -> tuple[float, float, float, float]:
    """The four F-measures in 0 … 1, in the order of NAMES."""
    num_ours, num_gold = len(ours.words), len(gold.words)
    return (
        _overlap(Counter(ours.words), Counter(gold.words)),
        _overlap(_pairs(ours.words), _pairs(gold.words)),
        _f_measure(common_length(gold.words, ours.words), num_ours, num_gold),
        _f_measure(_union_hits(gold, ours), num_ours, num_gold),
    )


def _pairs(found: Sequence[str]) -> Counter[tuple[str, str]]:
    return Counter(pairwise(found))


def _overlap(ours: Counter[T], gold: Counter[T]) -> float:
    shared = (ours & gold).total()
    return _f_measure(shared, ours.total(), gold.total())


def _f_measure(shared: int, num_ours: int, num_gold: int) -> float:
    if not shared:
        return 0.0
    precision, recall = shared / num_ours, shared / num_gold
    return 2 * precision * recall / (precision + recall)


def common_length(gold: Sequence[str], ours: Sequence[str]) -> int:
    """The length of the longest common subsequence of two lists of words."""
    rows = _table(gold, ours)
    return len(ours) - rows[-1].bit_count()


def _table(gold: Sequence[str], ours: Sequence[str]) -> list[int]:
    """The table of subsequence lengths, a row of bits for every length of `gold`: a zero is a step up by one.

    The length for the first i words of gold and the first j of ours is the number of zeros among the low j bits of
    row i. **Source**: H. Hyyrö, Bit-parallel LCS-length computation revisited, 2004.
    """
    full = (1 << len(ours)) - 1
    places: dict[str, int] = {}
    for place, word in enumerate(ours):
        places[word] = places.get(word, 0) | 1 << place
    rows = [full]
    for word in gold:
        row = rows[-1]
        met = row & places.get(word, 0)
        rows.append(((row + met) | (row - met)) & full)
    return rows


def _common_places(gold: Sequence[str], ours: Sequence[str]) -> set[int]:
    """Places in `gold` of one longest common subsequence: of several the one that `rouge-score` finds."""
    rows = _table(gold, ours)
    places: set[int] = set()
    i, j = len(gold), len(ours)
    while i and j:
        if gold[i - 1] == ours[j - 1]:
            i, j = i - 1, j - 1
            places.add(i)
        elif _length(rows, i, j - 1) > _length(rows, i - 1, j):
            j -= 1
        else:
            i -= 1
    return places


def _length(rows: Sequence[int], i: int, j: int) -> int:
    return j - (rows[i] & ((1 << j) - 1)).bit_count()


def _union_hits(gold: _Text, ours: _Text) -> int:
    """ROUGE-Lsum's matches: words of each gold line in a common subsequence with any of our lines, none used twice."""
    left = Counter(ours.words)
    hits = 0
    for line in gold.lines:
        union: set[int] = set()
        for other in ours.lines:
            union |= _common_places(line, other)
        for place in sorted(union):
            if left[line[place]] > 0:
                hits += 1
                left[line[place]] -= 1
    return hits
