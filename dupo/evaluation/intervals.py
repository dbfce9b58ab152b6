"""How sure a metric is: percentile bootstrap over the problems (Efron and Tibshirani 1993, chapter 13).

Problems are drawn anew with replacement, with all their samples. So the interval says what other problems of
the same kind would have given, not what other samples would have given.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES, LEVEL = 2000, 0.95
_INDICES_AT_ONCE = 2_000_000  # a bound of the memory, 16 MB of int64


class Estimate(NamedTuple):
    """A mean and its 95 % interval; the three are equal where there is one value only."""

    mean: float
    low: float
    high: float


def bootstrap(values: Sequence[float], seed: int = 0) -> Estimate:
    """The mean with its interval.

    Args:
        values: (n,) numbers, one for each problem.
        seed: the same seed draws the same problems, so an interval of differences is one of pairs.

    Raises:
        ValueError: there is no value.
    """
    numbers = np.asarray(values, float)
    if numbers.ndim != 1 or not len(numbers):
        raise ValueError(f"values: expected one number or more, in a row, got shape {numbers.shape}")
    # In rounds, because 2,000 resamples of a large set at once would fill the memory.
    rng, means = np.random.default_rng(seed), []
    resamples_at_once = max(1, _INDICES_AT_ONCE // len(numbers))
    for start in range(0, RESAMPLES, resamples_at_once):
        rows = min(resamples_at_once, RESAMPLES - start)
        means.append(numbers[rng.integers(0, len(numbers), (rows, len(numbers)))].mean(-1))
    # Percentiles and not a normal interval: shares near 0 or 1 are not symmetric.
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(np.concatenate(means), (tail, 1 - tail))
    return Estimate(float(numbers.mean()), float(low), float(high))
