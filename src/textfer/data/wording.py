"""Statements asked as questions: a stretch of a sentence gives way to a question word that fits its shape.

`Maud Hale gave the well to the town.` → `Who gave the well to the town?`; `The castle was built in 1203.` → `When was
the castle built?`. Where no rule turns the words round, the question word stands where the stretch stood, as people
ask back: `She wrote the hymn for which church?`. A mask would be simpler, but no one who asks writes one.

**Source**: ours; that fronted question words teach more than a mask in place was found by Lewis et al. 2019
("Unsupervised Question Answering by Cloze Translation", table 2).
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["person", "place", "name", "date", "number", "phrase"]

AUXILIARY = (
    "is|are|was|were|has|have|had|can|could|will|would|may|might|must|should",
    "becomes?|became|remained|remains?|includes?|included|began|begins?|wrote|won|gave|gives?|made|makes?|took|takes?|"
    "led|leads?|held|holds?|found|came|comes?|went|lost|said|says|says?|saw|left|built|grew|fell|rose|ran|met|sold|"
    "bought|taught|thought|brought|kept|sent|spent|stood|got|put|set|read|wore|drew|knew|spoke|broke|chose|won|did|does",
)
AUX = re.compile(rf"(?<=\s)(?:{AUXILIARY[0]})(?=\s)")
VERB = re.compile(rf"(?:(?:also|later|then|soon|still|first|once|never|often) )?(?:{'|'.join(AUXILIARY)}|\w+ed)\b")
NO_SUBJECT = re.compile(r"[,;:]|\b(?:and|or|but|who|which|that|as|if|when|while|because|where|than)\b|\w+ed\b", re.I)
"""What is no part of a short subject, nor between the helping verb and the stretch: then nothing is turned round."""
CUT = re.compile(r"(?:; |: | [–—] |, )(?:and |but |or |while |although |though |whereas |however, )?")
RELATIVE = re.compile(r"(?:which|who|whom|whose|where|when|that|and|but|or|as|because|if)\b", re.I)
PREPOSITION = re.compile(r"\b(in|on|at|near|during)(?: the)? $", re.I)
LEADING_PREPOSITION = re.compile(r"(In|On|At|During|By|Since|Near)(?: the)? ")
ARTICLE = re.compile(r"(?:^|(?<=\s))(?:the|a|an) $", re.I)
LOWERED_WORDS = """
The A An In On At It He She They This These That Those His Her Its Their There Some Many Most Several Another Both
All Each For From With By During After Before Since Under Although While As When One Two Three Such Other
"""
LOWERED = frozenset(LOWERED_WORDS.split())
HEADS_WORDS = """
university college school river lake mountain island party empire kingdom church cathedral league championship cup
county province district company army navy war battle treaty prize award museum library theatre bridge castle
dynasty language festival institute academy album band club team station airport street park sea ocean act council
committee court ministry hospital orchestra tribe family order bank airline regiment division brigade battalion
corps squadron fleet government commission department agency society association foundation group house road
building hall tower stadium series magazine newspaper
"""
HEADS = frozenset(HEADS_WORDS.split())
"""Last words of names that say what the name is of."""
VAGUE = re.compile(
    r"(?:\W*(?:[A-Z][\w’'-]*|[a-z]+|\d+)(?: [\w’'-]+){0,5},? )?"
    r"\b(?:it|they|he|she|this|these|those|we|I|you|there|here|its|their|such)\b",
    re.I,
)
"""A statement that begins so is about something said before."""
ASIDE = re.compile(r" \([^()]*\)")
FULL = re.compile(
    r"\W*$|[,;]| (?:and|or|of|in|on|at|by|for|from|with|to|as|who|which|that|when|where|after|before|during|under|"
    r"until|against|into|between|over|because|but|through|about|without|within|near|than|while|since|is|was|were|are|has|had)\b"
)
"""What follows a stretch that no noun belongs to."""
OWNED = re.compile(r"['’]s? ")
OPEN = frozenset("-–—/([+&")
MIN_WORDS = 4
MAX_CHARS = 200


class Place(NamedTuple):
    """A stretch of a sentence."""

    start: int
    end: int


def question_of(sentence: str, place: Place, kind: Kind) -> str | None:
    """The sentence as a question for the stretch at `place`; None where too little is left to tell what is asked."""
    piece, place = _clause(sentence, place)
    before, after = ASIDE.sub("", piece[: place.start]), ASIDE.sub("", piece[place.end :]).rstrip(" .!?;:,")
    if before.endswith('"') and after.startswith('"'):
        before, after = before[:-1], after[1:]
    if len((before + after).split()) < MIN_WORDS or VAGUE.match(before + after) or _torn(before, after):
        return None
    wh, before, after = _question_word(piece[place.start : place.end], kind, before, after)
    asked = _as_subject(wh, before, after) or _turned(wh, kind, before, after) or _in_place(wh, before, after)
    asked = asked.strip()
    asked = f"{asked[0].upper()}{asked[1:]}?"
    return asked if len(asked) <= MAX_CHARS else None


def _torn(before: str, after: str) -> bool:
    """Whether the stretch is a part of something, or brackets and quotes are left open."""
    if before[-1:] in OPEN or after[:1] in OPEN or (before and not before[-1].isspace() and before[-1] not in "$£€"):
        return True
    left = before + after
    if before.count('"') % 2 and before[-1] != '"':
        return True
    return left.count("(") != left.count(")") or left.count('"') % 2 == 1


def _clause(sentence: str, place: Place) -> tuple[str, Place]:
    """The part of a sentence between commas, dashes and the like that holds the stretch, if it can stand alone."""
    cuts = [found for found in CUT.finditer(sentence) if found.end() <= place.start or found.start() >= place.end]
    start = max((found.end() for found in cuts if found.end() <= place.start), default=0)
    end = min((found.start() for found in cuts if found.start() >= place.end), default=len(sentence))
    for left, right in ((start, end), (0, end), (start, len(sentence))):
        piece = sentence[left:right]
        alone = left == 0 or (AUX.search(piece) and not RELATIVE.match(piece) and len(piece.split()) > 6)
        verb = AUX.search(piece) or VERB.search(piece[: place.start - left]) or VERB.search(piece[place.end - left :])
        if alone and verb and len(piece.split()) > MIN_WORDS + 2:
            return piece, Place(place.start - left, place.end - left)
    return sentence, place


def _question_word(text: str, kind: Kind, before: str, after: str) -> tuple[str, str, str]:
    """(the words that ask, what stands before and after them): an article or a counted noun is theirs."""
    alone = not before.strip() or bool(FULL.match(after) or VERB.match(after.lstrip()))
    if kind == "date":
        return ("when" if alone else "what"), before, after
    if kind == "number":
        if after.startswith("%") or re.match(r" per ?cent", after) or text.endswith(("%", "cent")):
            return "what percentage", before, re.sub(r"^(?:%| per ?cent)", "", after)
        if before.endswith(("$", "£", "€")):
            return "how much", before[:-1], after
        noun = re.match(r" [a-z]{3,}s\b", after)
        return (f"how many{noun[0]}", before, after[noun.end() :]) if noun else ("what number", before, after)
    bare = ARTICLE.sub("", before)
    if kind != "phrase" and (owned := OWNED.match(after)):
        return "whose", bare, after[owned.end() - 1 :]
    head = text.rsplit(" ", 1)[-1].lower()
    if " " in text and head in HEADS:
        return f"which {head}", bare, after
    if kind == "person" and alone and bare == before:  # people have no article
        return "who", before, after
    if kind == "place" and alone and (within := PREPOSITION.search(before)) and within[1].lower() != "during":
        return "where", before, after
    return "what", bare, after


def _as_subject(wh: str, before: str, after: str) -> str | None:
    """The question where the stretch begins the statement: nothing needs to be turned."""
    if before.strip():
        return None
    if wh == "when":
        return f"when {_inverted(after.lstrip(' ,')) or after.lstrip(' ,')}"
    if wh == "who" and not VERB.match(after.lstrip()):
        return None
    return f"{wh}{after}" if after[:1] == " " and not after.startswith((" and ", " or ")) else None


def _turned(wh: str, kind: Kind, before: str, after: str) -> str | None:
    """The question with its word in front and the helping verb before the subject; None where that is not simple."""
    if kind == "date" and LEADING_PREPOSITION.fullmatch(before):
        turned = _inverted(after.lstrip(" ,"))
        return f"when {turned or after.lstrip(' ,')}"
    stem = PREPOSITION.sub("", before) if wh in ("when", "where") else before
    helped = AUX.search(stem)
    if not helped or not FULL.match(after) or NO_SUBJECT.search(stem, helped.end() + len(" founded")):
        return None
    turned = _inverted(f"{stem.rstrip()}{after}")
    return f"{wh} {turned}" if turned else None


def _inverted(clause: str) -> str | None:
    """`the castle was built` → `was the castle built`; None where the subject is not short and plain."""
    found = AUX.search(clause)
    if not found:
        return None
    subject, rest = clause[: found.start()].strip(), clause[found.end() :]
    if not subject or len(subject.split()) > 8 or NO_SUBJECT.search(subject):
        return None
    return f"{found[0]} {_lowered(subject)}{rest}"


def _in_place(wh: str, before: str, after: str) -> str:
    if wh in ("when", "where") and (stem := PREPOSITION.sub("", before)) != before:
        before = stem
    return f"{before.rstrip()} {wh}{after}" if before.strip() else f"{wh}{after}"


def _lowered(text: str) -> str:
    first, _, rest = text.partition(" ")
    return f"{first.lower()} {rest}" if first in LOWERED and rest else text.lower() if first in LOWERED else text
