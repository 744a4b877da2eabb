"""Do scores say how often answers are right? Calibration errors, and the bins of a reliability diagram.

Scores are probabilities in 0 … 1. A bin holds the scores above its lower and up to its upper bound, 0 the first's.

**Source**: Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599 §2; bins
of as many scores each: Nguyen and O'Connor 2015, arXiv 1508.05154; Brier 1950.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

NUM_BINS = 15
"""As in Guo et al."""


class Bin(NamedTuple):
    """The answers whose scores lie in one stretch of 0 … 1."""

    low: float
    high: float
    num_answers: int
    mean_score: float
    share_right: float
    """0 … 1"""


def reliability(
    scores: Sequence[float], right: Sequence[bool], *, num_bins: int = NUM_BINS, equal_mass: bool = False
) -> list[Bin]:
    """The bins that hold an answer, lowest scores first: of equal width, or of equally many answers each.

    Of bins of equally many answers the bounds are those of the scores in them; equal scores stay in order.
    """
    assert len(scores) == len(right), "one score an answer"
    assert num_bins >= 1, "a bin at least"
    values, hits = np.asarray(scores, np.float64), np.asarray(right, np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise AssertionError("scores lie in 0 … 1")
    order = np.argsort(values, kind="stable")
    if equal_mass:
        parts = [part for part in np.array_split(order, num_bins) if len(part)]
        bounds = [(float(values[part[0]]), float(values[part[-1]])) for part in parts]
    else:
        edges = np.linspace(0.0, 1.0, num_bins + 1)
        numbers = np.searchsorted(edges[1:-1], values[order])
        parts = [order[numbers == number] for number in range(num_bins)]
        bounds = [(float(edges[number]), float(edges[number + 1])) for number in range(num_bins)]
    return [
        Bin(low, high, len(part), float(values[part].mean()), float(hits[part].mean()))
        for part, (low, high) in zip(parts, bounds, strict=True)
        if len(part)
    ]


def expected_calibration_error(
    scores: Sequence[float], right: Sequence[bool], *, num_bins: int = NUM_BINS, equal_mass: bool = False
) -> float:
    """By how much, 0 … 100, a bin's mean score and its share of right answers differ: the mean over answers."""
    bins = reliability(scores, right, num_bins=num_bins, equal_mass=equal_mass)
    if not bins:
        return math.nan
    gaps = math.fsum(one.num_answers * abs(one.mean_score - one.share_right) for one in bins)
    return 100.0 * gaps / sum(one.num_answers for one in bins)


def brier(scores: Sequence[float], right: Sequence[bool]) -> float:
    """The mean squared difference, 0 … 1, of a score from 1 where the answer is right, from 0 where it is not."""
    assert len(scores) == len(right), "one score an answer"
    if not len(scores):
        return math.nan
    return float(np.mean((np.asarray(scores, np.float64) - np.asarray(right, np.float64)) ** 2))


def calibration(scores: Sequence[float], right: Sequence[bool]) -> dict[str, float]:
    """`ece` by bins of equal width and `ece_mass` by bins of equally many answers, 0 … 100; `brier`, 0 … 1."""
    return {
        "ece": expected_calibration_error(scores, right),
        "ece_mass": expected_calibration_error(scores, right, equal_mass=True),
        "brier": brier(scores, right),
    }
