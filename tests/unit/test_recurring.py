from __future__ import annotations

import pytest

from textfer.data.recurring import Rules, content_words, find_recurring, sentences_of
from textfer.data.task import TASKS
from textfer.data.tasks.recurring_spans import ARTICLE, OTHER, SAMPLE
from textfer.data.tasks.squad import NO_ANSWER, squad_inputs
from textfer.data.wording import Place, question_of
from textfer.testing import check_task


def asked(sentence: str, span: str, kind: str) -> str | None:
    start = sentence.index(span)
    return question_of(sentence, Place(start, start + len(span)), kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sentence", "span", "kind", "question"),
    [
        ("Maud Hale gave the well to the town.", "Maud Hale", "person", "Who gave the well to the town?"),
        ("Hale's report was printed in Aldon twice.", "Hale", "person", "Whose report was printed in Aldon twice?"),
        ("The castle of Aldon was built in 1203.", "1203", "date", "When was the castle of Aldon built?"),
        ("In 1203 the castle was built by masons.", "1203", "date", "When was the castle built by masons?"),
        ("The flood was seen first in Aldon.", "Aldon", "place", "Where was the flood seen first?"),
        ("Ida Brook studied at the University of Tarn, and later she taught there.", "Tarn", "name", None),
        ("She had studied law for years at Tarn College.", "Tarn College", "name", None),
        (
            "Ida Brook had studied law at Tarn College.",
            "Tarn College",
            "name",
            "Which college had Ida Brook studied law at?",
        ),
        ("The siege was won by 3,000 soldiers of the king.", "3,000", "number", None),
        ("It was built by Ida Brook for the town.", "Ida Brook", "person", None),
        ('The song "Home to Aldon" was heard all summer.', "Aldon", "name", None),
        ("Masons (most of them young) came from the Tarn valley.", "Tarn", "name", "Masons came from the what valley?"),
    ],
)
def test_a_statement_as_a_question(sentence: str, span: str, kind: str, question: str | None) -> None:
    found = asked(sentence, span, kind)
    if question is None:
        assert found is None or span not in found
    else:
        assert found == question.replace("the what", "what")


def test_what_says_too_little_is_not_asked() -> None:
    assert asked("It was built by Ida Brook for the town.", "Ida Brook", "person") is None
    assert asked('The song "Home to Aldon" was heard all summer.', "Aldon", "name") is None
    assert asked("Ida Brook came.", "Ida Brook", "person") is None


def test_sentences_end_where_they_end() -> None:
    text = 'Dr. I. M. Brook came at 3.5 p.m. on foot. "Why?" asked Hale. St. Ann vs. Tarn was No. 4 then.'
    assert sentences_of(text) == [
        "Dr. I. M. Brook came at 3.5 p.m. on foot.",
        '"Why?" asked Hale.',
        "St. Ann vs. Tarn was No. 4 then.",
    ]


def test_the_answer_stands_in_the_context_and_not_in_the_question() -> None:
    for text in (ARTICLE, OTHER):
        (found,) = find_recurring(text, Rules())
        assert found.context[found.start : found.start + len(found.answer)] == found.answer
        assert content_words(found.question).isdisjoint(content_words(found.answer))
        asked_of = content_words(found.question)
        sentence = max(sentences_of(text.replace("\n", " ")), key=lambda one: len(asked_of & content_words(one)))
        assert found.answer in sentence
        assert sentence not in found.context


def test_without_answer_no_word_of_it_is_left() -> None:
    for text in (ARTICLE, OTHER):
        (answerable,) = find_recurring(text, Rules())
        (found,) = find_recurring(text, Rules(no_answer=1.0))
        assert (found.question, found.answer, found.start) == (answerable.question, "", -1)
        assert content_words(found.context).isdisjoint(content_words(answerable.answer))
        assert set(sentences_of(found.context)) < set(sentences_of(answerable.context))


def test_one_question_a_passage_and_no_more_than_asked_for() -> None:
    long = "\n".join([ARTICLE.replace("springs", f"springs{'x' * n}") for n in range(6)])
    assert len(find_recurring(long, Rules(most=3))) == 3
    assert len(find_recurring(long, Rules())) > 3
    assert find_recurring(long, Rules(min_chars=5000)) == []


def test_examples_have_the_form_of_squad() -> None:
    task = TASKS.get("recurring_spans_wikipedia_v2")
    examples = check_task(task)
    assert {example.targets == NO_ANSWER for example in examples} == {True, False}
    for example in examples:
        assert list(example.fields) == ["question", "context"]
        assert example.inputs == squad_inputs(example.fields["question"], example.fields["context"])
        assert bool(example.spans) == (example.targets != NO_ANSWER)
    ids = [example.facts["id"] for example in examples]
    assert len(set(ids)) == len(ids) > 1
    v1 = check_task(TASKS.get("recurring_spans_wikipedia"))
    assert all(example.targets != NO_ANSWER for example in v1)
    assert len(SAMPLE) == 3


def test_the_same_rows_are_held_out_as_of_the_plain_text() -> None:
    plain, ours = TASKS.get("wikipedia_en").source, TASKS.get("recurring_spans_wikipedia").source
    assert (plain.folder, plain.hold_out, plain.hold_out_by) == (ours.folder, ours.hold_out, ours.hold_out_by)
