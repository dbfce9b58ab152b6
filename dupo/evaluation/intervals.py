"""How sure a mean over problems is: Gaffke's interval for values with bounds (Gaffke 2005; arXiv 2106.03163).

A problem not yet seen might have the least value that there is, or the most. The low end therefore has one
more problem, with the least value; the high end has one with the most. All problems get random weights, as in
Rubin's bootstrap, and the percentiles of the weighted means are the ends.

For values 0 and 1 the interval is that of Clopper and Pearson, which holds the truth at least as often as the
level says, for however few problems. So a few values that are all alike do not look certain, as they do in a
bootstrap without that problem. For values between 0 and 1 no counter-example is known.

The interval says what other problems of the same kind would have given, not what other samples would have.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES, LEVEL = 10_000, 0.95
_WEIGHTS_AT_ONCE = 2_000_000  # a bound of the memory, 16 MB of float64


class Estimate(NamedTuple):
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


def estimate_mean(
    values: Sequence[float], least: float = 0.0, most: float = 1.0, *, seed: int = 0
) -> Estimate:
    """The mean with its interval.

    Args:
        values: (n,) numbers, one for each problem.
        least: no value can be lower.
        most: no value can be higher.
        seed: the same seed draws the same weights.

    Raises:
        ValueError: there is no value, or one is out of bounds.
    """
    numbers = np.asarray(values, float)
    if numbers.ndim != 1 or not len(numbers):
        raise ValueError(f"values: expected one number or more, in a row, got shape {numbers.shape}")
    if not ((numbers >= least) & (numbers <= most)).all():
        got = f"{numbers.min():g} to {numbers.max():g}"
        raise ValueError(f"values: expected numbers from {least:g} to {most:g}, got {got}")
    # In rounds, because the weights of a large set would fill the memory.
    rng, above, below = np.random.default_rng(seed), list[np.ndarray](), list[np.ndarray]()
    resamples_at_once = max(1, _WEIGHTS_AT_ONCE // (len(numbers) + 1))
    for start in range(0, RESAMPLES, resamples_at_once):
        weights = rng.standard_exponential((min(resamples_at_once, RESAMPLES - start), len(numbers) + 1))
        # The last weight is that of the problem at the bound, whose distance to the bound is 0.
        seen = (weights / weights.sum(-1, keepdims=True))[:, :-1]
        above.append(seen @ (numbers - least))
        below.append(seen @ (most - numbers))
    tail = (1 - LEVEL) / 2
    low, high = (np.quantile(np.concatenate(distances), tail) for distances in (above, below))
    return Estimate(float(numbers.mean()), float(least + low), float(most - high))
