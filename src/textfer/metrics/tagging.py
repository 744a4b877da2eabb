"""Entity F1 of tag sequences: an entity is right when its type, its first and its last place are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

ALWAYS_BEGIN = frozenset("BS")
ALWAYS_END = frozenset("ES")
OUTSIDE = frozenset("O.")


def entity_f1(tags: Sequence[Sequence[str]], golds: Sequence[Sequence[str]]) -> dict[str, float]:
    """`f1`, `precision` and `recall` over all entities of all sequences; 0 where there is none to divide by.

    Tags are `O` or a letter and a type (`B-PER`, `I-PER`; E and S for IOBES); entities are found leniently, as
    `conlleval` does: `I-` without a beginning begins an entity, and so does a change of type. A tag that is none is an
    entity of no known type, hence wrong. A sequence that is too short ends in `O`; what is too much is not read.

    **Source**: conlleval of CoNLL-2000; seqeval's default mode.
    """
    assert len(tags) == len(golds), (len(tags), len(golds))
    fitted = [[*row[: len(gold)], *["O"] * (len(gold) - len(row))] for row, gold in zip(tags, golds, strict=True)]
    ours, theirs = set(entities(fitted)), set(entities(golds))
    if not golds:
        return dict.fromkeys(("f1", "precision", "recall"), math.nan)
    shared = len(ours & theirs)
    precision, recall = (shared / len(found) if found else 0.0 for found in (ours, theirs))
    f1 = 2 * precision * recall / (precision + recall) if shared else 0.0
    return {"f1": 100.0 * f1, "precision": 100.0 * precision, "recall": 100.0 * recall}


def entities(sequences: Sequence[Sequence[str]]) -> Iterator[tuple[str, int, int]]:
    """(type, first place, last place) of every entity, places counted through all sequences with one between them."""
    before, before_type, start = "O", "", 0
    line = [tag or "O" for sequence in sequences for tag in (*sequence, "O")]
    for place, tag in enumerate(line):
        letter, kind = tag[0], tag[1:].split("-", maxsplit=1)[-1] or "_"
        changed = kind != before_type
        if before in ALWAYS_END or (before in "BI" and letter in "BSO") or (before not in OUTSIDE and changed):
            yield before_type, start, place - 1
        if letter in ALWAYS_BEGIN or (before in "ESO" and letter in "EI") or (letter not in OUTSIDE and changed):
            start = place
        before, before_type = letter, kind
