"""T5's rule for Winograd schemas said as text: does what a model wrote name the same thing as the referent?"""

from __future__ import annotations

from collections.abc import Sequence

from textfer.metrics.means import mean

DETERMINERS = frozenset(
    (
        *("a", "an", "few", "her", "his", "each", "every", "many", "much", "my", "our", "some", "that", "the", "their"),
        *("these", "this", "those", "which", "whose", "your"),
    )
)


def wsc_label(text: str, referent: str) -> int:
    """1 where the text names the referent, 0 where it names something else, -1 (never right) where it is empty.

    Both are compared in lower case and without determiners. They name the same when the words of one are all among
    those of the other, and both or neither have an apostrophe: "Bob" is not "Bob's hat".

    **Source**: `wsc_simple` of t5/data/postprocessors.py.
    """
    given, wanted = _bare(text), _bare(referent)
    if not given:
        return -1
    if ("'" in given) != ("'" in wanted):
        return 0
    ours, theirs = set(given.split(" ")), set(wanted.split(" "))
    return int(ours <= theirs or theirs <= ours)


def wsc_match(text: str, referent: str) -> bool:
    """Whether the text names the referent, by T5's rule (`wsc_label`)."""
    return wsc_label(text, referent) == 1


def wsc(texts: Sequence[str], referents: Sequence[str], labels: Sequence[int]) -> dict[str, float]:
    """`accuracy` of WSC: the pronoun means the referent (label 1) or not (0), and the text names the referent or not.

    An empty text is wrong either way.
    """
    named = [wsc_label(text, referent) for text, referent in zip(texts, referents, strict=True)]
    return {"accuracy": mean([found == label for found, label in zip(named, labels, strict=True)])}


def _bare(text: str) -> str:
    return " ".join(word for word in text.strip().lower().split(" ") if word not in DETERMINERS)
