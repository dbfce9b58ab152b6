"""The closed forms: against formulas written another way, autograd, and their Triton copies."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from numerics import assert_as_accurate
from torch import Tensor

from dupo_kernels import _triton, kl_estimate
from dupo_kernels.objective import (
    KL_ESTIMATORS,
    MAX_LOG_RATIO,
    clipped_surrogate,
    importance_corrected,
    importance_ratio,
    kl_k1,
    kl_k2,
    kl_k3,
)

tl = _triton.tl
LOW, HIGH = 0.2, 0.28
EDGES = [0.5, 1 - LOW - 1e-9, 1 - LOW + 1e-9, 1.0 - 1e-9, 1.1, 1 + HIGH - 1e-9, 1 + HIGH + 1e-9, 3.0, 50.0]


def grid() -> tuple[Tensor, Tensor, Tensor]:
    """(logp, old_logp, advantage): every ratio of EDGES with advantages of each sign."""
    ratio = torch.tensor(EDGES, dtype=torch.float64)[:, None]
    advantage = torch.tensor([-1.7, 0.0, 0.6], dtype=torch.float64)[None]
    logp = torch.linspace(-3, -0.1, len(EDGES), dtype=torch.float64)[:, None]
    old = logp - ratio.log()
    return tuple(t.expand(len(EDGES), 3).clone() for t in (logp, old, advantage))  # type: ignore[return-value]


def by_autograd(function: Callable[..., tuple[Tensor, Tensor]], logp: Tensor, *others: Any) -> Tensor:
    logp = logp.clone().requires_grad_()
    return torch.autograd.grad(function(logp, *others)[0].sum(), logp)[0]


def test_surrogate_is_the_pessimistic_one() -> None:
    logp, old, advantage = grid()
    loss, dlogp = clipped_surrogate(logp, old, advantage, LOW, HIGH)
    for i, r in enumerate(EDGES):
        for j, A in enumerate([-1.7, 0.0, 0.6]):
            clipped = min(max(r, 1 - LOW), 1 + HIGH)
            assert loss[i, j].item() == pytest.approx(-min(r * A, clipped * A), rel=1e-12)
            moves = not ((r > 1 + HIGH and A > 0) or (r < 1 - LOW and A < 0))
            assert dlogp[i, j].item() == pytest.approx(-r * A if moves else 0.0, rel=1e-12)
    torch.testing.assert_close(dlogp, by_autograd(clipped_surrogate, logp, old, advantage, LOW, HIGH))


def test_surrogate_takes_the_unclipped_branch_at_ties() -> None:
    advantage = torch.tensor([2.0, -2.0, 2.0, -2.0], dtype=torch.float64)
    ratio = torch.tensor([1.0, 1.0, 1.25, 0.75], dtype=torch.float64)  # 0.25 is exact: these are the edges
    logp = ratio.log()
    loss, dlogp = clipped_surrogate(logp, torch.zeros_like(logp), advantage, 0.25, 0.25)
    torch.testing.assert_close(loss, -ratio * advantage)
    torch.testing.assert_close(dlogp[:2], -advantage[:2])
    on_edge = torch.exp(logp) == ratio
    torch.testing.assert_close(dlogp[on_edge], (-ratio * advantage)[on_edge])


@pytest.mark.parametrize("kind", KL_ESTIMATORS)
def test_kl_is_schulmans(kind: str) -> None:
    d = torch.tensor([-30.0, -3.0, -0.3, -0.25, -0.1, -1e-4, 0.0, 1e-7, 0.02, 0.249, 0.26, 1.0, 19.0])
    logp = torch.full_like(d, -2.0).double()
    expected = {
        "k1": lambda d: -d,
        "k2": lambda d: d * d / 2,
        "k3": lambda d: (
            math.expm1(d) - d if abs(d) > 0.1 else sum(d**k / math.factorial(k) for k in range(2, 20))
        ),
    }
    value, dlogp = KL_ESTIMATORS[kind](logp, logp + d.double())
    truth = [expected[kind](float(x)) for x in d]
    torch.testing.assert_close(value, torch.tensor(truth, dtype=torch.float64), rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(dlogp, by_autograd(KL_ESTIMATORS[kind], logp, logp + d.double()))
    slope = {"k1": torch.ones_like(dlogp), "k2": -d.double(), "k3": -torch.expm1(d.double())}
    torch.testing.assert_close(dlogp, slope[kind], rtol=1e-9, atol=1e-12)


def test_k3_does_not_cancel_in_float32() -> None:
    ref = torch.tensor([-1e-3, -1e-5, 1e-6, 1e-4, 1e-2, 0.2, 0.3])
    value, dlogp = kl_k3(torch.zeros_like(ref), ref)
    exact, slope = kl_k3(torch.zeros_like(ref).double(), ref.double())
    torch.testing.assert_close(value.double(), exact, rtol=3e-6, atol=0)
    torch.testing.assert_close(dlogp.double(), slope, rtol=3e-7, atol=0)


def test_corrected_kl_differentiates_ratio_and_estimate() -> None:
    logp, old, _ = grid()
    ref = logp + torch.linspace(-2, 2, 27, dtype=torch.float64).view(9, 3)
    for estimator in KL_ESTIMATORS.values():

        def corrected(logp: Tensor, estimator: Any = estimator) -> tuple[Tensor, Tensor]:
            return importance_corrected(*estimator(logp, ref), *importance_ratio(logp, old))

        value, dlogp = corrected(logp)
        torch.testing.assert_close(value, (logp - old).exp() * estimator(logp, ref)[0])
        torch.testing.assert_close(dlogp, by_autograd(corrected, logp))


@pytest.mark.parametrize("advantage", [-1.0, 0.0, 1.0])
def test_extreme_ratios_stay_finite(advantage: float) -> None:
    logp = torch.tensor([0.0, -200.0, -float("inf")])
    old = torch.tensor([-200.0, 0.0, -1.0])
    A = torch.full_like(logp, advantage)
    for value, dlogp in (clipped_surrogate(logp, old, A, LOW, HIGH), kl_k3(logp, old)):
        assert value.isfinite().all()
        assert dlogp.isfinite().all()
    ratio, dratio = importance_ratio(logp, old)
    assert ratio.tolist() == [pytest.approx(math.exp(MAX_LOG_RATIO)), 0.0, 0.0]
    assert dratio.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("kind", KL_ESTIMATORS)
def test_kl_estimate_is_differentiable_in_both(kind: str) -> None:
    logp = torch.tensor([-1.0, -2.0, -0.5], dtype=torch.float64, requires_grad=True)
    ref = torch.tensor([-1.5, -2.0, 0.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p, q: kl_estimate(p, q, kind), (logp, ref))
    assert torch.equal(kl_estimate(logp, ref), KL_ESTIMATORS["k3"](logp, ref)[0])


def test_kl_estimate_refuses_an_unknown_kind() -> None:
    with pytest.raises(ValueError, match="kind must be one of k1, k2, k3, got 'k4'"):
        kl_estimate(torch.zeros(1), torch.zeros(1), "k4")


# --- the Triton copies: run here under the interpreter, compiled by test_logprob_interpreter.py ---

_surrogate = _triton.device(clipped_surrogate)
_k1, _k2, _k3 = _triton.device(kl_k1), _triton.device(kl_k2), _triton.device(kl_k3)
_ratio, _corrected = _triton.device(importance_ratio), _triton.device(importance_corrected)


@_triton.jit
def objective_kernel(logp_ptr, old_ptr, ref_ptr, advantage_ptr, out_ptr, N, low, high, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    within = n < N
    logp = tl.load(logp_ptr + n, mask=within, other=0.0)
    old = tl.load(old_ptr + n, mask=within, other=0.0)
    ref = tl.load(ref_ptr + n, mask=within, other=0.0)
    loss, dloss = _surrogate(logp, old, tl.load(advantage_ptr + n, mask=within, other=0.0), low, high)
    k1, dk1 = _k1(logp, ref)
    k2, dk2 = _k2(logp, ref)
    k3, dk3 = _k3(logp, ref)
    ratio, dratio = _ratio(logp, old)
    fair, dfair = _corrected(k3, dk3, ratio, dratio)
    tl.store(out_ptr + n, loss, mask=within)
    tl.store(out_ptr + N + n, dloss, mask=within)
    tl.store(out_ptr + 2 * N + n, k1, mask=within)
    tl.store(out_ptr + 3 * N + n, dk1, mask=within)
    tl.store(out_ptr + 4 * N + n, k2, mask=within)
    tl.store(out_ptr + 5 * N + n, dk2, mask=within)
    tl.store(out_ptr + 6 * N + n, k3, mask=within)
    tl.store(out_ptr + 7 * N + n, dk3, mask=within)
    tl.store(out_ptr + 8 * N + n, fair, mask=within)
    tl.store(out_ptr + 9 * N + n, dfair, mask=within)


def torch_copy(logp: Tensor, old: Tensor, ref: Tensor, advantage: Tensor) -> Tensor:
    k3 = kl_k3(logp, ref)
    pairs = [clipped_surrogate(logp, old, advantage, LOW, HIGH), kl_k1(logp, ref), kl_k2(logp, ref), k3]
    pairs.append(importance_corrected(*k3, *importance_ratio(logp, old)))
    return torch.stack([tensor for pair in pairs for tensor in pair])


@pytest.mark.skipif(not _triton.INTERPRET and not torch.cuda.is_available(), reason="needs Triton to run")
@pytest.mark.parametrize("extreme", [False, True])
def test_triton_copy_equals_torch(extreme: bool) -> None:
    device = "cpu" if _triton.INTERPRET else "cuda"
    logp, old, advantage = (t.float().flatten().to(device) for t in grid())
    ref = logp + torch.linspace(-2, 2, 27, device=device) ** 3
    if extreme:  # beyond MAX_LOG_RATIO, either way
        old, ref = logp + torch.linspace(-90, 90, 27, device=device), logp + 3 * (ref - logp)
    inputs = (logp, old, ref, advantage)
    out = torch.empty(10, 27, device=device)
    objective_kernel[(1,)](*inputs, out, 27, LOW, HIGH, BLOCK=32)
    baseline, truth = torch_copy(*inputs), torch_copy(*(t.double() for t in inputs))
    for got, base, true in zip(out, baseline, truth, strict=True):
        assert_as_accurate(got, base, true, largest_input=true.abs().max().item())
