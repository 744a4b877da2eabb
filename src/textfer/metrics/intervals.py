"""How sure a score is: percentile intervals by the bootstrap (Efron, 1979), the same for the same seed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]


def bootstrap(
    score: Callable[[Sequence[int]], Mapping[str, float]],
    size: int,
    *,
    groups: Sequence[Hashable] = (),
    num_samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """(low, high) of every score, in its own units: between them lie `level` of the scores of resampled examples.

    `score(indices)` marks the examples with these numbers in range(size); in a sample some stand several times.
    `groups` says which examples stay together: the answers to one question, the two of a pair. A score that is the
    mean of the scores of the examples (or groups) is resampled as such, which is quick; others are computed anew for
    every sample. Samples whose score is not a number are left out; (nan, nan) where none is left.
    """
    blocks = _blocks(size, groups)
    if not blocks:
        return dict.fromkeys(score([]), (math.nan, math.nan))
    whole, each = score(range(size)), [score(block) for block in blocks]
    samples: dict[str, list[float]] = {}
    intervals: dict[str, Interval] = {}
    for name, value in whole.items():
        values = [scores.get(name, math.nan) for scores in each]
        if math.isclose(value, math.fsum(values) / len(values), rel_tol=1e-9, abs_tol=1e-9):
            intervals[name] = bootstrap_mean(values, num_samples=num_samples, level=level, seed=seed)
        else:
            samples[name] = []
    if samples:
        for drawn in _draws(len(blocks), num_samples, seed):
            found = score([index for number in drawn.tolist() for index in blocks[number]])
            for name, values in samples.items():
                values.append(found.get(name, math.nan))
    return {name: intervals[name] if name in intervals else _percentiles(samples[name], level) for name in whole}


def bootstrap_mean(values: Sequence[float], *, num_samples: int = 1000, level: float = 0.95, seed: int = 0) -> Interval:
    """(low, high) of the mean of the values, in their units; (nan, nan) without any."""
    array = np.asarray(values, np.float64)
    if not len(array):
        return math.nan, math.nan
    return _percentiles([float(array[drawn].mean()) for drawn in _draws(len(array), num_samples, seed)], level)


def _blocks(size: int, groups: Sequence[Hashable]) -> list[list[int]]:
    if not groups:
        return [[index] for index in range(size)]
    assert len(groups) == size, (len(groups), size)
    found: dict[Hashable, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        found[group].append(index)
    return list(found.values())


def _draws(count: int, num_samples: int, seed: int) -> list[NDArray[np.int64]]:
    generator = np.random.RandomState(seed)  # its stream is frozen: the same in every version of NumPy
    return [generator.randint(0, count, count, dtype=np.int64) for _ in range(num_samples)]


def _percentiles(values: Sequence[float], level: float) -> Interval:
    kept = [value for value in values if not math.isnan(value)]
    if not kept:
        return math.nan, math.nan
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
