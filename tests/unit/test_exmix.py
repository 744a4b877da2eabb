"""ExMix's table and its own tasks: counts, sums, text forms, marking, and what rows may not hold."""

from __future__ import annotations

import math

import pytest

from textfer.batch import Example, Row
from textfer.data.task import ASSUMED, MIXTURES, TASKS
from textfer.data.tasks.exmix import AGREES, FAMILIES, NUM_TASKS, counts, members
from textfer.data.tasks.exmix_classes import EMOTIONS, mark_emotions, rank_toxic
from textfer.data.tasks.exmix_dialogue import mark_slots
from textfer.data.tasks.exmix_inference import explained
from textfer.data.tasks.exmix_questions import reciprocal_ranks
from textfer.data.tasks.mixtures import GLUE, SUPER_GLUE
from textfer.errors import DataError

DIALOGLUE = {"banking77": 8_622, "hwu_64": 8_954, "clinc_oos": 15_000}
"""Training rows of the sets that DialoGLUE cuts in its own way."""
BY_NAME = {family.name: family for family in FAMILIES}


def examples(name: str, row: Row) -> list[Example]:
    return list(TASKS.get(name).to_examples(row, f"{name}/train:7"))


def sampled(name: str, number: int = 0) -> Row:
    return TASKS.get(name).sample[number]


# ---- the table


def test_all_of_the_papers_tasks_are_accounted_for() -> None:
    assert sum(family.number for family in FAMILIES) == NUM_TASKS == 107
    assert counts() == {"declared": 97, "unresolved": 10}
    unresolved = {family.name: family.unresolved for family in FAMILIES if family.unresolved}
    assert unresolved == {"TweetEval": 1, "RACE": 1, "intermediate forms": 4, "StylePTB": 4}


def test_every_member_is_declared_once() -> None:
    assert len(set(members())) == len(members())
    assert [name for name in members() if name not in TASKS and name not in MIXTURES] == []


def test_the_mixture_has_every_member_and_the_papers_cap() -> None:
    exmix = MIXTURES.get("exmix")
    assert tuple(exmix.parts) == members()
    assert exmix.max_examples == 300_000
    assert "97 of its 107 tasks; unresolved: 10" in exmix.summary


def train_rows(name: str) -> int:
    tasks = MIXTURES.get(name).parts if name in MIXTURES else [name]
    return sum(TASKS.get(task).sizes["train"] for task in tasks)


@pytest.mark.parametrize("name", [family.name for family in FAMILIES if family.sure == AGREES])
def test_sizes_that_are_said_to_agree_do(name: str) -> None:
    family = BY_NAME[name]
    published = sum(train_rows(one) for one in family.members if one not in DIALOGLUE)
    if name in ("GLUE", "SuperGLUE"):  # T5 counts RTE with both, and MultiRC's and ReCoRD's examples, not their rows
        published = int(sum((GLUE if name == "GLUE" else SUPER_GLUE).values()))
    if name == "DialoGLUE":
        published += sum(DIALOGLUE.values())
    if name == "DROP":
        published += 9  # rows that the hub's script cannot read
    assert family.examples == published


def test_kilt_is_32_rows_apart() -> None:
    assert sum(map(train_rows, BY_NAME["KILT"].members)) - 32 == BY_NAME["KILT"].examples


def test_only_these_columns_were_never_seen() -> None:
    ours = {name for name in TASKS.names() if TASKS.get(name).schema == ASSUMED}
    gpt2 = {name for name in members() if name.startswith("gpt2_detection_")}
    assert len(gpt2) == 8
    assert {"agreesum", "newsquiz_qa", "ukp_argument_mining", *gpt2} <= ours


# ---- what rows say


@pytest.mark.parametrize(
    ("name", "number", "inputs", "targets"),
    [
        ("kilt_fever", 0, "kilt_fever claim: Aldon Castle was built in 1203.", "SUPPORTS"),
        ("kilt_trex", 0, "kilt_trex relation: Maud Hale [SEP] place of birth", "Aldon"),
        ("kilt_trex", 2, "kilt_trex relation: Maud Hale [SEP] place of birth", "<unk>"),
        ("gem_web_nlg_en", 0, "gem_web_nlg_en triples: Aldon | river | Orle", "Aldon lies on the Orle."),
        ("gem_dart", 3, "gem_dart triples: Orle Mill | BUILT | 1843; Orle Mill | CLOSED | 1911", None),
        (
            "gem_schema_guided_dialog",
            0,
            "gem_schema_guided_dialog acts: OFFER restaurant_name = Blue Boar; REQ_MORE prompt: I would like to eat in "
            "Aldon. service: Restaurants_1",
            "How about the Blue Boar? Is there anything else you need?",
        ),
        ("gem_totto", 0, "gem_totto cells: 1911; The Glass Orchard page_title: Maud Hale section_title: Works", None),
        (
            "gem_totto",
            2,
            "gem_totto cells: 1911; The Glass Orchard page_title: Maud Hale section_title: Works",
            "<unk>",
        ),
        ("aeslc", 1, "summarize: The gate code changes on Friday. Please do not write it down.", None),
        ("hellaswag", 4, None, "<unk>"),
        ("alpha_nli", 1, None, "choice2"),
        ("restaurant8k", 0, None, "people: 9 people; date: August 23rd"),
        ("restaurant8k", 1, "restaurant8k requested: date, time text: Tonight would be best.", "date: Tonight"),
        ("restaurant8k", 2, "restaurant8k text: Do you have a garden?", "none"),
        ("eli5", 0, None, "One turns the stones, and the other lifts the sacks."),
        ("go_emotions", 0, "go_emotions text: Thank you, this made my day!", "gratitude, joy"),
        ("amazon_reviews", 4, None, "5"),
        ("civil_comments", 1, None, "toxic"),
        ("newsquiz_qa", 1, None, "question: In which year did Orle Mill close? answer: 1911"),
    ],
)
def test_text_forms(name: str, number: int, inputs: str | None, targets: str | None) -> None:
    (example,) = examples(name, sampled(name, number))
    assert inputs is None or example.inputs == inputs
    assert targets is None or example.targets == targets


def test_esnli_says_the_label_and_then_why() -> None:
    (example,) = examples("esnli", sampled("esnli"))
    assert example.inputs.startswith("explain nli hypothesis: There is no water in the well. premise: ")
    assert example.targets == "entailment explanation: A dry well has no water in it."


def test_quac_has_one_example_a_question_with_the_two_before_it() -> None:
    first, second, third = examples("quac", sampled("quac"))
    assert first.inputs.startswith("quac context: Orle Mill")
    assert "history:" not in first.inputs
    assert "history: Who built it? Ada Thorn question: When?" in second.inputs
    assert "history: Who built it? Ada Thorn When? 1843 question: Was she rich?" in third.inputs
    assert (first.facts["id"], first.facts["answers"]) == ("m_q#0", ("Ada Thorn", "by Ada Thorn"))
    assert third.targets == "CANNOTANSWER"


def test_ms_marco_has_one_example_a_passage() -> None:
    found = examples("ms_marco", sampled("ms_marco"))
    assert [(example.facts["id"], example.targets) for example in found] == [
        ("7-0", "not_relevant"),
        ("7-1", "relevant"),
    ]


def test_articles_without_a_label_make_no_example() -> None:
    assert [len(examples("agreesum", row)) for row in TASKS.get("agreesum").sample] == [1, 1, 0, 0]


def test_answers_that_only_say_where_do_not_count() -> None:
    (example,) = examples("kilt_trex", sampled("kilt_trex"))
    assert example.facts["answers"] == ("Aldon", "Aldon-on-Sea")


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("kilt_triviaqa", {"input": ""}, "field 'input' is '', expected a question. Join it in by id from trivia_qa."),
        ("kilt_fever", {"output": [{"answer": "MAYBE"}]}, "field 'output' is 'MAYBE', expected SUPPORTS or REFUTES."),
        ("kilt_nq", {"output": ["Ada"]}, "field 'output' is 'Ada', expected only entries with a text 'answer'."),
        ("alpha_nli", {"label": 0}, "field 'label' is 0, expected 1 or 2."),
        ("hellaswag", {"endings": ["a"]}, "field 'endings' is ('a',), expected 4 texts."),
        ("race_high", {"answer": "E"}, "field 'answer' is 'E', expected A, B, C or D."),
        ("race_high", {"answer": "AB"}, "field 'answer' is 'AB', expected A, B, C or D."),
        ("go_emotions", {"labels": [28]}, "field 'labels' is 28, expected only classes of 0 to 27."),
        ("go_emotions", {"labels": []}, "field 'labels' is [], expected a list of one class or more."),
        ("civil_comments", {"toxicity": 1.5}, "field 'toxicity' is 1.5, expected a share of 0 to 1."),
        ("agreesum", {"label": 2}, "field 'label' is 2, expected 0 or 1 (-1 unlabelled, -2 no article)."),
        (
            "gem_totto",
            {"highlighted_cells": [[5, 0]]},
            "field 'highlighted_cells' is [5, 0], expected only places [line, column] of cells of 'table'.",
        ),
        (
            "gem_dart",
            {"tripleset": [["a", "b"]]},
            "field 'tripleset' is ['a', 'b'], expected only lists of three texts.",
        ),
        (
            "restaurant8k",
            {"labels": [{"slot": "date", "valueSpan": {"startIndex": 3, "endIndex": 99}}]},
            "field 'labels' is (3, 99), expected places in the text of 44 characters.",
        ),
        (
            "ms_marco",
            {"passages": {"is_selected": [2], "passage_text": ["a"]}},
            "field 'passages.is_selected' is 2, expected only 0 and 1 in it.",
        ),
    ],
)
def test_what_rows_may_not_hold(name: str, changes: Row, said: str) -> None:
    with pytest.raises(DataError) as caught:
        examples(name, {**sampled(name), **changes})
    assert str(caught.value) == f"{name}/train:7: {said}"


# ---- marking


@pytest.mark.parametrize(
    ("name", "metric"),
    [("drop", "f1"), ("eli5", "rougeL"), ("gem_wiki_lingua_en", "rouge2"), ("kilt_nq", "em"), ("docnli", "f1")],
)
def test_the_metric_that_stands_for_a_task(name: str, metric: str) -> None:
    assert TASKS.get(name).main_metric == metric


def test_esnli_is_marked_by_the_label_that_an_answer_begins_with() -> None:
    found = [example for row in TASKS.get("esnli").sample for example in examples("esnli", row)]
    right = [example.targets for example in found]
    assert explained(right, found) == pytest.approx({"accuracy": 100.0, "bleu": 100.0})
    no_reason = [example.facts["label"] for example in found]
    scores = explained([no_reason[0], "neutral", "the label is contradiction explanation: it is full"], found)
    assert scores["accuracy"] == pytest.approx(200 / 3)
    assert scores["bleu"] < 10


def test_emotions_are_marked_each_by_itself() -> None:
    gold = [Example(inputs="x", targets=targets, origin="") for targets in ("gratitude, joy", "joy", "neutral")]
    scores = mark_emotions(["joy, gratitude", "joy, anger", "sadness"], gold)
    # worked by hand: gratitude 1, joy 1, anger 0, neutral 0, sadness 0; only the first text has all its emotions
    assert scores == pytest.approx({"macro_f1": 40.0, "accuracy": 100 / 3})
    assert mark_emotions([example.targets for example in gold], gold)["macro_f1"] == 100.0
    assert mark_emotions(["happy", "happy", "happy"], gold)["macro_f1"] == 0.0
    assert len(EMOTIONS) == 28


def test_toxicity_is_ranked_by_how_much_likelier_toxic_is() -> None:
    gold = [Example(inputs="x", targets=targets, origin="") for targets in ("toxic", "non-toxic", "non-toxic")]
    assert rank_toxic([(-2.0, -1.0), (-1.0, -3.0), (-1.0, -1.5)], gold) == {"auc": 100.0}
    assert rank_toxic([(-2.0, -2.0), (-1.0, -3.0), (-5.0, -3.0)], gold) == {"auc": 50.0}


def test_reciprocal_ranks() -> None:
    gold = [
        Example(inputs="x", targets=targets, origin="", facts={"query": query})
        for query, targets in (
            (1, "not_relevant"),
            (1, "relevant"),
            (2, "relevant"),
            (2, "not_relevant"),
            (3, "not_relevant"),
        )
    ]
    better, worse = (-2.0, -1.0), (-1.0, -2.0)
    assert reciprocal_ranks([worse, better, better, worse, better], gold) == {"mrr": 100.0}
    assert reciprocal_ranks([better, worse, better, worse, better], gold) == {"mrr": 75.0}
    assert reciprocal_ranks([better, better, better, better, better], gold) == {"mrr": 50.0}, "ties come before"
    assert math.isnan(reciprocal_ranks([better], gold[-1:])["mrr"])


def test_slots_count_when_name_and_value_are_right() -> None:
    gold = [Example(inputs="x", targets=targets, origin="") for targets in ("people: 9; date: Friday", "none")]
    assert mark_slots(["date: Friday; people: 9", "none"], gold)["f1"] == 100.0
    # 1 of 2 found is right, 1 of 2 gold is found; the second text must stay empty
    assert mark_slots(["date: Friday; time: 9", ""], gold) == pytest.approx(
        {"f1": 50.0, "precision": 50.0, "recall": 50.0}
    )
    assert mark_slots(["", "date: now"], gold)["f1"] == 0.0
