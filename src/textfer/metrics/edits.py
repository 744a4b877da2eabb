"""Edit distance: how many words (or characters) must be put in, taken out or replaced."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Sequence
from statistics import fmean
from typing import Literal

NOT_WORD = re.compile(r"\W")


def edit_distance(
    texts: Sequence[str], golds: Sequence[Sequence[str]], *, unit: Literal["words", "characters"] = "words"
) -> dict[str, float]:
    """Means over examples of the least edits to a gold text: `edit_similarity` in 0 … 100, and `edit_distance`.

    `edit_distance` counts edits: lower is better. `edit_similarity` is 100 × (1 - edits / length of the longer text),
    100 for two empty ones. Lower case; words are what stands between characters that are no letter, digit or `_`, and
    two such characters in a row have an empty word between them. Without a gold text the distance is that to "".

    **Source**: `edit_distance` of t5/evaluation/metrics.py (`mean_edit`).
    """
    distances, similarities = [], []
    for text, golds_ in zip(texts, golds, strict=True):
        given = _parts(text, unit)
        found = [(levenshtein(given, gold), gold) for gold in (_parts(gold, unit) for gold in golds_ or [""])]
        distances.append(min(distance for distance, _ in found))
        similarities.append(max(1 - distance / max(len(given), len(gold), 1) for distance, gold in found))
    if not distances:
        return {"edit_similarity": math.nan, "edit_distance": math.nan}
    return {"edit_similarity": 100.0 * fmean(similarities), "edit_distance": fmean(distances)}


def levenshtein(ours: Sequence[Hashable], theirs: Sequence[Hashable]) -> int:
    """The least number of insertions, deletions and replacements that turn one sequence into the other."""
    above = list(range(len(theirs) + 1))
    for row, left in enumerate(ours, start=1):
        line = [row]
        for column, right in enumerate(theirs, start=1):
            line.append(min(above[column] + 1, line[-1] + 1, above[column - 1] + (left != right)))
        above = line
    return above[-1]


def _parts(text: str, unit: str) -> Sequence[str]:
    return NOT_WORD.split(text.lower()) if unit == "words" else text.lower()
