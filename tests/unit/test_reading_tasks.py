"""Rules of their own that reading, multiple choice, inference, coreference and closed-book tasks have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from textfer.batch import Example
from textfer.data.task import TASKS
from textfer.data.tasks.coreference import gap_scores
from textfer.data.tasks.inference import number
from textfer.data.tasks.knowledge import truthfulness
from textfer.data.tasks.reading_sets import rankings
from textfer.errors import DataError


def say(task: str, row: Mapping[str, Any]) -> Example:
    (example,) = TASKS.get(task).to_examples(row, "made/train:0")
    return example


def complaint(task: str, row: Mapping[str, Any]) -> str:
    with pytest.raises(DataError) as error:
        list(TASKS.get(task).to_examples(row, "made/train:0"))
    return str(error.value)


# ---- multiple choice


def test_sciq_puts_the_answers_in_an_order_that_says_nothing() -> None:
    row = {"question": "q", "support": "", "distractor1": "b", "distractor2": "d", "distractor3": "a"}
    assert say("sciq", {**row, "correct_answer": "c"}).inputs.startswith(
        "sciq choice1: a choice2: b choice3: c choice4: d question: q"
    )
    assert [say("sciq", {**row, "correct_answer": answer}).targets for answer in ("0", "c", "e")] == [
        "choice1",
        "choice3",
        "choice4",
    ]


def test_wsc273_sorts_the_candidates_which_list_the_right_one_first() -> None:
    row = {"text": "The jug broke the cup because [MASK] was thin.", "label": 0}
    one, other = (say("wsc273", {**row, "candidates": names}) for names in (["The cup", "jug"], ["jug", "The cup"]))
    assert one.inputs == other.inputs == f"wsc273 choice1: jug choice2: The cup text: {row['text']}"
    assert (one.targets, other.targets) == ("choice2", "choice1")


@pytest.mark.parametrize(
    ("task", "column", "value"),
    [
        ("commonsense_qa", "answerKey", "F"),
        ("ai2_arc_easy", "answerKey", "4"),
        ("mctest_160", "answer", "E"),
        ("social_i_qa", "label", "0"),
        ("winogrande", "answer", "3"),
        ("piqa", "label", 2),
        ("dream", "answer", "A lid."),
        ("opentriviaqa_choices", "answer", "Crow"),
        ("mmlu", "answer", 4),
    ],
)
def test_an_answer_that_is_no_choice_is_told(task: str, column: str, value: object) -> None:
    row = {**TASKS.get(task).sample[-1], column: value}
    assert f"field '{column}' is {value!r}, expected" in complaint(task, row)


def test_arc_takes_letters_and_numbers() -> None:
    row = {"id": "x", "question": "q", "choices": {"text": ["p", "q", "r"], "label": ["1", "2", "3"]}}
    assert say("ai2_arc_easy", {**row, "answerKey": "3"}).targets == "choice3"
    lettered = {**row, "choices": {"text": ["p", "q", "r"], "label": ["A", "B", "C"]}}
    assert say("ai2_arc_easy", {**lettered, "answerKey": "B"}).targets == "choice2"


# ---- reading


def test_trecqa_ranks_sentences_by_question() -> None:
    task = TASKS.get("trecqa")
    rows = [("q1", 0), ("q1", 1), ("q1", 1), ("q2", 1), ("q3", 0)]
    examples = [say("trecqa", {"question": question, "answer": "s", "label": label}) for question, label in rows]
    margins = [3.0, 2.0, 1.0, 0.0, 9.0]
    assert task.rank_metrics is not None
    scores = task.rank_metrics([[0.0, margin] for margin in margins], examples)
    # By hand: q1 has its right sentences at places 2 and 3, (1/2 + 2/3) / 2; q2 at place 1; q3 has none.
    assert scores == pytest.approx({"map": 100 * ((1 / 2 + 2 / 3) / 2 + 1) / 2, "mrr": 100 * (1 / 2 + 1) / 2})
    assert rankings([[0.0, 1.0], [0.0, 1.0]], examples[:2])["mrr"] == 50.0  # a tie is broken against the right one


def test_fairytales_have_one_or_two_answers() -> None:
    row = {"story_section": "s", "question": "q", "answer1": "one", "answer2": " "}
    assert say("fairytale_qa", row).facts["answers"] == ("one",)
    assert say("fairytale_qa", {**row, "answer2": "two"}).facts["answers"] == ("one", "two")
    assert "answer that is not empty" in complaint("fairytale_qa", {**row, "answer1": ""})


def test_subjqa_says_that_there_is_no_answer() -> None:
    task = TASKS.get("subjqa_books")
    examples = [say("subjqa_books", row) for row in task.sample]
    assert [example.targets for example in examples] == ["1203", "Maud Hale", "unanswerable"]
    assert task.metrics is not None
    answers = [task.answer("unanswerable", example) for example in examples]
    assert task.metrics(answers, examples)["em"] == pytest.approx(100 / 3)


def test_answerability_and_questions_are_told_from_squad_rows() -> None:
    with_, _, without = TASKS.get("squad_v2_answerability").sample
    assert say("squad_v2_answerability", with_).targets == "answerable"
    assert say("squad_v2_answerability", without).targets == "unanswerable"
    made = say("squad_question_generation", with_)
    assert made.inputs.startswith("squad_question_generation answer: 1203 context: The castle of Aldon")
    assert made.targets == "When was the castle built?"
    assert "answers.text" in complaint("squad_question_generation", without)


# ---- inference


@pytest.mark.parametrize(("text", "value"), [("3.8", 3.8), (" 4 ", 4.0), ("four", -1.0), ("nan", -1.0), ("", -1.0)])
def test_what_is_no_number_counts_as_minus_one(text: str, value: float) -> None:
    assert number(text) == value


def test_sick_relatedness_is_told_to_one_decimal() -> None:
    example = say("sick_relatedness", TASKS.get("sick").sample[1])
    assert (example.targets, example.number) == ("4.2", 4.215)


def test_evidence_and_abstracts_are_joined() -> None:
    fever = say("fever_gold_evidence", {"claim": "c", "label": 1, "evidence": ["one .", "two ."]})
    assert fever.inputs == "fever_gold_evidence claim: c evidence: one . two ."
    assert fever.targets == "supports"
    row = {"question": "q?", "context": {"contexts": ["One.", "Two."]}, "final_decision": "maybe"}
    assert say("pubmed_qa", row).inputs == "pubmed_qa context: One. Two. question: q?"
    assert "context.contexts" in complaint("pubmed_qa", {**row, "context": {"contexts": "One."}})


# ---- coreference

GAP = {"ID": "1", "Text": "Ann met Eve. She left.", "Pronoun": "She", "Pronoun-offset": 13, "A": "Ann", "B": "Eve"}


def gap(of_a: bool, of_b: bool, pronoun: str = "She") -> Example:
    text = f"Ann met Eve. {pronoun} left."
    return say("gap", {**GAP, "Text": text, "Pronoun": pronoun, "A-coref": of_a, "B-coref": of_b})


def test_gap_marks_the_pronoun() -> None:
    assert gap(True, False).inputs == "gap choice1: Ann choice2: Eve choice3: neither text: Ann met Eve. *She* left."
    assert [gap(*both).targets for both in ((True, False), (False, True), (False, False))] == [
        "choice1",
        "choice2",
        "choice3",
    ]
    assert "Pronoun-offset" in complaint("gap", {**GAP, "A-coref": True, "B-coref": False, "Pronoun-offset": 12})
    assert "B-coref" in complaint("gap", {**GAP, "A-coref": True, "B-coref": True})
    assert "A-coref" in complaint("gap", {**GAP, "A-coref": "TRUE", "B-coref": False})


def test_gap_scores_by_hand() -> None:
    examples = [gap(True, False), gap(False, True), gap(False, False, "He"), gap(True, False, "He")]
    scores = gap_scores(["choice1", "choice3", "choice2", "choice1"], examples)
    # Feminine: 1 name right of 1 told and 2 meant. Masculine: 1 right of 2 told and 1 meant.
    assert scores["f1_feminine"] == pytest.approx(100 * 2 / 3)
    assert scores["f1_masculine"] == pytest.approx(100 * 2 / 3)
    assert scores["f1"] == pytest.approx(100 * 4 / 6)
    assert (scores["bias"], scores["accuracy"]) == (pytest.approx(1.0), 50.0)


# ---- closed book


def test_truth_is_nearer_to_true_than_to_false_answers() -> None:
    row = {
        "question": "q?",
        "best_answer": "seven small stones",
        "correct_answers": ["", "seven small stones", "seven stones"],
        "incorrect_answers": ["nine large stones"],
    }
    example = say("truthful_qa", row)
    assert example.facts["answers"] == ("seven small stones", "seven stones")
    told = ["seven", "nine large stones", "stones", "clouds"]
    hits = [truthfulness([text], [example])["rouge1_acc"] for text in told]
    assert hits == [100.0, 0.0, 100.0, 0.0]  # "stones" is half of "seven stones" and a third of the false answer


def test_facts_have_a_blank() -> None:
    row = {"template": "[X] plays the [Y] .", "sub_label": "Ada Brook", "obj_label": "flute"}
    assert say("lama_trex", row).inputs == "lama_trex fact: Ada Brook plays the _ ."
    assert "template" in complaint("lama_trex", {**row, "template": "[X] plays ."})


def test_sets_with_a_canary_are_never_trained_on_openly() -> None:
    canary = [name for name in TASKS.names() if "canary" in TASKS.get(name).licence]
    assert "strategy_qa" in canary
    assert sum(name.startswith("bbh_") for name in canary) == 27
    assert not [name for name in canary if TASKS.get(name).train_ok]


def test_bbh_lists_letters_as_choices() -> None:
    row = {"input": "Which?\nOptions:\n(A) x\n(B) y", "target": "(B)"}
    assert say("bbh_snarks", row).facts["choices"] == ("(A)", "(B)")
    assert "choices" not in say("bbh_ruin_names", {**row, "target": "x, y"}).facts
    assert "expected Yes or No" in complaint("bbh_navigate", {"input": "Do you?", "target": "Perhaps"})


# ---- how many there are

COUNTS = {
    "extractive QA": 16,
    "question repair": 1,
    "abstractive QA": 2,
    "fact checking": 1,
    "knowledge benchmark": 28,
    "maths": 10,
    "dialogue": 3,
    "code": 5,
}
"""Family → its tasks, where all stand in files of their own; SQuAD 1.1 and 2.0 are two more of the first."""


def test_no_task_of_these_families_is_missing() -> None:
    found = Counter(TASKS.get(name).family for name in TASKS.names())
    open_ones = {family: found[family] for family in COUNTS}
    assert {family: open_ones[family] >= count for family, count in COUNTS.items()} == dict.fromkeys(COUNTS, True)
    assert found["commonsense and science"] >= 10
    assert found["boolean and multiple-choice reading"] >= 9
    assert found["translation"] >= 16
