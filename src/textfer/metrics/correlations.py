"""Correlations of numbers: Pearson's and Spearman's, in -100 … 100."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def pearson(answers: Sequence[float], golds: Sequence[float]) -> dict[str, float]:
    """100 × Pearson's correlation. Not a number where one side is constant, not finite, or has less than two values."""
    return {"pearson": _correlation(np.asarray(answers, np.float64), np.asarray(golds, np.float64))}


def spearman(answers: Sequence[float], golds: Sequence[float]) -> dict[str, float]:
    """100 × Spearman's rank correlation; equal values share their mean rank. Not a number as `pearson` is not.

    Infinite values have ranks, so they are no obstacle.
    """
    x, y = np.asarray(answers, np.float64), np.asarray(golds, np.float64)
    if bool(np.isnan(x).any() or np.isnan(y).any()):
        return {"spearman": math.nan}
    return {"spearman": _correlation(ranks(x), ranks(y))}


def ranks(values: Float64) -> Float64:
    """The rank of each value, from 1; equal values share their mean rank. Shapes: [N] → [N]."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[place], np.float64)


def _correlation(x: Float64, y: Float64) -> float:
    assert x.shape == y.shape, (x.shape, y.shape)
    if len(x) < 2 or not bool(np.isfinite(x).all() and np.isfinite(y).all()):
        return math.nan
    if bool((x == x[0]).all() or (y == y[0]).all()):
        return math.nan
    x, y = _unit(x), _unit(y)
    return 100.0 * min(1.0, max(-1.0, float(x @ y)))


def _unit(values: Float64) -> Float64:
    """The values around their mean, of length 1. Scaled first: squares of large or small numbers are not."""
    around = values - values.mean()
    around /= np.abs(around).max()
    return np.asarray(around / np.linalg.norm(around), np.float64)
