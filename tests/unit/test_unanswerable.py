"""Questions made unanswerable: each kind of change, what is left alone, and the task that hears them."""

from __future__ import annotations

import pytest

from textfer.data.headed import head_of
from textfer.data.task import TASKS
from textfer.data.tasks.squad import NO_ANSWER
from textfer.data.unanswerable import OPPOSITE, RULES, unanswered

CONTEXT = (
    "The mill of Larch Hill was built in 1880 by Maud Hale for the Tarn Survey. Ida Brook bought the mill in 1902 and "
    "drove forty carts of flour to Aldon. The oldest wheel of the mill was drawn by nine horses over the upper river "
    "before the flood carried the bridge away and left the valley without a road."
)


def made(kind: str, question: str, answer: str) -> tuple[str, str] | None:
    return RULES[kind](question, CONTEXT, [answer], 7)


def test_another_name_of_the_same_sort_stands_in_the_question() -> None:
    found = made("names", "When did Ida Brook buy the mill?", "1902")
    assert found is not None
    question, context = found
    assert context == CONTEXT
    assert question in {f"When did {name} buy the mill?" for name in ("Maud Hale", "Larch Hill", "Tarn Survey")}


def test_a_year_gives_way_to_a_year() -> None:
    assert made("names", "Who bought the mill in 1902?", "Ida Brook") == ("Who bought the mill in 1880?", CONTEXT)


def test_the_answer_itself_is_never_put_into_the_question() -> None:
    found = made("names", "Where did Ida Brook drive carts to?", "Aldon")
    assert found is not None
    assert "Aldon" not in found[0]


def test_an_opposite_that_the_text_does_not_say() -> None:
    assert made("opposite", "What drew the oldest wheel?", "nine horses") == ("What drew the youngest wheel?", CONTEXT)
    assert made("opposite", "What left the valley?", "a road") == ("What joined the valley?", CONTEXT)
    assert made("opposite", "Who bought the mill?", "Ida Brook") == ("Who sold the mill?", CONTEXT)
    assert made("opposite", "Which river is it?", "upper") is None


def test_an_auxiliary_is_denied_but_not_at_the_head() -> None:
    assert made("denied", "When was the mill built?", "1880") == ("When wasn't the mill built?", CONTEXT)
    assert made("denied", "was it built?", "1880") is None
    assert made("denied", "Why can it go?", "it") == ("Why can't it go?", CONTEXT)


def test_no_answer_is_left_in_the_text() -> None:
    found = made("removed", "Who bought the mill?", "Ida Brook")
    assert found is not None
    question, context = found
    assert question == "Who bought the mill?"
    assert "Ida Brook" not in context
    assert context.startswith("The mill of Larch Hill")
    assert context.endswith("without a road.")
    assert made("removed", "What was built?", "the mill") is None  # every sentence says it


def test_what_no_rule_changes_has_no_twin() -> None:
    assert unanswered("why?", "Because.", ["Because"]) is None


def test_the_twin_is_a_function_of_question_and_text() -> None:
    asked = ("Who bought the mill in 1902?", CONTEXT, ["Ida Brook"])
    assert unanswered(*asked) == unanswered(*asked)


def test_opposites_go_both_ways() -> None:
    assert OPPOSITE["first"] == "last"
    assert OPPOSITE["last"] == "first"
    assert all(one != other for one, other in OPPOSITE.items())


def test_the_task_hears_both_and_has_a_head_that_may_say_none() -> None:
    task = TASKS.get("squad_twins")
    row = {
        "id": "m1",
        "context": CONTEXT,
        "question": "Who bought the mill in 1902?",
        "answers": {"text": ["Ida Brook"], "answer_start": [CONTEXT.index("Ida Brook")]},
    }
    own, twin = task.to_examples(row, "squad_twins/train:0")
    assert own.targets == "Ida Brook"
    assert own.spans
    assert own.facts["answers"]
    assert twin.targets == NO_ANSWER
    assert not twin.spans
    assert not twin.facts["answers"]
    assert (own.fields["question"], own.fields["context"]) != (twin.fields["question"], twin.fields["context"])
    assert own.facts["id"] == "m1"
    assert str(twin.facts["id"]).startswith("m1-")
    head = head_of(task, [own, twin])
    assert head.kind == "span"
    assert head.threshold == 0.0
    assert task.metrics is not None
    assert task.metrics([task.answer("Ida Brook", own), task.answer(NO_ANSWER, twin)], [own, twin])["em"] == 100.0


@pytest.mark.parametrize("kind", list(RULES))
def test_each_kind_is_said_by_the_twin(kind: str) -> None:
    """Over some questions of the same words, every kind comes up first for one of them."""
    kinds = {
        found.kind
        for number in range(200)
        if (found := unanswered(f"When did Ida Brook buy the first mill no {number}a?", CONTEXT, ["1902"]))
    }
    assert kind in kinds
