"""Bootstrap intervals: the same for the same seed, quick and slow way alike, groups kept together."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest

from textfer.metrics import accuracy, bootstrap, bootstrap_mean, matthews, multirc

DRAW = random.Random(3)
GOLDS = [DRAW.randrange(2) for _ in range(200)]
ANSWERS = [gold if DRAW.random() < 0.8 else 1 - gold for gold in GOLDS]


def score(indices: Sequence[int]) -> dict[str, float]:
    answers, golds = [ANSWERS[n] for n in indices], [GOLDS[n] for n in indices]
    return {**accuracy(answers, golds), **matthews(answers, golds)}


def test_intervals_hold_the_score_and_are_the_same_again() -> None:
    found = bootstrap(score, len(GOLDS), num_samples=300)
    assert list(found) == ["accuracy", "matthews"]
    for name, value in score(range(len(GOLDS))).items():
        low, high = found[name]
        assert low < value < high
    assert found == bootstrap(score, len(GOLDS), num_samples=300)
    assert found != bootstrap(score, len(GOLDS), num_samples=300, seed=1)
    wide, narrow = (bootstrap(score, len(GOLDS), num_samples=300, level=level)["matthews"] for level in (0.99, 0.5))
    assert wide[0] < found["matthews"][0] < narrow[0] < narrow[1] < found["matthews"][1] < wide[1]


def test_the_quick_way_for_means_is_the_slow_one() -> None:
    calls = 0

    def mean(indices: Sequence[int]) -> dict[str, float]:
        nonlocal calls
        calls += 1
        return accuracy([ANSWERS[n] for n in indices], [GOLDS[n] for n in indices])

    quick = bootstrap(mean, len(GOLDS), num_samples=400)["accuracy"]
    assert calls == 1 + len(GOLDS)  # once for all, once for each
    draws = np.random.RandomState(0)
    slow = [mean(draws.randint(0, len(GOLDS), len(GOLDS), dtype=np.int64).tolist())["accuracy"] for _ in range(400)]
    assert quick == pytest.approx(tuple(np.percentile(slow, [2.5, 97.5])))
    assert quick == bootstrap_mean([100.0 * (a == g) for a, g in zip(ANSWERS, GOLDS, strict=True)], num_samples=400)


def test_the_width_is_that_of_a_normal_mean() -> None:
    values = np.random.RandomState(1).normal(50.0, 10.0, 400)
    low, high = bootstrap_mean(values.tolist(), num_samples=4000)
    assert (high - low) / (2 * 1.96 * float(values.std()) / math.sqrt(400)) == pytest.approx(1.0, abs=0.05)


def test_groups_stay_together() -> None:
    questions = [number // 4 for number in range(len(GOLDS))]
    seen: list[set[int]] = []

    def whole(indices: Sequence[int]) -> dict[str, float]:
        counts = [indices.count(n) for n in range(len(GOLDS))]  # type: ignore[attr-defined]
        seen.append({len(set(counts[start : start + 4])) for start in range(0, len(counts), 4)})
        taken = ([column[n] for n in indices] for column in (ANSWERS, GOLDS, questions))
        return multirc(*taken)

    found = bootstrap(whole, len(GOLDS), groups=questions, num_samples=50)
    assert all(sizes == {1} for sizes in seen)
    assert len(seen) == 1 + 50 + 50  # all, each question, and the samples: F1 is no mean
    ems = [whole(range(start, start + 4))["em"] for start in range(0, len(GOLDS), 4)]
    assert found["em"] == bootstrap_mean(ems, num_samples=50)


def test_nothing_and_what_is_no_number() -> None:
    assert all(math.isnan(end) for end in bootstrap(score, 0)["accuracy"])
    assert all(math.isnan(end) for end in bootstrap_mean([]))
    assert all(math.isnan(end) for end in bootstrap(lambda indices: {"x": math.nan}, 3, num_samples=5)["x"])

    def sometimes(indices: Sequence[int]) -> dict[str, float]:
        kept = set(indices)
        return {"x": float(len(kept)) if len(kept) > 1 else math.nan}

    assert bootstrap(sometimes, 3, num_samples=100)["x"] == (2.0, 3.0)
