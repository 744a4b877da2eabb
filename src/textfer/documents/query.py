"""Questions as queries that SQLite's full-text search takes: whatever a person types, never a syntax error."""

from __future__ import annotations

import re
from collections.abc import Iterable

SEPARATOR = "\x1f"
"""Stands in the index between characters of scripts without spaces; no text that was read holds it."""
UNSPACED = "\u3005\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
BESIDE_UNSPACED = re.compile(f"(?<=[{UNSPACED}])(?=\\w)|(?<=\\w)(?=[{UNSPACED}])")
RUN = re.compile(f"[{UNSPACED}]+")
WORD = re.compile(r"\w")
NO_TEXT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
MAX_TERMS = 64
"""Later words of a question do not search."""
_ENGLISH = (
    "a about after all also am an and any are as at be been before being but by can could did do does during each "
    "for from had has have he her hers him his how i if in into is it its itself me more most my no nor not of on or "
    "other our out over own s same she should so some such t than that the their them then there these they this "
    "those through to too under until up us very was we were what when where which while who whom whose why will "
    "with would you your"
)
STOP_WORDS = frozenset(_ENGLISH.split())
"""English words that tell no passage from another. A question of nothing else searches by them all the same."""


def spaced(text: str) -> str:
    """The text as it is indexed: every character of a script without spaces is a word of its own."""
    return BESIDE_UNSPACED.sub(SEPARATOR, text) if not text.isascii() else text


def unspaced(text: str) -> str:
    """What `spaced` was given."""
    return text.replace(SEPARATOR, "")


def match_expression(question: str) -> str | None:
    """A query for FTS5 that finds what holds any of the question's words; None where it has none.

    Words with marks inside (`U.S.`, `don't`) and pairs of characters of a script without spaces are phrases. Every
    term is a quoted string, in which FTS5 knows no operator.
    """
    terms = list(dict.fromkeys(_terms(NO_TEXT.sub(" ", question).split())))
    telling = [term for term in terms if term.lower() not in STOP_WORDS]
    chosen = (telling or terms)[:MAX_TERMS]
    return " OR ".join(f'"{term}"' for term in chosen) or None


def _terms(chunks: Iterable[str]) -> Iterable[str]:
    for chunk in chunks:
        for part in re.split(f"([{UNSPACED}]+)", chunk):
            if RUN.fullmatch(part):
                yield from (" ".join(part[at : at + 2]) for at in range(max(1, len(part) - 1)))
            elif WORD.search(part):
                yield part.replace('"', " ").strip(".,;:!?()[]{}<>«»“”‘’'`*_-/\\|&^%$#@~+= ")
