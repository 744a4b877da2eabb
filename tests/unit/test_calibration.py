"""Scores that are probabilities: errors by bins, and the scale that makes shares such."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from textfer.calibration import (
    MOST,
    RECORD,
    SURE,
    Calibration,
    Scale,
    fit_scale,
    log_odds,
    read_calibration,
    write_calibration,
)
from textfer.errors import CheckpointError
from textfer.metrics.calibration import Bin, brier, calibration, expected_calibration_error, reliability


def drawn(count: int, *, temperature: float = 1.0, bias: float = 0.0, seed: int = 0) -> tuple[list[float], list[bool]]:
    """Shares, and answers that are right as often as the share's scaled log odds say."""
    draw = np.random.default_rng(seed)
    odds = draw.normal(1.0, 3.0, count)
    right = draw.random(count) < 1 / (1 + np.exp(-(odds / temperature + bias)))
    return (1 / (1 + np.exp(-odds))).tolist(), right.tolist()


def test_bins_by_hand() -> None:
    """Worked by hand: 0.5 belongs to the lower of two bins, 0 to the first."""
    scores, right = [0.0, 0.5, 0.6, 1.0], [False, True, False, True]
    assert reliability(scores, right, num_bins=2) == [Bin(0.0, 0.5, 2, 0.25, 0.5), Bin(0.5, 1.0, 2, 0.8, 0.5)]
    assert expected_calibration_error(scores, right, num_bins=2) == pytest.approx(100 * (0.25 + 0.3) / 2)
    assert reliability(scores, right, num_bins=10)[0] == Bin(0.0, 0.1, 1, 0.0, 0.0)
    found = reliability([0.9, 0.1, 0.2], [True, False, True], num_bins=2, equal_mass=True)
    assert [(one.low, one.high, one.num_answers, one.share_right) for one in found] == [
        (0.1, 0.2, 2, 0.5),
        (0.9, 0.9, 1, 1),
    ]
    assert brier(scores, right) == pytest.approx((0 + 0.25 + 0.36 + 0) / 4)


@pytest.mark.parametrize("equal_mass", [False, True])
def test_bins_hold_every_answer_once(equal_mass: bool) -> None:
    scores, right = drawn(337)
    bins = reliability(scores, right, num_bins=15, equal_mass=equal_mass)
    assert sum(one.num_answers for one in bins) == 337
    assert sum(one.num_answers * one.share_right for one in bins) == pytest.approx(sum(right))
    if equal_mass:
        assert {one.num_answers for one in bins} == {22, 23}


def test_as_scikit_learn_bins() -> None:
    scores, right = drawn(500, seed=3)
    shares, means = calibration_curve(right, scores, n_bins=15)
    bins = reliability(scores, right)
    assert [one.share_right for one in bins] == pytest.approx(shares.tolist())
    assert [one.mean_score for one in bins] == pytest.approx(means.tolist())
    assert brier(scores, right) == pytest.approx(brier_score_loss(right, scores))


def test_no_answer_at_all_has_no_error() -> None:
    assert all(math.isnan(value) for value in calibration([], []).values())
    assert calibration([1.0, 0.0], [True, False]) == {"ece": 0.0, "ece_mass": 0.0, "brier": 0.0}
    with pytest.raises(AssertionError, match="scores lie"):
        reliability([1.5], [True])


def test_log_odds_have_an_end() -> None:
    assert log_odds(0.8) == pytest.approx(math.log(4))
    assert (log_odds(0.0), log_odds(1.0), log_odds(1 - 1e-16)) == (-SURE, SURE, SURE)
    assert Scale(temperature=1.0)(0.37) == pytest.approx(0.37)
    assert Scale(temperature=2.0)(0.8) == pytest.approx(2 / 3)


@pytest.mark.parametrize(("temperature", "bias"), [(1.0, 0.0), (2.5, 0.0), (0.4, 0.0), (1.7, -1.2)])
def test_the_scale_is_found_again(temperature: float, bias: float) -> None:
    shares, right = drawn(20_000, temperature=temperature, bias=bias, seed=5)
    found = fit_scale(shares, right)
    assert found is not None
    assert found.temperature == pytest.approx(temperature, rel=0.06)
    assert found.bias == pytest.approx(bias, abs=0.08)
    other, truth = drawn(5_000, temperature=temperature, bias=bias, seed=6)
    before = expected_calibration_error(other, truth)
    after = expected_calibration_error([found(share) for share in other], truth)
    assert after < 3.0
    assert after < before or before < 3.0


def test_as_scikit_learn_fits() -> None:
    """Without Platt's smoothing, which is weak on many answers, this is logistic regression."""
    shares, right = drawn(4_000, temperature=1.8, bias=0.7, seed=2)
    found = fit_scale(shares, right)
    odds = np.array([log_odds(share) for share in shares])
    theirs = LogisticRegression(C=1e9, tol=1e-10).fit(odds[:, None], right)
    assert found is not None
    assert 1 / found.temperature == pytest.approx(float(theirs.coef_[0, 0]), rel=0.01)
    assert found.bias == pytest.approx(float(theirs.intercept_[0]), abs=0.01)


def test_the_order_of_answers_stays() -> None:
    found = fit_scale([0.1, 0.2, 0.8, 0.9] * 20, [True, True, False, False] * 20)
    assert found is not None
    assert found.temperature == pytest.approx(MOST)
    assert found(0.9) > found(0.1)


def test_nothing_to_tell_apart() -> None:
    assert fit_scale([0.1, 0.9], [True, True]) is None
    assert fit_scale([0.1, 0.9], [False, False]) is None
    assert fit_scale([], []) is None


def test_two_answers_do_not_make_it_sure() -> None:
    found = fit_scale([0.9, 0.1], [True, False])
    assert found is not None
    assert 0.5 < found(0.9) < 0.9


def test_kept_beside_a_model(tmp_path: Path) -> None:
    assert read_calibration(tmp_path) is None
    kept = Calibration(answer=Scale(temperature=1.5, bias=-0.25), num_questions=12, fitted_on="squad train/dev")
    write_calibration(kept, tmp_path)
    assert read_calibration(tmp_path) == kept
    (tmp_path / RECORD).write_text('{"answer": {"temperature": -1}}')
    with pytest.raises(CheckpointError, match=r"is no calibration .*textfer tune") as caught:
        read_calibration(tmp_path)
    assert "\n" not in str(caught.value)
