"""Questions made unanswerable: what a paragraph answers is changed until it no longer does.

Readers that learn "no answer" from few articles learn the articles. Here every question with an answer can have a
twin without: another name or number of the paragraph takes the place of one in the question, a word gives way to its
opposite, or the sentences that hold the answer are taken out of the paragraph. The twins read like the questions they
come from, so that the words alone do not tell them apart. A few are answerable after all: no rule here understands.

**Source**: the kinds are those that people wrote for SQuAD 2.0 (Rajpurkar, Jia, Liang 2018, table 2: entity swap,
antonym, negation, other), and rules that change questions by them in Jia & Liang 2017. The rules are ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple
from zlib import crc32

from textfer.data.recurring import LEADING, MONTHS, NAME, NOT_ALONE, NUMBER, content_words, sentences_of

PAIRS = """
first last, largest smallest, biggest smallest, most least, more fewer, highest lowest, higher lower, high low,
best worst, oldest youngest, older younger, longest shortest, longer shorter, earliest latest, earlier later,
before after, north south, northern southern, east west, eastern western, increase decrease, increased decreased,
begin end, began ended, beginning end, start stop, started stopped, win lose, won lost, winner loser, gain lose,
open close, opened closed, allow forbid, allowed forbidden, support oppose, supported opposed, accept reject,
accepted rejected, join leave, joined left, arrive depart, arrived departed, buy sell, bought sold, rise fall,
rose fell, create destroy, created destroyed, build demolish, built demolished, appoint dismiss, appointed dismissed,
father mother, son daughter, brother sister, husband wife, king queen, male female, men women, man woman, boys girls,
public private, major minor, positive negative, strong weak, stronger weaker, hot cold, warm cool, fast slow,
rich poor, legal illegal, success failure, successful unsuccessful, friend enemy, ally enemy, import export,
imports exports, inside outside, above below, upper lower, left right, old new, early late, present absent, add remove,
added removed, agree disagree, agreed disagreed, born buried, common rare, remember forget, love hate, day night
"""
"""Words and what says the opposite; each is looked for both ways, but for the last of those that say one thing."""
OPPOSITE: dict[str, str] = {}
for _pair in PAIRS.replace("\n", " ").split(","):
    _one, _other = _pair.split()
    OPPOSITE.setdefault(_one, _other)
    OPPOSITE.setdefault(_other, _one)
TURNED = re.compile(rf"\b(?:{'|'.join(sorted(OPPOSITE, key=len, reverse=True))})\b")
DENIED = re.compile(r"(?<=[a-z] )(did|does|do|was|were|is|are|could|can|has|have|had|would)\b(?! (?:not|n't))")
"""The auxiliary of a question, not at its head."""
NO = {"can": "can't"}
YEAR = re.compile(r"(?:1\d|20)\d\d")
MONTH = re.compile(rf"(?:{MONTHS})\b")
LEAST_CHARS = 150
"""A paragraph without its answer is at least so long."""
ORDERS = (*("names",) * 8, *("removed",) * 5, *("opposite",) * 2, "denied")
"""What is tried first, by the question's hash: half of the questions change a name or number."""
ALONE = "denied"
"""Tried first or not at all: else one small word would tell too many of the twins."""


class Unanswered(NamedTuple):
    """A question and a paragraph that does not answer it."""

    question: str
    context: str
    kind: str
    """`names`, `opposite`, `denied` or `removed`."""


def unanswered(question: str, context: str, answers: Sequence[str]) -> Unanswered | None:
    """The question or the paragraph changed so that there is no answer; None where no rule applies.

    A pure function of its arguments.
    """
    key = crc32(f"{question}\n{context}".encode())
    first = ORDERS[key % len(ORDERS)]
    for kind in sorted(RULES, key=lambda kind: kind != first):
        if kind == ALONE != first:
            continue
        if (changed := RULES[kind](question, context, answers, key)) is not None:
            return Unanswered(*changed, kind)
    return None


def _names(question: str, context: str, answers: Sequence[str], key: int) -> tuple[str, str] | None:
    """A name or number of the question becomes another one of the paragraph, of the same sort."""
    asked = _mentions(question)
    known = content_words(question) | {word for answer in answers for word in content_words(answer)}
    said = question.lower()
    others: dict[str, list[str]] = {}
    for text, sort, _ in _mentions(context):
        new = content_words(text).isdisjoint(known) and text.lower() not in said
        if new and not any(text in answer or answer in text for answer in answers):
            others.setdefault(sort, []).append(text)
    for text, sort, start in sorted(asked, key=lambda one: crc32(f"{key}{one.text}".encode())):
        if candidates := set(others.get(sort, ())):
            # one of as many words, where there is one: a person for a person, rather than for a town
            blanks = text.count(" ")
            other = min(candidates, key=lambda one: (one.count(" ") != blanks, crc32(f"{key}{one}".encode())))
            return question[:start] + other + question[start + len(text) :], context
    return None


def _opposite(question: str, context: str, answers: Sequence[str], key: int) -> tuple[str, str] | None:
    """A word gives way to its opposite, where the paragraph does not say that too."""
    said = content_words(context)
    for found in TURNED.finditer(question):
        other = OPPOSITE[found[0]]
        if other not in said and found.start() > 0:
            return question[: found.start()] + other + question[found.end() :], context
    return None


def _denied(question: str, context: str, answers: Sequence[str], key: int) -> tuple[str, str] | None:
    """`did` becomes `didn't`."""
    if (found := DENIED.search(question)) is None:
        return None
    return question[: found.start()] + NO.get(found[0], found[0] + "n't") + question[found.end() :], context


def _removed(question: str, context: str, answers: Sequence[str], key: int) -> tuple[str, str] | None:
    """The paragraph without every sentence in which an answer stands; something of what is asked must be left."""
    sentences = sentences_of(context)
    gone = [answer.lower() for answer in answers]
    kept = [one for one in sentences if not any(answer in one.lower() for answer in gone)]
    left = " ".join(kept)
    about = not content_words(question).isdisjoint(content_words(left))
    # sentences are joined by one space again: an answer may run over what was between two
    if len(left) < LEAST_CHARS or not about or any(answer in left.lower() for answer in gone):
        return None
    return question, left


RULES: dict[str, Callable[[str, str, Sequence[str], int], tuple[str, str] | None]] = {
    "names": _names,
    "removed": _removed,
    "opposite": _opposite,
    "denied": _denied,
}
"""In the order in which they are tried after the first."""


class _Mention(NamedTuple):
    text: str
    sort: str
    start: int


def _mentions(text: str) -> list[_Mention]:
    """Names, years and numbers with where they stand; a word that only begins the text is no name."""
    found: list[_Mention] = []
    taken: set[int] = set()
    for match in NAME.finditer(text):
        name, start = match[0], match.start()
        while (head := name.partition(" ")[0]).lower() in LEADING and not MONTH.match(name):
            name, start = name[len(head) + 1 :], start + len(head) + 1
        if name.endswith(("'s", "’s")):
            name = name[:-2]
        begins = match.start() == 0 or text[: match.start()].rstrip()[-1:] in ".!?"
        alone = " " not in name
        if len(name) < 3 or name.lower() in NOT_ALONE or (begins and alone) or name[0].isdigit():
            continue
        taken.update(range(start, start + len(name)))
        found.append(_Mention(name, "month" if MONTH.match(name) else "name", start))
    numbers = [match for match in NUMBER.finditer(text) if match.start() not in taken and len(match[0]) > 1]
    return found + [_Mention(one[0], "year" if YEAR.fullmatch(one[0]) else "number", one.start()) for one in numbers]
