"""Scores of labels and numbers, equal to those of scikit-learn and SciPy, which compute the golden values here."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from textfer.metrics import (
    accuracy,
    auc,
    binary_f1,
    bootstrap_mean,
    macro_f1,
    matthews,
    multirc,
    pearson,
    spearman,
)

sklearn = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")
stats = pytest.importorskip("scipy.stats", reason="needs SciPy")

CASES = 150
pytestmark = [
    pytest.mark.filterwarnings("ignore:An input array is constant"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning"),
    pytest.mark.filterwarnings("ignore:A single label was found"),
]
"""The references say what they do with classes that are not there; that is part of what is compared."""


def labels(seed: int, num_classes: int) -> tuple[list[int], list[int]]:
    """Answers and gold labels, 1 to 30 of them; some answers are no label (-1, 7)."""
    draw = random.Random(seed)
    count = draw.randint(1, 30)
    golds = [draw.randrange(num_classes) for _ in range(count)]
    answers = [gold if draw.random() < 0.4 else draw.choice((-1, 7, *range(num_classes))) for gold in golds]
    return answers, golds


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_classes(num_classes: int) -> None:
    compared = 0
    for seed in range(CASES):
        answers, golds = labels(seed, num_classes)
        compared += len(answers)
        assert accuracy(answers, golds)["accuracy"] == pytest.approx(100 * sklearn.accuracy_score(golds, answers))
        assert matthews(answers, golds)["matthews"] == pytest.approx(
            100 * sklearn.matthews_corrcoef(golds, answers), abs=1e-9
        )
        assert macro_f1(num_classes)(answers, golds)["macro_f1"] == pytest.approx(
            100 * sklearn.f1_score(golds, answers, labels=range(num_classes), average="macro", zero_division=0)
        )
    assert compared >= 1000


def flipped_f1(answers: list[int], golds: list[int]) -> float:
    """T5's rule told with NumPy, over scikit-learn's F1."""
    given, wanted = np.array(answers), np.array(golds)
    wrong = (given != 0) & (given != 1)
    given[wrong] = 1 - wanted[wrong]
    return float(100 * sklearn.f1_score(wanted, given, zero_division=0))


def test_f1_of_two_classes_with_invalid_answers() -> None:
    for seed in range(CASES):
        answers, golds = labels(seed, 2)
        assert binary_f1(answers, golds)["f1"] == pytest.approx(flipped_f1(answers, golds))


def test_multirc() -> None:
    for seed in range(CASES):
        answers, golds = labels(seed, 2)
        questions = [(index // 9, index // 3 % 3) for index in range(len(golds))]
        scores = multirc(answers, golds, questions)
        groups = [[n for n, one in enumerate(questions) if one == question] for question in sorted(set(questions))]
        right = [np.array_equal([answers[n] for n in group], [golds[n] for n in group]) for group in groups]
        assert scores == {
            "f1a": pytest.approx(flipped_f1(answers, golds)),
            "em": pytest.approx(100 * float(np.mean(right))),
        }


def test_area_under_the_curve() -> None:
    compared = 0
    for seed in range(CASES):
        draw = random.Random(seed)
        golds = [0, 1, *(draw.randrange(2) for _ in range(draw.randrange(30)))]
        scores = [draw.choice((0.5, -1e300, 1e-300, round(draw.random(), 1), draw.gauss(0, 1))) for _ in golds]
        assert auc(scores, golds)["auc"] == pytest.approx(100 * sklearn.roc_auc_score(golds, scores))
        compared += len(golds)
    assert compared >= 1000


def test_correlations() -> None:
    compared = constant = 0
    for seed in range(CASES):
        draw = random.Random(seed)
        golds = [round(draw.random() * 25) / 5 for _ in range(draw.randint(2, 30))]
        scale = draw.choice((1e-200, 1.0, 1e200))  # the squares of very small and very large numbers are lost
        answers = [scale * draw.choice((-1.0, gold, draw.random() * 5)) for gold in golds]
        if seed % 10 == 0:
            answers = [-1.0] * len(golds)
        for ours, theirs in (
            (pearson(answers, golds)["pearson"], stats.pearsonr(golds, answers)[0]),
            (spearman(answers, golds)["spearman"], stats.spearmanr(golds, answers)[0]),
        ):
            assert ours == pytest.approx(100 * float(theirs), abs=1e-9, nan_ok=True)
            constant += math.isnan(ours)
        compared += len(golds)
    assert compared >= 1000
    assert constant >= 2 * CASES / 10


def test_percentile_interval_of_a_mean() -> None:
    values = np.random.RandomState(0).gamma(0.5, 40.0, 300)
    ours = bootstrap_mean(values.tolist(), num_samples=4000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", vectorized=True, rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.05 * (theirs.high - theirs.low))  # luck of the draw
