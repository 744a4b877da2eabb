"""Tags as text and back: nothing is lost, and whatever a model writes gets a fair mark."""

from __future__ import annotations

import sys
import unicodedata
from random import Random

import pytest

from textfer.batch import Example
from textfer.data.task import TASKS
from textfer.data.tasks.tagging import (
    SEMICOLONS,
    entities_of,
    entities_text,
    gold_tags,
    iob,
    mark_entities,
    mark_tags,
    part_of_speech,
    tagged,
    tags_from,
)
from textfer.errors import DataError

NAMES = iob("person", "location")
SENTENCE = "Ada Lund of Aldon met Maud Hale ."
TAGS = (1, 2, 0, 3, 0, 1, 2, 0)
TARGET = "person: Ada Lund; location: Aldon; person: Maud Hale"


def example_of(sentence: str = SENTENCE, tags: tuple[int, ...] = TAGS) -> Example:
    row = {"tokens": sentence.split(" "), "ner_tags": list(tags)}
    (example,) = tagged("wells", "ner_tags", NAMES)(row, "wells/train:0")
    return example


def test_a_sentence_as_text() -> None:
    example = example_of()
    assert example.inputs == f"wells sentence: {SENTENCE}"
    assert example.targets == TARGET
    found = [(example.fields[span.field][span.start : span.end], span.label) for span in example.spans]
    assert found == [("Ada Lund", "person"), ("Aldon", "location"), ("Maud Hale", "person")]
    assert gold_tags(example) == [NAMES[number] for number in TAGS]


@pytest.mark.parametrize(
    ("sentence", "tags", "text"),
    [
        ("it rains", (0, 0), "none"),
        ("Aldon Aldon", (0, 3), "location 2: Aldon"),
        ("Aldon Aldon", (3, 3), "location: Aldon; location: Aldon"),
        ("Aldon Aldon", (3, 4), "location: Aldon Aldon"),
        ("a a a a", (3, 0, 3, 4), "location: a; location 2: a a"),
        ("Aldonia Aldon", (0, 3), "location: Aldon"),
        ("Ada ; Maud", (1, 2, 2), "person: Ada ;; Maud"),
        ("Ada ; Maud", (1, 0, 1), "person: Ada; person: Maud"),
        ("; person: x", (1, 1, 0), "person: ;;; person: person:"),
        ("none", (1,), "person: none"),
        ("2 3", (1, 1), "person: 2; person: 3"),
    ],
)
def test_forms(sentence: str, tags: tuple[int, ...], text: str) -> None:
    example = example_of(sentence, tags)
    assert example.targets == text
    assert tags_from(text, sentence.split(" ")) == [NAMES[number] for number in tags]


def test_nothing_is_lost() -> None:
    draw = Random(3)
    words = ("a", "b", "a;", ";", ";;", "\uff1b", "\u037e", ":", "person:", "2", "none", "\u00bd", "\u00a8", "a\u00a0b")
    for _ in range(3000):
        tokens = [draw.choice(words) for _ in range(draw.randint(1, 9))]
        tags: list[str] = []
        for _ in tokens:
            kind = draw.choice(("person", "cell line"))
            inside = bool(tags) and tags[-1] != "O" and draw.random() < 0.5
            tags.append(f"I-{tags[-1][2:]}" if inside else draw.choice(("O", f"B-{kind}")))
        text = entities_text(tokens, entities_of(tags))
        assert tags_from(text, tokens) == tags, (tokens, tags, text)
        assert tags_from(unicodedata.normalize("NFKC", text), tokens) == tags, (tokens, tags, text)


def test_every_semicolon_is_known() -> None:
    found = {chr(code) for code in range(sys.maxunicode) if ";" in unicodedata.normalize("NFKC", chr(code))}
    assert found == set(SEMICOLONS.pattern.strip("[]"))


def test_tags_without_beginning() -> None:
    assert entities_of(["I-x", "I-x", "I-y", "O", "I-x", "B-x"]) == [
        ("x", 0, 2),
        ("y", 2, 3),
        ("x", 4, 5),
        ("x", 5, 6),
    ]


@pytest.mark.parametrize(
    ("answer", "precision", "recall"),
    [
        (TARGET, 3 / 3, 3 / 3),
        (f"  {TARGET} ", 3 / 3, 3 / 3),
        ("person:Ada Lund;location:Aldon", 2 / 2, 2 / 3),
        ("none", 0, 0),
        ("", 0, 0),
        ("person: Ada Lund", 1 / 1, 1 / 3),
        ("person: Ada; location: Aldon", 1 / 2, 1 / 3),  # an entity cut short is wrong
        ("location: Ada Lund", 0, 0),
        ("person: Ada Lund; person: Ada Lund", 1 / 2, 1 / 3),  # said twice, stands once
        ("person: Ada Lund; wells", 1 / 2, 1 / 3),  # no type
        ("person: Ada Lund; person: ; :", 1 / 3, 1 / 3),
        ("person: Ada Lund; person: Ida Lund", 1 / 2, 1 / 3),  # not in the sentence
        ("person: Maud Hale; location: Aldon; person: Ada Lund", 3 / 3, 3 / 3),  # out of order
        ("person 1: Ada Lund; person 9: Maud Hale", 2 / 2, 2 / 3),
        ("person: " + "9" * 5000, 0, 0),
        ("person " + "9" * 5000 + ": Ada Lund", 0, 0),
        ("zyx wvu", 0, 0),
    ],
)
def test_marks(answer: str, precision: float, recall: float) -> None:
    scores = mark_entities([answer], [example_of()])
    assert scores["precision"] == pytest.approx(100 * precision)
    assert scores["recall"] == pytest.approx(100 * recall)
    both = precision + recall
    assert scores["f1"] == pytest.approx(100 * 2 * precision * recall / both if both else 0)


def test_what_tokenizers_normalise_is_found() -> None:
    example = example_of("the \u00bd mile of \uff21da", (0, 3, 4, 0, 1))
    assert example.targets == "location: \u00bd mile; person: \uff21da"
    assert mark_entities(["location: 1\u20442 mile; person: Ada"], [example])["f1"] == 100


def test_marks_add_up_over_sentences() -> None:
    examples = [example_of(), example_of("it rains", (0, 0))]
    assert mark_entities([TARGET, "none"], examples)["f1"] == 100
    assert mark_entities([TARGET, "location: it"], examples)["precision"] == pytest.approx(75)


def test_parts_of_speech() -> None:
    row = {"tokens": ["Ada", "left", "."], "pos_tags": [0, 1, 2]}
    (example,) = part_of_speech("wells_pos", "pos_tags", ("NNP", "VBD", "."))(row, "wells/train:0")
    assert example.targets == "NNP VBD ."
    assert [span.label for span in example.spans] == ["NNP", "VBD", "."]
    two = [example, example]
    assert mark_tags(["NNP VBD .", "NNP VBD . . ."], two) == {"accuracy": 100}
    assert mark_tags(["VBD", ""], two) == {"accuracy": 0}
    assert mark_tags(["NNP", "NNP NNP ."], two)["accuracy"] == pytest.approx(50)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": ["Ada", "left"], "ner_tags": [1]}, "field 'ner_tags' is ['B-person'], expected as many tags"),
        ({"tokens": ["Ada", " "], "ner_tags": [1, 0]}, "field 'tokens' is ' ', expected words that are not empty"),
        ({"tokens": ["Ada Lund"], "ner_tags": [1]}, "field 'tokens' is 'Ada Lund', expected words"),
        ({"tokens": [], "ner_tags": []}, "field 'tokens' is '', expected words that are not empty"),
        ({"tokens": ["Ada"], "ner_tags": [5]}, "field 'ner_tags' is 5, expected only tag indices from 0 to 4."),
        ({"tokens": ["Ada"], "ner_tags": [-1]}, "field 'ner_tags' is -1, expected only tag indices from 0 to 4."),
        ({"tokens": ["Ada"], "ner_tags": [None]}, "field 'ner_tags' is null"),
        ({"tokens": ["Ada"], "ner_tags": "0"}, "field 'ner_tags' is '0', expected a list of tag indices."),
        ({"tokens": ["Ada"]}, "no field 'ner_tags'"),
    ],
)
def test_bad_rows(row: dict[str, object], message: str) -> None:
    with pytest.raises(DataError) as error:
        list(tagged("wells", "ner_tags", NAMES)(row, "wells/train:7"))
    assert str(error.value).startswith("wells/train:7: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        ("O O", "expected as many tags as the text has words, 3"),
        ("O B-artist artist", "field 'slots' is 'artist', expected only O, B-… and I-…."),
        ("O B- O", "field 'slots' is 'B-'"),
    ],
)
def test_bad_slots(slots: str, message: str) -> None:
    row = {"id": "1", "text": "play Maud Hale", "slots": slots}
    with pytest.raises(DataError) as error:
        list(TASKS.get("snips_slots").to_examples(row, "snips/train:7"))
    assert message in str(error.value)


def test_slots_as_text() -> None:
    row = {"id": "4", "text": "fly  from aldon", "slots": "O O B-fromloc.city_name"}
    (example,) = TASKS.get("atis_slots").to_examples(row, "atis/train:4")
    assert example.inputs == "atis_slots sentence: fly from aldon"
    assert example.targets == "fromloc city name: aldon"
    assert example.facts == {"id": "4"}
