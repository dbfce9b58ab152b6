"""Intervals, against what statistics says of a mean."""

import math

import numpy as np
import pytest

from dupo.evaluation import intervals
from dupo.evaluation.intervals import LEVEL, RESAMPLES, estimate_mean

TAIL = (1 - LEVEL) / 2
# An end is a percentile of RESAMPLES means: this is the standard error of its level.
NOISE = math.sqrt(TAIL * (1 - TAIL) / RESAMPLES)


def at_least(successes: int, n: int, chance: float) -> float:
    """Chance of so many successes or more in n trials: the definition of the binomial."""
    return sum(math.comb(n, k) * chance**k * (1 - chance) ** (n - k) for k in range(successes, n + 1))


def test_the_interval_of_a_mean_is_the_normal_one():
    values = np.clip(np.random.default_rng(1).normal(3.0, 2.0, 400), -10, 16)
    error = values.std() / math.sqrt(len(values))
    estimate = estimate_mean(values.tolist(), -10, 16)
    assert estimate.mean == pytest.approx(values.mean())
    # One more problem at a bound moves an end outwards by 13/401, which is a third of a standard error.
    assert estimate.low == pytest.approx(values.mean() - 13 / 401 - 1.96 * error, abs=0.2 * error)
    assert estimate.high == pytest.approx(values.mean() + 13 / 401 + 1.96 * error, abs=0.2 * error)


@pytest.mark.parametrize(("right", "n"), [(2, 2), (1, 1), (3, 5), (9, 14), (1, 30), (17, 24)])
def test_shares_have_the_interval_of_clopper_and_pearson(right, n):
    """At the low end, so many right answers or more are as rare as the level says."""
    estimate = estimate_mean([1.0] * right + [0.0] * (n - right))
    assert at_least(right, n, estimate.low) == pytest.approx(TAIL, abs=4 * NOISE)
    wrong = n - right
    if wrong:
        assert at_least(wrong, n, 1 - estimate.high) == pytest.approx(TAIL, abs=4 * NOISE)
    else:
        assert estimate.high == 1


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 9, 14, 24, 48])
def test_a_coin_is_above_one_half_no_oftener_than_the_level_says(n):
    """Summed over all results that a fair coin can have."""
    above = [k for k in range(n + 1) if estimate_mean([1.0] * k + [0.0] * (n - k)).low > 0.5]
    assert sum(math.comb(n, k) for k in above) / 2**n <= TAIL + 4 * NOISE
    assert n < 6 or n in above


@pytest.mark.parametrize("value", [0.0, 0.25, 1.0])
def test_values_that_are_all_alike_are_not_certain(value):
    few, many = estimate_mean([value] * 2), estimate_mean([value] * 200)
    assert few.mean == many.mean == value
    assert few.high - few.low > 0.5 and 0 < many.high - many.low < 0.03
    assert few.low <= many.low <= value <= many.high <= few.high
    assert (few.low == 0) == (value == 0) and (few.high == 1) == (value == 1)


def test_graded_values_hold_the_truth_at_least_as_often_as_the_level_says():
    """Five squares of uniform numbers, of mean 1/3; five throws of a die in sixths, of mean 7/12."""
    rng = np.random.default_rng(2)
    for sample, truth in (
        (lambda: rng.random(5) ** 2, 1 / 3),
        (lambda: rng.integers(1, 7, 5) / 6, 7 / 12),
    ):
        estimates = [estimate_mean(sample()) for _ in range(200)]
        assert sum(estimate.low > truth for estimate in estimates) <= 200 * TAIL + 7  # 3 standard deviations
        assert sum(estimate.high < truth for estimate in estimates) <= 200 * TAIL + 7


def test_the_seed_decides():
    values = np.random.default_rng(3).random(50).tolist()
    assert estimate_mean(values, seed=5) == estimate_mean(values, seed=5)
    assert estimate_mean(values, seed=5) != estimate_mean(values, seed=6)


def test_the_interval_moves_with_the_values_and_their_bounds():
    values = np.random.default_rng(4).random(50)
    plain, scaled = estimate_mean(values.tolist()), estimate_mean((2 * values - 1).tolist(), -1, 1)
    assert scaled == pytest.approx([2 * x - 1 for x in plain])
    assert plain.high - plain.low > 0.1


def test_many_problems_are_weighed_in_parts(monkeypatch):
    values = np.random.default_rng(5).random(300)
    error = values.std() / math.sqrt(300)
    drawn = []
    monkeypatch.setattr(intervals, "_WEIGHTS_AT_ONCE", 30_101)  # a hundred resamples at a time
    quantile = np.quantile
    monkeypatch.setattr(np, "quantile", lambda means, at: drawn.append(len(means)) or quantile(means, at))
    estimate = estimate_mean(values.tolist())
    assert drawn == [intervals.RESAMPLES] * 2
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * error, rel=0.1)


@pytest.mark.parametrize("values", [[], [[0.5, 0.5]]], ids=["none", "two rows"])
def test_what_has_no_mean_is_refused(values):
    with pytest.raises(ValueError, match="expected one number or more, in a row, got shape"):
        estimate_mean(values)


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan])
def test_values_out_of_bounds_are_refused(value):
    with pytest.raises(ValueError, match="expected numbers from 0 to 1, got"):
        estimate_mean([0.5, value])
