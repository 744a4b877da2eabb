"""Tags as text: the entities of a sentence as a list, and back to one tag a word.

`wikiann_en sentence: Ada Lund left Aldon .` in, `person: Ada Lund; location: Aldon` out; `none` where there is none.
What a model writes is laid onto the sentence from left to right and marked by the official entity F1 over IOB2 tags.

The form loses nothing:
- entities stand in the order of the sentence, each with its words joined by a blank, as in the input;
- a semicolon within an entity is doubled;
- an entity is the first place where its words stand after the entity before; where it is a later one, its number is
  told: `location 2: Aldon`.

Read back, texts are compared in Unicode's NFKC form, as tokenizers normalise what models write. What stands nowhere in
the sentence, or names no type, is one wrong entity. An entity out of order counts if its words are still free.

**Source**: the form is ours; T5 and ExT5 had no tagging.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from textfer.batch import Example, Row, Span
from textfer.data.fields import field, texts_field, wrong
from textfer.data.task import Scores
from textfer.data.tasks.forms import ToExamples, key_values, row_id
from textfer.metrics import accuracy, entity_f1

NO_ENTITY = "none"
BETWEEN = "; "
SEMICOLONS = re.compile("[;\u037e\ufe14\ufe54\uff1b]")
"""Whatever NFKC turns into a semicolon."""
PIECE = re.compile(r"(?:[^;]|;;)+")
NUMBERED = re.compile(r"(.*\S) ([1-9][0-9]{0,3})")
UNKNOWN_TYPE = "?"


class Entity(NamedTuple):
    """Some words of a sentence and their type; places are word numbers, end exclusive."""

    label: str
    start: int
    end: int


def iob(*labels: str) -> tuple[str, ...]:
    """The tags of these types in the usual order: O, then B- and I- of each."""
    return ("O", *(f"{letter}-{label}" for label in labels for letter in "BI"))


def entities_of(tags: Sequence[str]) -> list[Entity]:
    """The entities that IOB tags say. An I- without a beginning begins one, and so does a change of type."""
    found: list[Entity] = []
    for place, tag in enumerate(tags):
        letter, _, label = tag.partition("-")
        if letter == "O":
            continue
        if letter == "I" and found and found[-1].end == place and found[-1].label == label:
            found[-1] = found[-1]._replace(end=place + 1)
        else:
            found.append(Entity(label, place, place + 1))
    return found


def entities_text(tokens: Sequence[str], entities: Sequence[Entity]) -> str:
    """The entities, in the order of the sentence, as text: `person: Ada Lund; location: Aldon`, or `none`."""
    words = _Words(tokens)
    parts, after = [], 0
    for label, start, end in entities:
        text = " ".join(tokens[start:end])
        number = [place for place, _ in words.places(_normal(text), after)].index(start) + 1
        doubled = SEMICOLONS.sub(r"\g<0>\g<0>", text)
        parts.append(f"{label} {number}: {doubled}" if number > 1 else f"{label}: {doubled}")
        after = end
    return BETWEEN.join(parts) or NO_ENTITY


def tags_from(text: str, tokens: Sequence[str]) -> list[str]:
    """One IOB2 tag a word, as `text` says them, and after them one more for every entity that is nowhere."""
    words = _Words(tokens)
    tags = ["O"] * len(tokens)
    extra: list[str] = []
    after = 0
    for label, number, phrase in _said(text):
        ahead = list(words.places(phrase, after)) if phrase else []
        free = (place for place in words.places(phrase, 0) if not any(tag != "O" for tag in tags[slice(*place)]))
        if number <= len(ahead):
            start, end = ahead[number - 1]
            after = end
        elif not phrase or (found := next(free, None)) is None:
            extra.append(f"B-{label}")
            continue
        else:
            start, end = found
        tags[start:end] = [f"B-{label}", *[f"I-{label}"] * (end - start - 1)]
    return [*tags, *extra]


def mark_entities(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    """`f1`, `precision` and `recall` over the entities of all examples."""
    found, golds = [], []
    for answer, example in zip(answers, examples, strict=True):
        gold = gold_tags(example)
        tags = tags_from(str(answer), example.fields["sentence"].split(" "))
        found.append(tags)
        golds.append([*gold, *["O"] * (len(tags) - len(gold))])
    return entity_f1(found, golds)


def gold_tags(example: Example) -> list[str]:
    """One IOB2 tag a word of the example's sentence, from its spans."""
    sentence = example.fields["sentence"]
    tags = ["O"] * (sentence.count(" ") + 1)
    for _, start, end, label in example.spans:
        first, last = sentence.count(" ", 0, start), sentence.count(" ", 0, end)
        tags[first : last + 1] = [f"B-{label}", *[f"I-{label}"] * (last - first)]
    return tags


def tagged(name: str, tags: str, names: Sequence[str]) -> ToExamples:
    """Rows with the words `tokens` and a tag index for each in the column `tags`; `names` are the tags' IOB names."""

    def examples(row: Row, origin: str) -> Iterable[Example]:
        tokens = texts_field(row, "tokens", origin)
        found = _names_of(row, tags, names, origin)
        if len(found) != len(tokens):
            raise wrong(found, tags, origin, f"as many tags as words, {len(tokens)}")
        yield sentence_example(name, tokens, found, origin, facts=row_id(row))

    return examples


def sentence_example(
    name: str, tokens: Sequence[str], tags: Sequence[str], origin: str, *, facts: Mapping[str, str]
) -> Example:
    """The example of a sentence with one IOB tag a word.

    **Errors**: DataError where there is no word, or one is empty or has a blank in it.
    """
    assert len(tags) == len(tokens), (len(tags), len(tokens))
    for token in tokens or ("",):
        if not token.strip() or " " in token:
            raise wrong(token, "tokens", origin, "words that are not empty and have no blank")
    found = entities_of(tags)
    starts = [0]
    for token in tokens:
        starts.append(starts[-1] + len(token) + 1)
    fields = {"sentence": " ".join(tokens)}
    return Example(
        inputs=key_values(name, fields),
        targets=entities_text(tokens, found),
        origin=origin,
        facts=facts,
        fields=fields,
        spans=tuple(Span("sentence", starts[start], starts[end] - 1, label) for label, start, end in found),
    )


def part_of_speech(name: str, tags: str, names: Sequence[str]) -> ToExamples:
    """Rows with a tag for every word: the tags alone, joined by blanks, are the target."""
    as_entities = tagged(name, tags, [f"B-{tag}" for tag in names])

    def examples(row: Row, origin: str) -> Iterable[Example]:
        for example in as_entities(row, origin):
            yield replace(example, targets=" ".join(span.label for span in example.spans))

    return examples


def mark_tags(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    """`accuracy` over all words: the share with their own tag. Missing tags are wrong, further ones not read."""
    found: list[str] = []
    golds: list[str] = []
    for answer, example in zip(answers, examples, strict=True):
        wanted = example.targets.split()
        said = str(answer).split()[: len(wanted)]
        found += [*said, *[""] * (len(wanted) - len(said))]
        golds += wanted
    return accuracy(found, golds)


class _Words:
    """A sentence in which phrases are looked for, from one word's beginning to another's end."""

    def __init__(self, tokens: Sequence[str]) -> None:
        normal = [_normal(token) for token in tokens]
        self._text = " ".join(normal)
        self._starts: list[int] = []
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}
        at = 0
        for place, token in enumerate(normal):
            self._starts.append(at)
            self._first[at], self._last[at + len(token)] = place, place
            at += len(token) + 1

    def places(self, phrase: str, after: int) -> Iterator[tuple[int, int]]:
        """(first word, last word + 1) wherever the phrase stands from word `after` on; places may overlap."""
        at = self._text.find(phrase, self._starts[after]) if after < len(self._starts) else -1
        while at >= 0:
            first, last = self._first.get(at), self._last.get(at + len(phrase))
            if first is not None and last is not None:
                yield first, last + 1
            at = self._text.find(phrase, at + 1)


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _said(text: str) -> Iterator[tuple[str, int, str]]:
    """(type, number, words) of every entity that a text tells of; no words where it is not understood."""
    text = _normal(text)
    if text == NO_ENTITY:
        return
    for piece in PIECE.findall(text):
        label, colon, phrase = piece.replace(";;", ";").partition(":")
        numbered = NUMBERED.fullmatch(label.strip())
        if not piece.strip():
            continue
        if not colon or not label.strip() or not phrase.strip():
            yield UNKNOWN_TYPE, 1, ""
        elif numbered:
            yield numbered[1], int(numbered[2]), phrase.strip()
        else:
            yield label.strip(), 1, phrase.strip()


def _names_of(row: Row, column: str, names: Sequence[str], origin: str) -> list[str]:
    numbers = field(row, column, origin)
    if isinstance(numbers, str) or not isinstance(numbers, Sequence):
        raise wrong(numbers, column, origin, "a list of tag indices")
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(names):
            raise wrong(number, column, origin, f"only tag indices from 0 to {len(names) - 1}")
    return [names[number] for number in numbers]
