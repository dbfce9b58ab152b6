"""Estimators of the KL: against Schulman's formulas, in float32, and through autograd."""

import math
from collections.abc import Callable

import pytest
import torch

from dupo_kernels import kl_estimate
from dupo_kernels.tokens.choices import KL_KINDS
from dupo_kernels.tokens.kl import KL_ESTIMATORS, kl_k3

SCHULMAN: dict[
    str, Callable[[float], tuple[float, float]]
] = {  # of d = log(p_ref / p): value, d value / d logp
    "k1": lambda d: (-d, 1.0),
    "abs": lambda d: (abs(d), -math.copysign(1.0, d) if d else 0.0),
    "k2": lambda d: (d * d / 2, -d),
    "k3": lambda d: (exp_tail(d), -math.expm1(d)),
    "k3+": lambda d: (exp_tail(d), -d),
}


def exp_tail(d: float) -> float:
    """exp(d) - d - 1."""
    return math.expm1(d) - d if abs(d) > 0.1 else sum(d**k / math.factorial(k) for k in range(2, 20))


@pytest.mark.parametrize("kind", KL_ESTIMATORS)
def test_kl_is_schulmans(kind: str) -> None:
    d = torch.tensor(
        [-30.0, -3.0, -0.3, -0.25, -0.1, -1e-4, 0.0, 1e-7, 0.02, 0.249, 0.26, 1.0, 19.0]
    ).double()
    logp = torch.full_like(d, -2.0)
    found = KL_ESTIMATORS[kind](logp, logp + d)
    d = (logp + d) - logp  # as rounded
    truth = torch.tensor([SCHULMAN[kind](x) for x in d.tolist()], dtype=torch.float64).T
    torch.testing.assert_close(found[0], truth[0], rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(found[1], truth[1], rtol=1e-9, atol=1e-12)
    assert SCHULMAN.keys() == KL_ESTIMATORS.keys()


def test_k3_is_held() -> None:
    value, dlogp = kl_k3(torch.tensor([-21.0, -800.0]).double(), torch.zeros(2).double())
    assert value.tolist() == [pytest.approx(math.exp(20) - 21)] * 2
    assert dlogp.tolist() == [0.0, 0.0]


def test_k3_does_not_cancel_in_float32() -> None:
    ref = torch.tensor([-1e-3, -1e-5, 1e-6, 1e-4, 1e-2, 0.2, 0.3])
    value, dlogp = kl_k3(torch.zeros_like(ref), ref)
    exact, slope = kl_k3(torch.zeros_like(ref).double(), ref.double())
    torch.testing.assert_close(value.double(), exact, rtol=3e-6, atol=0)
    torch.testing.assert_close(dlogp.double(), slope, rtol=3e-7, atol=0)


@pytest.mark.parametrize("kind", KL_ESTIMATORS)
def test_kl_estimate_is_differentiable_in_both(kind: str) -> None:
    logp = torch.tensor([-1.0, -2.0, -0.5], dtype=torch.float64, requires_grad=True)
    ref = torch.tensor([-1.5, -2.1, 0.3], dtype=torch.float64, requires_grad=True)
    value = kl_estimate(logp, ref, kind)
    expected, dlogp = KL_ESTIMATORS[kind](logp.detach(), ref.detach())
    assert torch.equal(value, expected)
    for got, sign in zip(torch.autograd.grad(value.sum(), (logp, ref)), (1, -1), strict=True):
        torch.testing.assert_close(got, sign * dlogp, rtol=1e-12, atol=0)
    assert torch.equal(kl_estimate(logp, ref), kl_k3(logp, ref)[0])
    assert kl_estimate(logp[:, None], ref, kind).shape == (3, 3)


def test_kl_estimate_refuses_an_unknown_kind() -> None:
    with pytest.raises(ValueError, match=r"kind: expected one of k1, k2, k3, abs, k3\+, got 'k4'"):
        kl_estimate(torch.zeros(1), torch.zeros(1), "k4")


def test_the_options_name_every_estimator() -> None:
    assert tuple(KL_ESTIMATORS) == KL_KINDS
