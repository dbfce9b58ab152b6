"""Intervals of the bootstrap, against what statistics says of a mean."""

import math

import numpy as np
import pytest

from dupo.evaluation import intervals
from dupo.evaluation.intervals import Estimate, bootstrap


def test_the_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    error = values.std() / math.sqrt(len(values))
    estimate = bootstrap(values.tolist())
    assert estimate.mean == pytest.approx(values.mean())
    # the 2.5 % point of 2,000 resamples has a standard error of 0.06 standard errors of the mean
    assert estimate.low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert estimate.high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)


def test_nineteen_of_twenty_intervals_hold_the_truth():
    rng = np.random.default_rng(2)
    estimates = [bootstrap(rng.random(60) < 0.4, seed) for seed in range(200)]
    hits = sum(estimate.low <= 0.4 <= estimate.high for estimate in estimates)
    # 190 are expected, 3 is a standard deviation; the bootstrap of only 60 values is narrow
    assert 180 <= hits <= 198


@pytest.mark.parametrize("values", [[0.25], [0.25] * 7, [True]])
def test_values_that_are_all_alike_have_no_width(values):
    assert bootstrap(values) == Estimate(values[0], values[0], values[0])


def test_the_seed_decides():
    values = np.random.default_rng(3).random(50).tolist()
    assert bootstrap(values, 5) == bootstrap(values, 5)
    assert bootstrap(values, 5) != bootstrap(values, 6)


def test_one_seed_draws_the_same_problems_so_that_differences_are_paired():
    values = np.random.default_rng(4).random(50)
    plain, scaled = bootstrap(values.tolist()), bootstrap((2 * values + 1).tolist())
    assert scaled == pytest.approx([2 * x + 1 for x in plain])
    assert bootstrap((values + 0.1 - values).tolist()) == pytest.approx((0.1, 0.1, 0.1))
    assert plain.high - plain.low > 0.1


def test_many_problems_are_drawn_in_parts(monkeypatch):
    values = np.random.default_rng(5).random(300)
    error = values.std() / math.sqrt(300)
    drawn = []
    monkeypatch.setattr(intervals, "_INDICES_AT_ONCE", 3_001)  # ten resamples at a time
    quantile = np.quantile
    monkeypatch.setattr(np, "quantile", lambda means, at: drawn.append(len(means)) or quantile(means, at))
    estimate = bootstrap(values.tolist())
    assert drawn == [intervals.RESAMPLES]
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * error, rel=0.1)


@pytest.mark.parametrize("values", [[], [[0.5, 0.5]]], ids=["none", "two rows"])
def test_what_has_no_mean_is_refused(values):
    with pytest.raises(ValueError, match="expected one number or more, in a row, got shape"):
        bootstrap(values)
