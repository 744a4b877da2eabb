"""The mean of scores."""

from __future__ import annotations

import math
from collections.abc import Iterable


def mean(values: Iterable[float]) -> float:
    """100 × the mean of values in 0 … 1; without any value it is not a number (nan)."""
    values = list(values)
    return 100.0 * sum(values) / len(values) if values else math.nan
