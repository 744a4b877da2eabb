"""Recurring spans: reading comprehension made of plain text, without labels.

A name, date, number or phrase that stands in two sentences of a passage is taken out of one of them, which becomes a
question (`wording`); the passage without that sentence is the context, in which the other mention is the answer. To
find it, a reader must see which mention is said the same things of. Without the other mentions too, the same question
has no answer.

The rules know little of English: capitals, digits, a list of stop words, a few endings; nothing is learnt or loaded.

**Source**: after recurring span selection (Ram et al. 2021, Splinter: a span is hidden and pointed at) and cloze
questions (Lewis et al. 2019: natural words instead of masks). The rules are ours.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple, final
from zlib import crc32

from textfer.data.wording import HEADS, Kind, Place, question_of

STOP_WORDS = """
a about above after again against all almost along already also although always am among an and another any are
around as at away back be became because become been before began being below between both but by called came can
could did do does done down due during each either else etc even ever every few first following for found from
further gave get given go got had has have he her here hers him himself his how however i if in including instead
into is it its itself just kept known large last later least less like made mainly make many may me might more most
much must my near nearly never new next no nor not now of off often on once one only onto or other others our out
over own part per perhaps quite rather same second several shall she should since so some soon still such take taken
than that the their them then there therefore these they this those though three through throughout thus to today
together too took toward towards two under until up upon us use used using usually various very was way we well went
were what when where whether which while who whole whom whose why will with within without would yet you your main
mostly named said says say see begin uses time times year years day days month months century centuries people world
example number numbers
"""
STOP = frozenset(STOP_WORDS.split())
LEADING = STOP - {"new", "world", "time", "times", "day", "people", "us"}
"""What no name begins with."""
MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
SMALL = "of|de|von|van|der|den|du|di|da|la|le|del|bin|ibn|al"
CAPITAL = r"[A-ZÀ-ÖØ-ÞĀĆČĐĒĘĞĪŁŃŌŐŚŞŠŪŹŻŽ]"
NAME = re.compile(
    rf"{CAPITAL}(?<![\w’'-].)[\w’'-]*"
    rf"(?:(?: (?:(?:{SMALL})(?: the)? )?|, (?=Jr|Sr))(?:(?:[A-Z]\.)+|(?:[dl]['’])?{CAPITAL}[\w’'-]*)){{0,5}}"
    r"(?: \d{1,4}\b(?:(?<= \d\d),? \d{4}\b|(?<= \d),? \d{4}\b|(?! [a-z])))?"
)
"""Words with a capital in a row, small ones between them, and a number behind; a month with its day or year too."""
NUMBER = re.compile(
    rf"[0-9](?<![\w.,’'$£€-].)\d*(?:(?<=\d) (?:{MONTHS})\b(?:,? \d{{3,4}}\b)?|(?:,\d{{3}})+(?:\.\d+)?\b|s?\b(?:\.\d+)?)"
    r"(?: (?:percent|per cent|million|billion)\b)?"
)
"""Beginning with a plain set of characters, both are looked for without trying every place of a text."""
YEAR = re.compile(r"(?:1\d|20)\d\ds?")
DIGITS = re.compile(r"[0-9]+")
DAY = re.compile(rf"[0-9] ({MONTHS})\b")
MONTH = re.compile(rf"(?:{MONTHS}) \d|\d{{1,2}} (?:{MONTHS})\b")
END = re.compile(r"(?<=[.!?])[\"”’')\]]*\s+(?=[\"“‘'(\[]?[A-ZÀ-Þ0-9])")
NO_END = re.compile(
    r"(?:\b(?:[A-Z]|Mrs?|Ms|Dr|St|Mt|No|Nos|vs|Jr|Sr|Lt|Col|Gen|Capt|Prof|Rev|Hon|Sgt|cf|ca|c|approx|fl|b|d|vol|pp?|"
    r"Inc|Ltd|Co|Corp|Bros|e\.g|i\.e|al|etc|[A-Z]\.[A-Z])\.)$"
)
WORD = re.compile(r"[^\W\d_]{3,}")
PLAIN = re.compile(r"[a-z](?<![\w’'-].)[a-z]{2,}(?:-[a-z]{2,})?(?![\w’'-])")
NO_NOUN = re.compile(r".*(?:ly|ed|ing|ous|ive|able|ible|ful|less|est)$")
"""Last words of a phrase that hardly ever is a thing."""
JUNK = re.compile(r"\s*\(\s*[;,:]?\s*\)|(?<=\()\s*[;,:]\s*")
"""What a stripped pronunciation leaves behind."""
SPACES = re.compile(r"\s+")
CLEAN = re.compile(r"[^\W\d_a-z][^\[\]|={}<>]*$")
"""A sentence that begins as one, without what is left of tables and markup."""
PRONOUN = re.compile(r"(He|She|His|Her)(?= [a-z])")
AFTER_PREPOSITION = re.compile(r"\b(?:in|at|near|from|to|of) $")
AGENT = re.compile(
    r",? (?:who|said|says|wrote|argued|was born|died|married|studied|asked|told|thought|believed|himself|herself)\b"
    r"|(?: also| then| later)? \w+(?:ed|ew|ade|ook|ave|an|on|ote|aw|ld|et|s)(?: \w+)? (?:his|her)\b"
)
TITLED = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|Sir|Lord|Lady|King|Queen|Prince|Princess|Pope|Emperor|President|General|Saint)\b"
)
NOT_ALONE_WORDS = """
mr mrs ms dr sir lord lady king queen prince princess pope emperor president general saint north south east west
northern southern eastern western american british english french german european jr sr god i ii iii
"""
NOT_ALONE = frozenset(NOT_ALONE_WORDS.split()) | frozenset(MONTHS.lower().split("|"))
"""Names that say little by themselves."""
FIRST: tuple[tuple[Kind, ...], ...] = (("date", "number"), ("phrase",), ())
"""What is asked for before all else, in one third of the passages each: else names would be nearly all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What passages are cut and what spans may be asked for."""

    min_chars: int = 350
    """Shortest context."""
    passage_chars: int = 900
    """A passage ends with the sentence that reaches this length."""
    max_sentence: int = 320
    """Longer sentences are neither asked nor split: lists, mostly."""
    max_answer: int = 60
    no_answer: float = 0.0
    """Share of questions whose answer is taken out of the context as well."""
    most: int = 8
    """Examples of one text."""


class Found(NamedTuple):
    """A question on a passage."""

    question: str
    context: str
    answer: str
    """"" = the context does not hold it."""
    start: int
    """Where the answer stands in the context; -1 = nowhere."""
    kind: Kind


class Mention(NamedTuple):
    """Where a span stands."""

    sentence: int
    start: int
    end: int
    kind: Kind
    whole: bool = True
    """False where only a person's last name stands, which may be asked for but is not the answer."""


def find_recurring(text: str, rules: Rules, *, title: str = "") -> list[Found]:
    """Questions on passages of the text, at most one a passage: a pure function of its arguments.

    `title` names the subject of a biography, of which `He` and `She` at the head of a sentence then speak.
    """
    if not (passages := list(_passages(text, rules))):
        return []
    title = title.partition(" (")[0]
    person = title if title and _is_person(text[:1500], title) else ""
    order = sorted(range(len(passages)), key=lambda number: crc32(passages[number][0].encode()))
    found: dict[int, Found] = {}
    for number in order:
        if (one := _ask(passages[number], rules, person)) is not None:
            found[number] = one
            if len(found) == rules.most:
                break
    return [found[number] for number in sorted(found)]


def sentences_of(text: str) -> list[str]:
    """The sentences of a paragraph."""
    found: list[str] = []
    start = 0
    for gap in END.finditer(text):
        if not NO_END.search(text, max(start, gap.start() - 12), gap.start()):
            closing = text[gap.start() : gap.end()].rstrip()
            found.append(text[start : gap.start()] + closing)
            start = gap.end()
    found.append(text[start:])
    return found


def _passages(text: str, rules: Rules) -> Iterator[list[str]]:
    """Sentences of paragraphs that follow each other, as many as make a passage; headings and lists are left out."""
    passage: list[str] = []
    size = 0
    for line in text.split("\n"):
        if len(line) < 60 or line[-1] not in '.!?"”)':
            continue
        clean = SPACES.sub(" ", JUNK.sub("", line)) if "(" in line or "  " in line or "\xa0" in line else line
        for sentence in sentences_of(clean.strip()):
            passage.append(sentence)
            size += len(sentence) + 1
            if size >= rules.passage_chars:
                yield passage
                passage, size = [], 0
    if size >= rules.min_chars + 60:
        yield passage


def _ask(sentences: Sequence[str], rules: Rules, person: str) -> Found | None:
    """One question on a passage; None where none is good enough."""
    if len(sentences) < 3:
        return None
    key = crc32(sentences[0].encode())
    bare = key % 1000 < rules.no_answer * 1000
    first = FIRST[key % len(FIRST)]
    passage = Passage(sentences)
    groups = _names(passage)
    if not groups or "phrase" in first:
        groups |= _phrases(passage)
    tries = [
        (at.kind not in first, crc32(f"{key}{at.sentence}{text}".encode()), text, at)
        for text, group in groups.items()
        for at in group
    ]
    last = person.rpartition(" ")[2]
    for _, _, text, at in sorted(tries):
        group = groups[text]
        kind = "person" if person and text.endswith(last) else _kind(text, group, sentences)
        if (asked := _question(sentences[at.sentence], at, kind, rules, person)) is None or _tells(asked, text):
            continue
        shared = content_words(asked) - content_words(text)
        if bare:
            if context := passage.without(text, group, at, shared, rules):
                return Found(asked, context, "", -1, kind)
        elif found := passage.answered(group, at, shared, rules):
            return Found(asked, *found, kind)
    return None


def _names(passage: Passage) -> dict[str, list[Mention]]:
    """{name, date or number: its mentions} of those that stand in several sentences."""
    found: dict[str, list[Mention]] = {}

    def note(text: str, start: int, kind: Kind) -> None:
        number = bisect_right(passage.starts, start) - 1
        at = start - passage.starts[number]
        found.setdefault(text, []).append(Mention(number, at, at + len(text), kind))

    inside: set[int] = set()  # where numbers begin that are the end of a name
    days = {match.start(1) for match in DAY.finditer(passage.text)}
    for match in NAME.finditer(passage.text):
        name, start = match[0], match.start()
        while (first := name.partition(" ")[0]).lower() in LEADING and not MONTH.match(name):
            name = name[len(first) + 1 :]
            start += len(first) + 1
        if name.endswith(("'s", "’s", "'", "’")):
            name = name.rstrip("s").rstrip("'’")
        if len(name) > 2 and not name[0].isdigit() and name.lower() not in NOT_ALONE and start not in days:
            note(name, start, "date" if MONTH.match(name) else "name")
            if name[-1].isdigit():
                inside.update(start + digits.start() for digits in DIGITS.finditer(name))
    for match in NUMBER.finditer(passage.text):
        value = match[0]
        if len(value) > 2 and match.start() not in inside:
            note(value, match.start(), "date" if MONTH.match(value) or YEAR.fullmatch(value) else "number")
    _join_last_names(found)
    return {name: group for name, group in found.items() if _recurs(name, group)}


def _join_last_names(found: dict[str, list[Mention]]) -> None:
    """Where one whole name alone ends in a word that also stands for itself, the word is that name said again."""
    whole: dict[str, list[str]] = {}
    for text, group in found.items():
        if group[0].kind == "name" and " " in text:
            whole.setdefault(text.rpartition(" ")[2], []).append(text)
    for last, names in whole.items():
        if last in found and len(names) == 1 and last.lower() not in HEADS:
            found[names[0]] += [at._replace(whole=False) for at in found.pop(last)]


def _recurs(text: str, group: Sequence[Mention]) -> bool:
    if len(group) < 2 or len({at.sentence for at in group}) < 2:
        return False
    # a word with a capital only where sentences begin is hardly a name
    return group[0].kind != "name" or " " in text or any(at.start > 1 for at in group)


def _phrases(passage: Passage) -> dict[str, list[Mention]]:
    """{two or three words in small letters: their mentions} of those that stand in several sentences."""
    found: dict[str, list[Mention]] = {}
    text = passage.text
    run: list[tuple[int, str]] = []
    last = -1
    for match in PLAIN.finditer(text):
        word, start = match[0], match.start()
        if start != last + 1 or text[last] != " ":
            run = []
        last = match.end()
        if word in STOP:
            run = []
            continue
        run.append((start, word))
        if len(run) < 2 or NO_NOUN.match(word):
            continue
        number = bisect_right(passage.starts, start) - 1
        for first, begins in run[-3:-1]:
            if not begins.endswith("ly"):
                at = first - passage.starts[number]
                mention = Mention(number, at, at + last - first, "phrase")
                found.setdefault(text[first:last], []).append(mention)
    kept = {phrase: group for phrase, group in found.items() if group[0].sentence != group[-1].sentence}
    return {one: group for one, group in kept.items() if not any(one != other and one in other for other in kept)}


def _question(sentence: str, at: Mention, kind: Kind, rules: Rules, person: str) -> str | None:
    """The sentence as a question for what stands at `at`; a pronoun at its head gives way to the person's name."""
    if len(sentence) > rules.max_sentence or at.end - at.start > rules.max_answer or not CLEAN.match(sentence):
        return None
    shift = 0
    if pronoun := PRONOUN.match(sentence):
        if not person:
            return None
        name = person if pronoun[1] in ("He", "She") else f"{person}'s"
        shift = len(name) - len(pronoun[0])
        sentence = name + sentence[pronoun.end() :]
    return question_of(sentence, Place(at.start + shift, at.end + shift), kind)


def _tells(question: str, answer: str) -> bool:
    """Whether the question says what it asks for, or a word of it."""
    asked = question.lower()
    return answer.lower() in asked or not content_words(asked).isdisjoint(content_words(answer))


def content_words(text: str) -> frozenset[str]:
    """The words that carry what is said, in small letters and without the ending of a plural."""
    found = {word.lower() for word in WORD.findall(text)} - STOP
    return frozenset(word[:-1] if word[-1] == "s" and len(word) > 4 else word for word in found)


def _is_person(head: str, title: str) -> bool:
    """Whether an article that begins so tells a life."""
    first = head.partition("\n")[0][:300]
    last = title.rpartition(" ")[2]
    return bool(last) and last in first and bool(re.search(r"\b(?:He|She) ", head)) and not HEADS & {last.lower()}


def _kind(text: str, group: Sequence[Mention], sentences: Sequence[str]) -> Kind:
    """A name is a person's where it is said like one, and a place's where it is mostly stood in."""
    kind = group[0].kind
    if kind != "name" or text.rpartition(" ")[2].lower() in HEADS:
        return kind
    if TITLED.match(text) or not all(at.whole for at in group):
        return "person"
    within = 0
    for at in group:
        sentence = sentences[at.sentence]
        before = sentence[max(0, at.start - 12) : at.start]
        stood = bool(AFTER_PREPOSITION.search(before))
        if (not stood and AGENT.match(sentence, at.end)) or TITLED.search(before):
            return "person"
        within += stood
    return "place" if 2 * within > len(group) else "name"


@final
class Passage:
    """A passage's sentences, and the words that say something in each."""

    def __init__(self, sentences: Sequence[str]) -> None:
        self.sentences = sentences
        self.text = "\n".join(sentences)
        self.starts = [0, *accumulate(len(sentence) + 1 for sentence in sentences)][:-1]

    @cached_property
    def words(self) -> list[frozenset[str]]:
        """The content words of each sentence."""
        return [content_words(sentence) for sentence in self.sentences]

    def answered(
        self, group: Sequence[Mention], at: Mention, shared: frozenset[str], rules: Rules
    ) -> tuple[str, str, int] | None:
        """(the passage without the sentence of `at`, the answer, its place): the mention of which most is shared.

        None where too little is shared for the question to be answered.
        """
        least = 1 if at.kind in ("name", "phrase") else 2
        others = [one for one in group if one.sentence != at.sentence and one.whole]
        told = max(others, key=lambda one: (len(shared & self.words[one.sentence]), -one.sentence), default=None)
        if told is None or len(shared & self.words[told.sentence]) < least:
            return None
        kept = [number for number in range(len(self.sentences)) if number != at.sentence]
        context = " ".join(self.sentences[number] for number in kept)
        if len(context) < rules.min_chars:
            return None
        before = sum(len(self.sentences[number]) + 1 for number in kept if number < told.sentence)
        answer = self.sentences[told.sentence][told.start : told.end]
        return context, answer, before + told.start

    def without(
        self, text: str, group: Sequence[Mention], at: Mention, shared: frozenset[str], rules: Rules
    ) -> str | None:
        """The passage without any sentence that holds the answer, or a word of it; None where too little is left."""
        gone = {one.sentence for one in group} | {at.sentence}
        own = content_words(text)
        kept = [number for number, words in enumerate(self.words) if number not in gone and not words & own]
        context = " ".join(self.sentences[number] for number in kept)
        about = any(shared & self.words[number] for number in kept)
        return context if len(context) >= rules.min_chars and about and text not in context else None
