"""T5's tasks beyond their text form: marks, groups, facts for leaderboard files, unlabelled rows, what is left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from textfer.batch import Example, Span
from textfer.data.task import TASKS, Scores
from textfer.data.tasks.closed_book import given_answers, recall
from textfer.data.tasks.glue import as_number
from textfer.data.tasks.salient_spans import masked_span
from textfer.data.tasks.squad import span_target, span_text
from textfer.data.tasks.translation import translation_inputs
from textfer.errors import DataError

GLUE = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "mnli_mismatched", "ax", "qnli", "rte", "wnli", "wnli_wsc")
SUPER_GLUE = ("boolq", "cb", "copa", "multirc", "record", "super_glue_rte", "wic", "wsc", "axb", "axg")
PAGE = 'Maud Hale ("Lady H.") gave it to Aldon'


def examples(name: str, *rows: Mapping[str, Any]) -> list[Example]:
    task = TASKS.get(name)
    return [example for number, row in enumerate(rows) for example in task.to_examples(row, f"{name}/train:{number}")]


def marks(name: str, answers: Sequence[str], found: Sequence[Example]) -> Scores:
    task = TASKS.get(name)
    assert task.metrics is not None
    return task.metrics([task.answer(text, example) for text, example in zip(answers, found, strict=True)], found)


def labelled_rows(name: str, labels: Sequence[float]) -> list[dict[str, Any]]:
    return [{**TASKS.get(name).sample[0], "label": label, "idx": number} for number, label in enumerate(labels)]


# ---- metrics of the suites


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("cola", ["matthews"]),
        ("sst2", ["accuracy"]),
        ("mrpc", ["f1", "accuracy"]),
        ("stsb", ["pearson", "spearman"]),
        ("qqp", ["f1", "accuracy"]),
        ("mnli", ["accuracy"]),
        ("mnli_mismatched", ["accuracy"]),
        ("ax", ["matthews"]),
        ("qnli", ["accuracy"]),
        ("rte", ["accuracy"]),
        ("wnli", ["accuracy"]),
        ("wnli_wsc", ["accuracy"]),
        ("boolq", ["accuracy"]),
        ("cb", ["macro_f1", "accuracy"]),
        ("copa", ["accuracy"]),
        ("multirc", ["f1a", "em"]),
        ("record", ["f1", "em"]),
        ("super_glue_rte", ["accuracy"]),
        ("wic", ["accuracy"]),
        ("wsc", ["accuracy"]),
        ("axb", ["matthews"]),
        ("axg", ["accuracy", "gender_parity"]),
        ("squad_span", ["em", "f1"]),
        ("squad_trivia", ["em", "f1"]),
        ("nq_open", ["em", "f1"]),
        ("trivia_qa_open", ["em", "f1"]),
        ("cnn_dailymail", ["rouge1", "rouge2", "rougeL", "rougeLsum"]),
    ],
)
def test_the_metrics_of_a_task(name: str, metrics: list[str]) -> None:
    task = TASKS.get(name)
    assert task.metrics is not None
    assert list(task.metrics([], [])) == metrics


@pytest.mark.parametrize("name", [*GLUE, *SUPER_GLUE])
def test_facts_say_the_row_for_leaderboard_files(name: str) -> None:
    for row in TASKS.get(name).sample:
        for example in examples(name, row):
            assert example.facts["idx"] == row["idx"]
    ids = [example.facts["id"] for example in examples(name, *TASKS.get(name).sample)]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", [*GLUE, *(name for name in SUPER_GLUE if name != "record")])
def test_a_row_without_label_is_never_learnt(name: str) -> None:
    row = {**TASKS.get(name).sample[0], "label": -1}
    (found,) = examples(name, row)
    assert found.targets == "<unk>"
    assert not TASKS.get(name).learnt(found)


@pytest.mark.parametrize("name", [name for name in GLUE if name != "stsb"])
def test_a_label_outside_the_set_is_told(name: str) -> None:
    with pytest.raises(DataError, match=rf"^{name}/train:0: field 'label' is 3, expected 0"):
        examples(name, {**TASKS.get(name).sample[0], "label": 3})


def test_an_answer_outside_the_labels_is_wrong_for_f1() -> None:
    found = examples("mrpc", *labelled_rows("mrpc", [1, 1, 0]))
    assert marks("mrpc", ["equivalent", "equivalent ", "who knows"], found) == {
        "f1": pytest.approx(80.0),
        "accuracy": pytest.approx(200 / 3),
    }


def test_similarities_are_numbers() -> None:
    found = examples("stsb", *labelled_rows("stsb", [0.0, 2.5, 5.0]))
    assert [example.targets for example in found] == ["0.0", "2.4", "5.0"]
    assert [example.number for example in found] == [0.0, 2.5, 5.0]
    assert marks("stsb", ["1", "2.2", "3.4"], found)["spearman"] == pytest.approx(100.0)
    assert marks("stsb", ["5", "2.6", "0"], found) == pytest.approx({"pearson": -100.0, "spearman": -100.0})
    assert examples("stsb", *labelled_rows("stsb", [-1.0]))[0].number is None


@pytest.mark.parametrize(
    ("text", "number"), [("3.8", 3.8), (" 4 ", 4.0), ("four", -1.0), ("", -1.0), ("nan", -1.0), ("inf", -1.0)]
)
def test_an_answer_as_a_number(text: str, number: float) -> None:
    assert as_number(text) == number


def test_multirc_is_marked_by_question() -> None:
    places = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]  # a question's number may come again in another paragraph
    rows = [
        {**TASKS.get("multirc").sample[0], "label": 1, "idx": {"paragraph": p, "question": q, "answer": a}}
        for p, q, a in places
    ]
    found = examples("multirc", *rows)
    assert [example.facts["id"] for example in found] == ["0-0-0", "0-0-1", "0-1-0", "1-0-0"]
    assert marks("multirc", ["True", "False", "True", "True"], found) == {
        "f1a": pytest.approx(600 / 7),
        "em": pytest.approx(200 / 3),
    }


def test_record_learns_all_answers_and_marks_each_query_once() -> None:
    found = examples("record", *TASKS.get("record").sample[:2])
    assert [example.targets for example in found] == ["Hale", "Maud Hale", "Aldon"]
    assert found[0].facts["choices"] == ("Aldon", "Hale", "Maud Hale", "Tom Birch")
    assert marks("record", ["Maud Hale", "nobody", "nobody"], found) == {"f1": 50.0, "em": 50.0}
    (kept_back,) = examples("record", TASKS.get("record").sample[2])
    assert kept_back.targets == "<unk>"
    assert not TASKS.get("record").learnt(kept_back)


def test_gender_parity_is_of_pairs() -> None:
    found = examples("axg", *TASKS.get("axg").sample)
    assert [example.facts["pair"] for example in found] == [0, 0, 1, 1]
    assert marks("axg", ["entailment"] * 3 + ["not_entailment"], found) == {"accuracy": 75.0, "gender_parity": 50.0}


def test_mnli_takes_the_matched_genres() -> None:
    assert TASKS.get("mnli").source.splits == {"validation": "validation_matched", "test": "test_matched"}
    assert TASKS.get("mnli_mismatched").source.config == "mnli_mismatched"
    assert {TASKS.get(name).version for name in GLUE} == {1}


# ---- SQuAD by places and from memory


@pytest.mark.parametrize(
    ("answer", "context", "target"),
    [
        ("Denver Broncos", "Called the Denver Broncos.", "start: 2 end: 3"),
        ("Denver Bronscos", "Called the Denver Broncos.", ""),
        ("Denver Broncos", "Called the Denver Broncos", ""),  # T5 never looks at the last place
        ("Lady H.", PAGE, "start: 6 end: 10"),  # marks and the blanks around them count as empty words
        ("$5", "It cost $5 now", ""),  # the answer's padding has one blank more than the context's
        ("aud", PAGE, ""),
    ],
)
def test_the_place_of_an_answer(answer: str, context: str, target: str) -> None:
    assert span_target(answer, context) == target


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("start: 0 end: 1", "Maud Hale"),
        ("start: 6 end: 6", "Lady"),
        ("start: 6 end: 10", "Lady H."),
        ("start: 14 end: 99", "gave it to Aldon"),
        ("start: 3 end: 1", ""),
        ("start: 99 end: 99", ""),
        ("start: x end: 1", ""),
        ("start: 0", ""),
        ("Maud Hale", ""),
        ("", ""),
    ],
)
def test_the_answer_at_a_place(text: str, found: str) -> None:
    assert span_text(text, PAGE) == found


def test_squad_from_memory_is_marked_with_padding() -> None:
    row = {"id": "1", "question": "When?", "answers": {"text": ["1,203"], "answer_start": [3]}}
    (found,) = examples("squad_trivia", row)
    assert found.targets == "1 , 203"
    assert found.spans == ()
    assert marks("squad_trivia", ["1 , 203"], [found]) == {"em": 100.0, "f1": 100.0}
    with pytest.raises(DataError, match=r"^squad_trivia/train:0: field 'answers\.text' is \[\], expected at least one"):
        examples("squad_trivia", row | {"answers": {"text": [], "answer_start": []}})


# ---- closed-book questions, documents, masked spans


def test_trivia_finds_answers_whatever_their_case() -> None:
    row = {
        "question": "Who?",
        "question_id": "t",
        "entity_pages": {"wiki_context": ["MAUD  HALE gave it."]},
        "search_results": {"search_context": ["Nobody.", "É, said hale; é"]},
        "answer": {"normalized_aliases": ["maud hale", "é", ""]},
    }
    found = examples("trivia_qa", row)
    assert [(example.targets, example.facts["id"]) for example in found] == [("maud hale", "t-0-0"), ("é", "t-2-1")]
    assert [example.spans for example in found] == [(Span("context", 0, 10),), (Span("context", 14, 15),)]
    assert marks("trivia_qa", ["Maud-Hale", "nobody"], found) == {"em": 50.0, "f1": 50.0}


def test_open_trivia_keeps_its_aliases() -> None:
    row = {"question": "Who?", "question_id": "t", "answer": {"value": "Maud Hale", "aliases": ["Maud Hale", "Hale"]}}
    found = examples("trivia_qa_open", row)
    assert marks("trivia_qa_open", ["hale!"], found) == {"em": 100.0, "f1": 100.0}
    with pytest.raises(DataError, match=r"^trivia_qa_open/train:0: field 'answer\.value' is '', expected an answer"):
        examples("trivia_qa_open", row | {"answer": {"value": "", "aliases": []}})


@pytest.mark.parametrize(
    ("text", "groups", "share", "count"),
    [
        ("answer: Ida answer: Karl", [["Karl", "the Ida"]], 100.0, 1),  # any order, normalised
        ("answer: Ida", [["Ida", "Karl"]], 0.0, 1),
        ("Ida", [["Ida"]], 0.0, 1),  # without the mark it is no answer
        ("answer: yes", [["yes"], ["Ida"], []], 100.0, 1),
        ("answer: yes", [["yes"], [], []], math.nan, 0),  # of several annotators only one found an answer
    ],
)
def test_recall_of_all_answers(text: str, groups: list[list[str]], share: float, count: int) -> None:
    assert recall([text], [groups]) == pytest.approx({"recall": share, "golden_answers": count}, nan_ok=True)


def test_natural_questions_learns_what_one_annotator_gave() -> None:
    task = TASKS.get("natural_questions")
    found = examples("natural_questions", *task.sample)
    assert [(example.targets, task.learnt(example)) for example in found] == [
        ("answer: Ida answer: Karl", True),
        ("answer: yes", True),
        ("answer: no answer: since 1990", False),
    ]
    assert given_answers("answer: a  answer:b") == ["a", "b"]
    row = task.sample[0]
    for broken in ({"yes_no_answer": [1], "short_answers": []}, [], {"yes_no_answer": [7], "short_answers": [{}]}):
        with pytest.raises(DataError, match=r"^natural_questions/train:0: field 'annotations"):
            examples("natural_questions", {**row, "annotations": broken})


@pytest.mark.parametrize(("start", "limit"), [(-1, 2), (3, 3), (4, 2), (0, 99), (1, 2)])
def test_a_span_outside_the_text_is_told(start: int, limit: int) -> None:
    with pytest.raises(DataError, match=r"^salient_span_masked_wikipedia/train:0: field 'spans\.start' is \["):
        examples("salient_span_masked_wikipedia", {"text": "Åland", "spans": {"start": [start], "limit": [limit]}})


def test_masked_spans_count_bytes() -> None:
    assert masked_span("Åsa in Åbo", 8, 12) == ("Åsa in _X_", "Åbo")
    row = {"text": "Ida left", "spans": {"start": [0, 4], "limit": [3]}}
    with pytest.raises(DataError, match=r"field 'spans\.limit' is \[3\], expected 2 numbers"):
        examples("salient_span_masked_wikipedia", row)
    with pytest.raises(DataError, match=r"field 'spans\.start' is '0', expected only whole numbers"):
        examples("salient_span_masked_wikipedia", row | {"spans": {"start": ["0"], "limit": [3]}})


def test_translations_need_both_sides() -> None:
    assert translation_inputs("Bună.", "ro", "en") == "translate Romanian to English: Bună."
    assert examples("wmt16_enro", {"translation": {"en": "Hi.", "ro": " "}}) == []
    with pytest.raises(DataError, match=r"^wmt16_enro/train:0: no field 'translation\.ro'"):
        examples("wmt16_enro", {"translation": {"en": "Hi."}})
