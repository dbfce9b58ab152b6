"""How sure a figure is: percentile bootstrap over the problems (Efron and Tibshirani 1993, chapter 13).

Problems are drawn anew with replacement, each with all its samples; so the interval says what other problems
of the same kind would have given, not what other samples would.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES, LEVEL = 2000, 0.95
_AT_ONCE = 2_000_000  # random indices held at a time


class Estimate(NamedTuple):
    """A mean and its 95 % interval; all three equal where there is one value only."""

    mean: float
    low: float
    high: float


def bootstrap(values: Sequence[float], seed: int = 0) -> Estimate:
    """Mean of `values` (one a problem) with its interval. The same seed draws the same problems, so that the
    interval of a difference is that of the paired differences. Raises ValueError without any value."""
    given = np.asarray(values, float)
    if given.ndim != 1 or not len(given):
        raise ValueError(f"values: expected one number or more, in a row, got shape {given.shape}")
    rng, means, size = np.random.default_rng(seed), [], max(1, _AT_ONCE // len(given))
    for start in range(0, RESAMPLES, size):
        rows = min(size, RESAMPLES - start)
        means.append(given[rng.integers(0, len(given), (rows, len(given)))].mean(-1))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(np.concatenate(means), (tail, 1 - tail))
    return Estimate(float(given.mean()), float(low), float(high))
