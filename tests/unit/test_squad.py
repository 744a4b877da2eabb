"""SQuAD in T5's text form: padding, spans, spelling given back, marks; and the reading task that is made up."""

from __future__ import annotations

from typing import Any

import pytest

from textfer.batch import Example, Span
from textfer.data.source import open_rows
from textfer.data.task import TASKS
from textfer.data.tasks.reading import FACTS, FIRST, LAST, reading_row, reading_task
from textfer.data.tasks.squad import (
    NO_ANSWER,
    closed_book_inputs,
    find_padded,
    pad_punctuation,
    padded_scores,
    restore,
    squad_inputs,
)
from textfer.errors import DataError


def example(task: str, row: dict[str, Any]) -> Example:
    (found,) = TASKS.get(task).to_examples(row, f"{task}/train:7")
    return found


def row(context: str, question: str, *answers: str) -> dict[str, Any]:
    starts = [context.find(answer) for answer in answers]
    return {
        "id": "q",
        "context": context,
        "question": question,
        "answers": {"text": [*answers], "answer_start": starts},
    }


@pytest.mark.parametrize(
    ("text", "padded"),
    [
        ('He said: "5-6%" (of it).', "He said : \" 5 - 6 % \" ( of it ) . "),
        ('"Día  uno" — «dos»\t\n…', ' " Día uno " — «dos» …'),  # ASCII marks only
        ("a\u00a0b\x0bc", "a\u00a0b\x0bc"),  # ASCII blanks only, and no vertical tab
        ("!$^_`{|}~", " ! $ ^ _ ` { | } ~ "),
        ("", ""),
    ],
)  # fmt: skip
def test_padding(text: str, padded: str) -> None:
    assert pad_punctuation(text) == padded


def test_text_form() -> None:
    found = example("squad", row("Ann (b. 1950) lives in  St. Ives.", "Where's Ann?", "St. Ives", "Ives"))
    assert found == Example(
        inputs="question: Where ' s Ann ? context: Ann ( b . 1950 ) lives in St . Ives . ",
        targets="St . Ives",
        origin="squad/train:7",
        facts={"id": "q", "answers": ("St. Ives", "Ives")},
        fields={"question": "Where's Ann?", "context": "Ann (b. 1950) lives in  St. Ives."},
        spans=(Span("context", 24, 32),),
    )
    assert squad_inputs('"Why"?', "x") == 'question: " Why " ? context: x'
    assert closed_book_inputs("Who was it?") == "squad trivia question: Who was it ? "
    assert example("squad", row("It was so.", "How?", "so.")).targets == "so . "


def test_unanswerable_questions_have_a_word_of_their_own() -> None:
    task = TASKS.get("squad_v2")
    found = example("squad_v2", row("Ann lives in Bonn.", "Who is Bob?"))
    assert (found.targets, found.spans, found.facts["answers"]) == ("unanswerable", (), ())
    assert [task.answer(text, found) for text in (NO_ANSWER, " Unanswerable ", "bonn")] == ["", "", "bonn"]
    scores = task.metrics([""], [found])  # type: ignore[misc]
    assert scores == {
        "em": 100,
        "exact": 100,
        "f1": 100,
        "total": 1,
        "NoAns_exact": 100,
        "NoAns_f1": 100,
        "NoAns_total": 1,
    }
    with pytest.raises(
        DataError, match=r"squad/train:7: field 'answers\.text' is \[\], expected at least one answer\."
    ):
        example("squad", row("Ann lives in Bonn.", "Who is Bob?"))


@pytest.mark.parametrize(
    ("padded", "context", "original"),
    [
        ("1 . 5", "It rose by 1.5 or 1 . 5.", "1.5"),
        ("St . Ives", "in St. Ives", "St. Ives"),
        ("the U . S . Army ' s", "of the U.S. Army's men", "the U.S. Army's"),
        ("two words", "two\n words", "two\n words"),
        ("art", "party art", "art"),
        ("art", "party", "art"),
        ("- 5", "minus -5", "-5"),
        ("not there", "at all", "not there"),
        (" ( a ) ", "x (a) y", "(a)"),
        ("", "x", ""),
        ("a * b", "(a*b)", "a*b"),
    ],
)
def test_the_original_spelling_is_given_back(padded: str, context: str, original: str) -> None:
    assert restore(padded, context) == original


def test_places_are_of_whole_words_where_there_are_some() -> None:
    assert find_padded("art", "party art") == (6, 9)
    assert find_padded("art", "party") == (1, 4)
    assert find_padded("x", "party") is None


def test_a_wrong_answer_start_is_put_right() -> None:
    wrong = row("Ann lives in Bonn.", "Where?", "Bonn")
    wrong["answers"]["answer_start"] = [3]
    assert example("squad", wrong).spans == (Span("context", 13, 17),)
    del wrong["answers"]["answer_start"]
    assert example("squad", wrong).spans == (Span("context", 13, 17),)
    wrong["answers"]["text"] = ["Berlin"]
    assert example("squad", wrong).spans == ()
    wrong["answers"]["answer_start"] = ["x"]
    with pytest.raises(
        DataError, match=r"squad/train:7: field 'answers\.answer_start' is 'x', expected whole numbers\."
    ):
        example("squad", wrong)


def test_marks_are_the_official_ones_on_original_texts_and_t5s_way_is_there() -> None:
    task = TASKS.get("squad")
    found = [example("squad", row("It rose by 1.5 in the U.S. alone.", "How much?", "1.5"))]
    wrote = ["1 . 5"]
    assert task.metrics([task.answer(text, e) for text, e in zip(wrote, found, strict=True)], found) == {
        "em": 100,
        "f1": 100,
    }  # type: ignore[misc]
    assert task.metrics(wrote, found) == {"em": 0, "f1": 0}  # type: ignore[misc]
    assert padded_scores(wrote, found) == {"em": 100, "f1": 100}


# --- the reading task -------------------------------------------------------------------------------------------------


NAMES = {f"{first} {last}" for first in FIRST for last in LAST}
VALUES = {value for fact in FACTS for value in fact.values}


def words(text: str) -> set[str]:
    return set(text.replace("?", "").replace(",", "").replace(".", "").split())


@pytest.mark.parametrize(
    ("people", "facts", "alike"), [(1, 1, False), (2, 2, False), (1, 4, False), (3, 2, True), (4, 4, True)]
)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_every_question_is_answered_once_in_its_paragraph(split: str, people: int, facts: int, alike: bool) -> None:
    seen = set()
    for index in range(300):
        made = reading_row(split, index, people=people, facts=facts, alike=alike)
        context, question = made["context"], made["question"]
        (answer,), (start,) = made["answers"]["text"], made["answers"]["answer_start"]
        assert context[start : start + len(answer)] == answer
        named = {name for name in NAMES if name in context}
        seen.add(len(named))
        assert context.count(".") == (facts * len(named) if len(named) > 1 else min(people * facts, len(FACTS)))
        if answer in NAMES:
            (value,) = VALUES & words(question)
            (sentence,) = [sentence for sentence in context.split(". ") if value in words(sentence)]
            assert answer in sentence
        else:
            assert answer in VALUES
            (name,) = [name for name in NAMES if name in question]
            (sentence,) = [sentence for sentence in context.split(". ") if answer in words(sentence)]
            assert name in sentence
    assert seen == set(range(1, people + 1))


def test_people_of_validation_are_new_and_their_words_are_known() -> None:
    met: dict[str, set[str]] = {"train": set(), "validation": set()}
    known: dict[str, set[str]] = {"train": set(), "validation": set()}
    for split in met:
        for index in range(2000):
            made = reading_row(split, index)
            met[split] |= {name for name in NAMES if name in made["context"]}
            known[split] |= words(made["context"]) | words(made["question"])
    assert not met["train"] & met["validation"]
    assert met["train"] | met["validation"] == NAMES
    assert len(met["validation"]) == len(NAMES) / 4
    assert known["validation"] == known["train"]
    assert len(known["train"]) < 200


def test_rows_are_a_pure_function_of_their_address() -> None:
    assert reading_row("validation", 3) == {
        "id": "validation-3",
        "context": "Henry Shaw was born in 1926. Henry Shaw keeps a room full of cups. "
        "Henry Shaw is a nurse. Henry Shaw has a house in Madrid.",
        "question": "When was Henry Shaw born?",
        "answers": {"text": ["1926"], "answer_start": [23]},
    }
    task = reading_task(num_train=7, num_validation=2, people=3, facts=1)
    rows = open_rows(task.source, "train")
    assert len(rows) == 7
    assert list(rows)[5] == reading_row("train", 5, people=3, facts=1)
    assert rows.digest != open_rows(reading_task(num_train=7, people=2, facts=1).source, "train").digest
    assert rows.digest != open_rows(reading_task(num_train=7, people=3, facts=1, seed=1).source, "train").digest
