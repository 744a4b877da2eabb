"""How sure a score is: percentile intervals by the bootstrap (Efron, 1979), the same for the same seed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

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
    parts = {name: [scores.get(name, math.nan) for scores in each] for name in whole}
    means = [name for name in whole if math.isclose(whole[name], _mean(parts[name]), rel_tol=1e-9, abs_tol=1e-9)]
    table = np.array([parts[name] for name in means], np.float64).T
    samples: dict[str, list[float]] = {name: [] for name in whole}
    for drawn in _draws(len(blocks), num_samples, seed):
        if means:
            for name, value in zip(means, table[drawn].mean(axis=0).tolist(), strict=True):
                samples[name].append(value)
        if len(means) < len(whole):
            found = score([index for number in drawn.tolist() for index in blocks[number]])
            for name in whole.keys() - means:
                samples[name].append(found.get(name, math.nan))
    return {name: _percentiles(values, level) for name, values in samples.items()}


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


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.nan


def _draws(count: int, num_samples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    generator = np.random.RandomState(seed)  # its stream is frozen: the same in every version of NumPy
    for _ in range(num_samples):
        yield generator.randint(0, count, count, dtype=np.int64)


def _percentiles(values: Sequence[float], level: float) -> Interval:
    kept = [value for value in values if not math.isnan(value)]
    if not kept:
        return math.nan, math.nan
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
