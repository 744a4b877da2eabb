"""What a reader's share means as a probability: how often answers with such a share are right.

The log odds of a share are divided by a temperature and shifted by a bias, both fitted by maximum likelihood on
questions that the model was not trained on. The order of answers stays as it is.

**Source**: Platt 1999, "Probabilistic Outputs for Support Vector Machines" (the fit and its smoothed targets); Guo et
al. 2017, arXiv 1706.04599 §4 (temperature).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from textfer.config import Options
from textfer.errors import CheckpointError

RECORD = "calibration.json"
"""Beside the weights of a model that writes; of one with heads it stands in heads.json."""
SURE = math.log(1e9)
"""No log odds are higher: a share is never wholly 0 or 1."""
MOST = 100.0
"""The highest temperature, and the inverse of the lowest: answers never change their order."""
WORTH = 1.0
"""A bias is kept where it makes the questions likelier by more than this in natural logs (Akaike's criterion)."""
Floats = NDArray[np.float64]


class Scale(Options):
    """Log odds → log odds / `temperature` + `bias`."""

    temperature: float = Field(gt=0)
    bias: float = 0.0

    def __call__(self, share: float) -> float:
        """The probability, 0 … 1, of what has this share."""
        return _sigmoid(log_odds(share) / self.temperature + self.bias)


class Calibration(Options):
    """What a model's shares mean, by the questions that it was asked."""

    answer: Scale
    """Of a share of an answer: how often it is right, to the letter as SQuAD compares (exact match)."""
    no_answer: Scale | None = None
    """Of a share of "no answer": how often there is none. None where every question had one."""
    num_questions: int
    """That it was fitted on."""
    fitted_on: str
    """Their tasks and split."""


def log_odds(share: float) -> float:
    """The natural log of a share over what is left of 1, never above `SURE` or below its negative."""
    rest = 1.0 - share
    if share <= 0.0:
        return -SURE
    return max(-SURE, min(SURE, math.log(share) - math.log(rest))) if rest > 0.0 else SURE


def fit_scale(shares: Sequence[float], right: Sequence[bool]) -> Scale | None:
    """The likeliest scale for answers with these shares, of which some are right; without a bias where that is no
    worse. None where all are right, or none: then nothing can be told apart.
    """
    assert len(shares) == len(right), "one share an answer"
    num_right = sum(map(bool, right))
    num_wrong = len(right) - num_right
    if not num_right or not num_wrong:
        return None
    odds = np.array([log_odds(share) for share in shares], np.float64)
    high, low = (num_right + 1) / (num_right + 2), 1 / (num_wrong + 2)  # Platt's: as if one more of each had been seen
    wanted = np.where(np.asarray(right, np.bool_), high, low)
    plain = _newton(odds[:, None], wanted)
    both = _newton(np.stack([odds, np.ones_like(odds)], 1), wanted)
    if _loss(odds[:, None], wanted, plain) - _loss(np.stack([odds, np.ones_like(odds)], 1), wanted, both) > WORTH:
        return Scale(temperature=1 / float(both[0]), bias=float(both[1]))
    return Scale(temperature=1 / float(plain[0]))


def read_calibration(folder: Path) -> Calibration | None:
    """What the folder's calibration.json says; None where there is none. Errors: CheckpointError."""
    path = folder / RECORD
    if not path.exists():
        return None
    try:
        return Calibration.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        why = str(error).splitlines()[0]
        raise CheckpointError(f"{path}: is no calibration ({why}). Make it anew with `textfer tune`.") from None


def write_calibration(calibration: Calibration, folder: Path) -> None:
    """Writes calibration.json."""
    (folder / RECORD).write_text(calibration.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _sigmoid(value: float) -> float:
    if value >= 0:
        return 1.0 / (1.0 + math.exp(-value))
    return math.exp(value) / (1.0 + math.exp(value))


def _loss(features: Floats, wanted: Floats, weights: Floats) -> float:
    """Negative log likelihood of all answers together."""
    said = features @ weights
    return float(np.sum(np.logaddexp(0.0, said) - wanted * said))


def _newton(features: Floats, wanted: Floats) -> Floats:
    """[slope] or [slope, bias] of the least loss, the slope between 1/MOST and MOST: projected Newton steps, halved
    until the loss falls."""
    weights = np.zeros(features.shape[1])
    weights[0] = 1.0
    loss = _loss(features, wanted, weights)
    for _ in range(100):
        said = 1.0 / (1.0 + np.exp(-np.clip(features @ weights, -500, 500)))
        slope = features.T @ (said - wanted)
        curve = (features * (said * (1 - said))[:, None]).T @ features + 1e-9 * np.eye(len(weights))
        free = np.ones(len(weights), np.bool_)
        free[0] = not (weights[0] <= 1 / MOST and slope[0] > 0) and not (weights[0] >= MOST and slope[0] < 0)
        if not free.any():
            break
        step = np.zeros_like(weights)
        step[free] = np.linalg.solve(curve[np.ix_(free, free)], slope[free])
        size, better = 1.0, loss
        while size > 1e-10:
            tried = weights - size * step
            tried[0] = min(max(tried[0], 1 / MOST), MOST)
            better = _loss(features, wanted, tried)
            if better < loss:
                break
            size /= 2
        if size <= 1e-10:
            break
        weights, gain, loss = tried, loss - better, better
        if gain < 1e-12 * (1 + abs(loss)):
            break
    return weights
