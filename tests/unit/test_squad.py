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


@pytest.mark.parametrize(("people", "facts"), [(1, 1), (2, 2), (4, 4)])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_every_question_is_answered_once_in_its_paragraph(split: str, people: int, facts: int) -> None:
    names = {f"{first} {last}" for first in FIRST for last in LAST}
    values = {value for fact in FACTS for value in fact.values}
    for index in range(300):
        made = reading_row(split, index, people=people, facts=facts)
        context, question = made["context"], made["question"]
        (answer,), (start,) = made["answers"]["text"], made["answers"]["answer_start"]
        assert context[start : start + len(answer)] == answer
        assert answer in names or answer in values
        assert answer not in question
        assert context.count(".") == people * facts
        in_question = [part for part in (names | values) if part in question.replace("?", " ").replace("  ", " ")]
        assert len(in_question) >= 1
        assert len({name for name in names if name in context}) == people


def test_no_pair_of_name_and_value_is_in_both_splits() -> None:
    pairs: dict[str, set[tuple[str, str]]] = {"train": set(), "validation": set()}
    names = [f"{first} {last}" for first in FIRST for last in LAST]
    values = {value for fact in FACTS for value in fact.values}
    for split, found in pairs.items():
        for index in range(3000):
            for sentence in reading_row(split, index)["context"].split(". "):
                (name,) = [name for name in names if name in sentence]
                (value,) = values & set(sentence.replace(name, "").replace(",", "").replace(".", "").split())
                found.add((name, value))
    assert not pairs["train"] & pairs["validation"]
    assert len(pairs["train"]) > 5000
    assert {name for name, _ in pairs["validation"]} <= {name for name, _ in pairs["train"]}, "the words are known"
    assert {value for _, value in pairs["validation"]} <= {value for _, value in pairs["train"]}


def test_rows_are_a_pure_function_of_their_address() -> None:
    assert reading_row("validation", 3) == {
        "id": "validation-3",
        "context": "Diana Foster lives in Warsaw. Diana Foster collects maps. Karen Reed collects plates. "
        "The home of Karen Reed is in Boston.",
        "question": "What does Diana Foster collect?",
        "answers": {"text": ["maps"], "answer_start": [52]},
    }
    task = reading_task(num_train=7, num_validation=2, people=3)
    rows = open_rows(task.source, "train")
    assert len(rows) == 7
    assert list(rows)[5] == reading_row("train", 5, people=3)
    assert rows.digest != open_rows(reading_task(num_train=7, people=2).source, "train").digest
    assert rows.digest != open_rows(reading_task(num_train=7, people=3, seed=1).source, "train").digest
