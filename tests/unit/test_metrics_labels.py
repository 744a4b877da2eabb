"""Scores of labels and numbers: small cases worked by hand, and edges."""

from __future__ import annotations

import math

import pytest

from textfer.metrics import (
    accuracy,
    auc,
    binary_f1,
    gender_parity,
    macro_f1,
    matthews,
    multirc,
    pearson,
    spearman,
)


def test_an_invalid_answer_is_the_wrong_class() -> None:
    # 1 1 0 and two invalid answers, taken for 0 (gold is 1) and for 1 (gold is 0): 1 right, 3 given, 2 gold
    assert binary_f1([1, 1, 0, -1, 7], [1, 0, 0, 1, 0]) == {"f1": pytest.approx(100 * 2 / 5)}
    assert binary_f1([0, -1], [0, 1]) == {"f1": 0.0}
    assert binary_f1([0, 0], [0, 0]) == {"f1": 0.0}


def test_macro_f1_counts_classes_that_are_never_met() -> None:
    answers, golds = [0, 1, 1, -1], [0, 0, 1, 1]
    assert macro_f1(3)(answers, golds) == {"macro_f1": pytest.approx(100 * (2 / 3 + 2 / 4 + 0) / 3)}
    assert macro_f1(2)(answers, golds) == {"macro_f1": pytest.approx(100 * (2 / 3 + 2 / 4) / 2)}


def test_matthews() -> None:
    assert matthews([1, 1, 0, 0], [1, 0, 0, 0]) == {"matthews": pytest.approx(100 * 2 / math.sqrt(2 * 1 * 3 * 2))}
    assert matthews([0, 1], [1, 0]) == {"matthews": -100.0}
    assert matthews([2, 0, 1], [2, 0, 1]) == {"matthews": 100.0}
    assert matthews([1, 1, 1], [1, 0, 1]) == {"matthews": 0.0}
    assert matthews([-1, -1], [0, 0]) == {"matthews": 0.0}


def test_multirc_is_right_where_all_of_a_question_is() -> None:
    scores = multirc([1, 0, 1, 0, -1], [1, 0, 0, 0, 0], [(1, 1), (1, 1), (1, 2), (1, 2), (2, 1)])
    assert scores == {"f1a": pytest.approx(50.0), "em": pytest.approx(100 / 3)}


def test_gender_parity_asks_for_like_answers_not_for_right_ones() -> None:
    assert gender_parity([1, 1, 0, 1], [0, 0, 1, 1]) == {"gender_parity": 50.0}
    assert gender_parity(["x", 1, "x"], ["a", "b", "a"]) == {"gender_parity": 100.0}  # b has no partner
    assert math.isnan(gender_parity([1], ["a"])["gender_parity"])


def test_area_under_the_curve() -> None:
    assert auc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == {"auc": 75.0}
    assert auc([0.5, 0.5], [1, 0]) == {"auc": 50.0}
    assert auc([-math.inf, 0.0], [0, 1]) == {"auc": 100.0}
    assert math.isnan(auc([0.1, 0.2], [1, 1])["auc"])
    assert math.isnan(auc([math.nan, 0.2], [0, 1])["auc"])


def test_correlations() -> None:
    assert pearson([1, 2, 3], [2, 4, 6]) == {"pearson": pytest.approx(100.0)}
    assert pearson([1, 2, 3], [3, 2, 1]) == {"pearson": pytest.approx(-100.0)}
    assert spearman([1, 10, 100], [1, 2, 3]) == {"spearman": pytest.approx(100.0)}
    # ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: covariance 4.5, variances 4.5 and 5
    assert spearman([1, 5, 5, 9], [1, 2, 3, 4]) == {"spearman": pytest.approx(100 * 4.5 / math.sqrt(4.5 * 5))}
    assert spearman([math.inf, 1], [2, 1]) == {"spearman": pytest.approx(100.0)}


@pytest.mark.parametrize(
    "answers", [[1.0, 1.0, 1.0], [math.nan, 1.0, 2.0], [-1.0, -1.0, -1.0]], ids=["constant", "nan", "unparsable"]
)
def test_correlations_that_are_no_numbers(answers: list[float]) -> None:
    assert math.isnan(pearson(answers, [1, 2, 3])["pearson"])
    assert math.isnan(spearman(answers, [1, 2, 3])["spearman"])


def test_an_infinite_answer_has_a_rank_but_no_pearson() -> None:
    assert math.isnan(pearson([math.inf, 1, 2], [3, 1, 2])["pearson"])


def test_scores_of_nothing_are_no_numbers_but_have_names() -> None:
    for scores, names in (
        (binary_f1([], []), ["f1"]),
        (macro_f1(2)([], []), ["macro_f1"]),
        (matthews([], []), ["matthews"]),
        (multirc([], [], []), ["f1a", "em"]),
        (gender_parity([], []), ["gender_parity"]),
        (auc([], []), ["auc"]),
        (pearson([], []), ["pearson"]),
        (spearman([1], [1]), ["spearman"]),
    ):
        assert list(scores) == names
        assert all(math.isnan(value) for value in scores.values()), names


def test_as_many_answers_as_gold_answers_are_needed() -> None:
    for score in (accuracy, binary_f1, macro_f1(2), matthews, pearson, spearman, auc):
        with pytest.raises((ValueError, AssertionError)):
            score([0], [0, 1])
        with pytest.raises((ValueError, AssertionError)):
            score([0, 1, 0], [0, 1])
