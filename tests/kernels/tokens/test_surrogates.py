"""The closed forms of the surrogates: against formulas written another way, and autograd."""

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

from dupo_kernels.tokens.kl import kl_k3
from dupo_kernels.tokens.surrogates import (
    MAX_LOG_RATIO,
    cispo_factor,
    clipped_surrogate,
    importance_ratio,
    soft_surrogate,
    vespo_factor,
)
from tests.helpers.triton_objective import ADVANTAGES, HIGH, INF, LOW, SHAPE, TEMPERATURES

BOUNDS = [0.6, 1.1, 1.5, 3.0]  # of delta and of clip_ratio_c (at least 1): inside the clip and outside


def grid() -> tuple[Tensor, Tensor]:
    """(log-ratio, advantage): below, at, between and above all edges, and where the ratio is held."""
    edges = [1 - LOW, 1.0, 1 + HIGH, *BOUNDS]
    near = [math.log(edge) + step for edge in edges for step in (-1e-9, 0.0, 1e-9)]
    far = [-800.0, -30.0, -18.42, -3.0, -0.05, 0.05, 0.18, 0.3, 0.9, 2.0, 19.0]
    held = [MAX_LOG_RATIO + 1e-9, 90.0, 800.0]
    return tuple(torch.tensor(list(product(near + far + held, ADVANTAGES)), dtype=torch.float64).T)


def held_ratio(log_ratio: Tensor) -> Tensor:
    return log_ratio.clamp(max=MAX_LOG_RATIO).exp()


def slope(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    at = at.clone().requires_grad_()
    return torch.autograd.grad(function(at).sum(), at)[0]


def assert_is(found: tuple[Tensor, Tensor], truth: Callable[[Tensor], Tensor], at: Tensor) -> None:
    torch.testing.assert_close(found[0], truth(at), rtol=1e-12, atol=0)
    torch.testing.assert_close(found[1], slope(truth, at), rtol=1e-11, atol=0)


# --- surrogates ------------------------------------------------------------------------------------


def test_ratio_is_held() -> None:
    assert_is(importance_ratio(grid()[0]), held_ratio, grid()[0])
    extreme = torch.tensor([-INF, INF, 200.0, -200.0])
    ratio, dratio = importance_ratio(extreme)
    assert ratio.tolist() == [0.0, *[pytest.approx(math.exp(MAX_LOG_RATIO))] * 2, 0.0]
    assert dratio.tolist() == [0.0] * 4


@pytest.mark.parametrize("c", [INF, 1.0, *BOUNDS[1:]])
@pytest.mark.parametrize("delta", [INF, *BOUNDS])
def test_clipped_surrogate_is_the_pessimistic_one(delta: float, c: float) -> None:
    log_ratio, advantage = grid()
    if c != INF:  # at the bound of the loss its derivative may be either one: test_ties_... has ours
        off_bound = (held_ratio(log_ratio) - c).abs() > 1e-12
        log_ratio, advantage = log_ratio[off_bound], advantage[off_bound]

    def truth(log_ratio: Tensor) -> Tensor:
        r = held_ratio(log_ratio)
        gain = torch.minimum(r.clamp(max=delta) * advantage, r.clamp(1 - LOW, 1 + HIGH) * advantage)
        return torch.where(advantage < 0, -gain.clamp(min=-c * advantage.abs()), -gain)

    found = clipped_surrogate(log_ratio, advantage, LOW, HIGH, delta, c)
    assert_is(found, truth, log_ratio)


def test_surrogate_takes_the_unclipped_branch_at_ties() -> None:
    advantage = torch.tensor([2.0, -2.0, 2.0, -2.0, -2.0, -2.0], dtype=torch.float64)
    ratio = torch.tensor([1.0, 1.0, 1.25, 0.75, 1.5, 1.75], dtype=torch.float64)
    log_ratio = ratio.log()
    ratio = log_ratio.exp()  # whatever rounding made of it is now exactly at an edge
    low, high = 1 - ratio[3], ratio[2] - 1
    for delta, c in ((ratio[4], INF), (INF, ratio[4])):
        loss, slope = clipped_surrogate(log_ratio, advantage, low, high, delta, c)
        torch.testing.assert_close(loss[:5], (-ratio * advantage)[:5], rtol=1e-15, atol=0)
        torch.testing.assert_close(slope[:5], (-ratio * advantage)[:5], rtol=1e-15, atol=0)
        assert (loss[5].item(), slope[5].item()) == (pytest.approx(2 * ratio[4].item(), rel=1e-15), 0.0)


def test_soft_surrogate_is_sapos() -> None:
    log_ratio, advantage = grid()
    keep = held_ratio(log_ratio) < 20  # further out 1 - sigmoid is lost in rounding, in either formula
    log_ratio, advantage = log_ratio[keep], advantage[keep]
    t = torch.tensor(TEMPERATURES, dtype=torch.float64)[(advantage <= 0).long()]

    def truth(log_ratio: Tensor) -> Tensor:
        return -2 / t * (1 + torch.tanh(t * (log_ratio.exp() - 1) / 2)) * advantage

    value, through = soft_surrogate(log_ratio, advantage, *TEMPERATURES)
    torch.testing.assert_close(value, truth(log_ratio), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(through, slope(truth, log_ratio), rtol=1e-8, atol=1e-15)


def test_cispo_factor_caps_the_ratio() -> None:
    log_ratio, advantage = grid()
    for cap in (0.0, 1.28, 5.0):
        found = cispo_factor(log_ratio, advantage, cap).tolist()
        for got, x, A in zip(found, log_ratio.tolist(), advantage.tolist(), strict=True):
            assert got == pytest.approx(-min(math.exp(min(x, 20)), cap) * A, rel=1e-12)


def test_vespo_factor_is_the_gamma_weight() -> None:
    log_weight, advantage = grid()
    found = vespo_factor(log_weight, advantage, *SHAPE.values()).tolist()
    for got, x, A in zip(found, log_weight.tolist(), advantage.tolist(), strict=True):
        w = min(max(math.exp(min(x, 20)), 1e-8), math.exp(20))
        k, scale = (2.0, 3.0) if A >= 0 else (3.0, 2.0)
        assert got == pytest.approx(-math.exp(scale) * w**k * math.exp(-scale * w) * A, rel=1e-10, abs=1e-300)
    assert vespo_factor(torch.zeros(1), torch.ones(1), *SHAPE.values()).item() == pytest.approx(
        -1.0
    )  # phi(1) = 1


@pytest.mark.parametrize("advantage", ADVANTAGES)
def test_extreme_ratios_stay_finite(advantage: float) -> None:
    log_ratio = torch.tensor([200.0, -200.0, -INF, INF])
    A = torch.full_like(log_ratio, advantage)
    for value in (
        *clipped_surrogate(log_ratio, A, LOW, HIGH, INF, INF),
        *clipped_surrogate(log_ratio, A, LOW, HIGH, 4.0, INF),
        *clipped_surrogate(log_ratio, A, LOW, HIGH, INF, 3.0),
        *soft_surrogate(log_ratio, A, *TEMPERATURES),
        cispo_factor(log_ratio, A, 5.0),
        vespo_factor(log_ratio, A, *SHAPE.values()),
        *kl_k3(torch.tensor([0.0, -200.0, -INF, -1.0]), torch.tensor([-200.0, 0.0, -1.0, -1.0])),
    ):
        assert value.isfinite().all()
