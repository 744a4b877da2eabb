"""Scores of answers: small cases worked by hand, edges, and reading of prediction files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from textfer.data.predictions import read_predictions, read_probabilities
from textfer.errors import DataError
from textfer.metrics import accuracy, bag_f1, exact_match, normalise_answer, squad, squad_v2, token_f1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat, a DOG!", "cat dog"),
        ("an an the a", ""),
        ("...!?", ""),
        ("", ""),
        ("theatre a-one", "theatre aone"),
        ("1 . 5", "1 5"),
        ("1.5", "15"),
        ("“Fêté”—the", "“fêté”—"),
        ("U.S.\tArmy\u00a0x", "us army x"),
        ("a_b", "ab"),
    ],
)
def test_normalised_answers(text: str, expected: str) -> None:
    assert normalise_answer(text) == expected


def test_bags_of_words() -> None:
    assert bag_f1(["x", "y"], ["y", "z", "y"]) == 2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3)
    assert bag_f1(["x", "x"], ["x"]) == 2 * 0.5 * 1 / 1.5
    assert [bag_f1([], ["x"]), bag_f1(["x"], []), bag_f1([], []), bag_f1([], [], both_empty=1.0)] == [0, 0, 0, 1]


def test_simple_scores() -> None:
    assert accuracy(["a", "b", 3, None], ["a", "c", 3, None]) == {"accuracy": 75.0}
    assert exact_match([" a b\n", "A b", ""], [["x", "a b"], ["a b"], [""]]) == {"exact_match": 100 * 2 / 3}
    assert token_f1(["the red cat", "blue"], [["a red dog", "red cat here"], ["green"]]) == {"f1": 100 * 0.8 / 2}


def test_scores_of_nothing_are_no_numbers_but_have_names() -> None:
    for scores, names in (
        (accuracy([], []), ["accuracy"]),
        (exact_match([], []), ["exact_match"]),
        (token_f1([], []), ["f1"]),
        (squad([], []), ["em", "f1"]),
    ):
        assert list(scores) == names
        assert all(math.isnan(value) for value in scores.values())
    scores = squad_v2([], [])
    assert list(scores) == ["exact", "f1", "total"]
    assert scores["total"] == 0


def test_as_many_answers_as_gold_answers_are_needed() -> None:
    with pytest.raises(ValueError, match="zip"):
        squad(["a"], [["a"], ["b"]])
    with pytest.raises(ValueError, match="zip"):
        squad_v2(["a"], [["a"]], no_answer_probs=[0.1, 0.2])


def test_the_two_versions_differ_where_no_word_is_left() -> None:
    assert squad(["the"], [["a"]]) == {"em": 100.0, "f1": 0.0}
    assert squad_v2(["the"], [["a"]])["f1"] == 100.0
    assert squad([""], [["the", "x"]])["em"] == 100.0
    assert squad_v2([""], [["the", "x"]])["exact"] == 0.0  # v2.0 drops gold answers without a word


def test_unanswerable_questions() -> None:
    scores = squad_v2(["", "guess", "Anna"], [[], [], ["Anna"]])
    assert scores == {
        "exact": 100 * 2 / 3,
        "f1": 100 * 2 / 3,
        "total": 3,
        "HasAns_exact": 100.0,
        "HasAns_f1": 100.0,
        "HasAns_total": 1,
        "NoAns_exact": 50.0,
        "NoAns_f1": 50.0,
        "NoAns_total": 2,
    }
    sure = squad_v2(["", "guess", "Anna"], [[], [], ["Anna"]], no_answer_probs=[0.9, 0.8, 0.1], threshold=0.5)
    assert (sure["exact"], sure["best_exact"], sure["best_exact_thresh"]) == (100.0, 100.0, 0.1)


def test_predictions_are_read_as_the_official_scripts_read_them(tmp_path: Path) -> None:
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps({"q2": "b", "q1": "", "q3": "ü"}), encoding="utf-8")
    assert read_predictions(path) == {"q2": "b", "q1": "", "q3": "ü"}
    assert list(read_predictions(path, ids=["q1", "q2", "q3"]).values()) == ["", "b", "ü"]
    path.write_text(json.dumps({"q2": 1, "q1": 0.25}))
    assert read_probabilities(path, ids=["q1", "q2"]) == {"q1": 0.25, "q2": 1}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"q1": "a",\n "q2": }', "p.json:2: not JSON (Expecting value, column 8)."),
        ('{"q1": "a", "q2": "b", "q1": "c"}', "p.json: 'q1' stands twice in one object, expected once."),
        ('{"q1": "a"}', "p.json: no entry for 'q2', expected a prediction for all 2 questions."),
        ("{}", "p.json: no entry for 'q1' (and 1 more), expected a prediction for all 2 questions."),
        (
            '{"q1": "a", "q2": "b", "q9": "c"}',
            "p.json: 'q9' is none of the 2 questions. Is it the right split?",
        ),
        ('{"q1": "a", "q2": null}', "p.json: the prediction of 'q2' is None, expected text."),
        ('["a", "b"]', "p.json: got a list, expected an object {id: …}."),
        (None, "p.json: no such file."),
    ],
)
def test_wrong_prediction_files_are_told_in_one_line(tmp_path: Path, content: str | None, expected: str) -> None:
    path = tmp_path / "p.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError) as caught:
        read_predictions(path, ids=["q1", "q2"])
    assert str(caught.value) == f"{tmp_path}/{expected}"


def test_probabilities_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('{"q1": "0.5"}')
    with pytest.raises(DataError, match=r"the probability of 'q1' is '0\.5', expected a number\."):
        read_probabilities(path)
