"""The closed forms: against formulas written another way, autograd, and their Triton copies."""

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

from dupo_kernels import _triton, kl_estimate
from dupo_kernels.tokens.surrogates import (
    KL_ESTIMATORS,
    MAX_LOG_RATIO,
    cispo_factor,
    clipped_surrogate,
    importance_ratio,
    kl_abs,
    kl_k1,
    kl_k2,
    kl_k3,
    kl_k3_plus,
    soft_surrogate,
    vespo_factor,
)
from tests.helpers.numerics import assert_as_accurate

tl = _triton.tl
INF = math.inf
LOW, HIGH = 0.2, 0.28
BOUNDS = [0.6, 1.1, 1.5, 3.0]  # of delta and of clip_ratio_c (at least 1): inside the clip and outside
ADVANTAGES = [-1.7, 0.0, 0.6]
SHAPE = {"k_pos": 2.0, "lambda_pos": 3.0, "k_neg": 3.0, "lambda_neg": 2.0}  # of vespo
TEMPERATURES = 1.3, 0.7


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


# --- KL --------------------------------------------------------------------------------------------

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
    with pytest.raises(ValueError, match=r"kind must be one of k1, k2, k3, abs, k3\+, got 'k4'"):
        kl_estimate(torch.zeros(1), torch.zeros(1), "k4")


# --- the Triton copies: run here under the interpreter, compiled ahead of time by another test ---

_ratio, _surrogate = _triton.device(importance_ratio), _triton.device(clipped_surrogate)
_soft, _cispo, _vespo = (_triton.device(f) for f in (soft_surrogate, cispo_factor, vespo_factor))
_k1, _k2, _k3 = _triton.device(kl_k1), _triton.device(kl_k2), _triton.device(kl_k3)
_abs, _k3_plus = _triton.device(kl_abs), _triton.device(kl_k3_plus)

OUTPUTS = 18
SCALARS = {"low": LOW, "high": HIGH, "delta": INF, "c": INF, "cap": 2.5}  # fp32 arguments of the kernel
SCALARS |= {"t_pos": TEMPERATURES[0], "t_neg": TEMPERATURES[1], **SHAPE}


@_triton.jit
def objective_kernel(
    logp_ptr,
    old_ptr,
    ref_ptr,
    advantage_ptr,
    out_ptr,
    N,
    low,
    high,
    delta,
    c,
    cap,
    t_pos,
    t_neg,
    k_pos,
    lambda_pos,
    k_neg,
    lambda_neg,
    BLOCK: tl.constexpr,
):
    n = tl.arange(0, BLOCK)
    within = n < N
    logp = tl.load(logp_ptr + n, mask=within, other=0.0)
    ref = tl.load(ref_ptr + n, mask=within, other=0.0)
    A = tl.load(advantage_ptr + n, mask=within, other=0.0)
    log_ratio = logp - tl.load(old_ptr + n, mask=within, other=0.0)
    ratio, dratio = _ratio(log_ratio)
    loss, dloss = _surrogate(log_ratio, A, low, high, delta, c)
    soft, dsoft = _soft(log_ratio, A, t_pos, t_neg)
    k1, dk1 = _k1(logp, ref)
    absolute, dabsolute = _abs(logp, ref)
    k2, dk2 = _k2(logp, ref)
    k3, dk3 = _k3(logp, ref)
    plus, dplus = _k3_plus(logp, ref)
    tl.store(out_ptr + n, ratio, mask=within)
    tl.store(out_ptr + N + n, dratio, mask=within)
    tl.store(out_ptr + 2 * N + n, loss, mask=within)
    tl.store(out_ptr + 3 * N + n, dloss, mask=within)
    tl.store(out_ptr + 4 * N + n, soft, mask=within)
    tl.store(out_ptr + 5 * N + n, dsoft, mask=within)
    tl.store(out_ptr + 6 * N + n, k1, mask=within)
    tl.store(out_ptr + 7 * N + n, dk1, mask=within)
    tl.store(out_ptr + 8 * N + n, absolute, mask=within)
    tl.store(out_ptr + 9 * N + n, dabsolute, mask=within)
    tl.store(out_ptr + 10 * N + n, k2, mask=within)
    tl.store(out_ptr + 11 * N + n, dk2, mask=within)
    tl.store(out_ptr + 12 * N + n, k3, mask=within)
    tl.store(out_ptr + 13 * N + n, dk3, mask=within)
    tl.store(out_ptr + 14 * N + n, plus, mask=within)
    tl.store(out_ptr + 15 * N + n, dplus, mask=within)
    tl.store(out_ptr + 16 * N + n, _cispo(log_ratio, A, cap), mask=within)
    tl.store(out_ptr + 17 * N + n, _vespo(log_ratio, A, k_pos, lambda_pos, k_neg, lambda_neg), mask=within)


def torch_copy(logp: Tensor, old: Tensor, ref: Tensor, A: Tensor, delta: float, c: float) -> Tensor:
    log_ratio = logp - old
    pairs = [importance_ratio(log_ratio), clipped_surrogate(log_ratio, A, LOW, HIGH, delta, c)]
    pairs += [soft_surrogate(log_ratio, A, *TEMPERATURES)]
    pairs += [kl(logp, ref) for kl in (kl_k1, kl_abs, kl_k2, kl_k3, kl_k3_plus)]
    pairs += [(cispo_factor(log_ratio, A, 2.5), vespo_factor(log_ratio, A, *SHAPE.values()))]
    return torch.stack([tensor for pair in pairs for tensor in pair])


@pytest.mark.skipif(not _triton.INTERPRET and not torch.cuda.is_available(), reason="needs Triton to run")
@pytest.mark.parametrize(("delta", "c"), [(INF, INF), (1.5, INF), (1.1, INF), (INF, 1.5), (INF, 3.0)])
@pytest.mark.parametrize("extreme", [False, True])
def test_triton_copy_equals_torch(extreme: bool, delta: float, c: float) -> None:
    device = "cpu" if _triton.INTERPRET else "cuda"
    A = torch.tensor(ADVANTAGES, device=device).repeat(21)
    N = A.numel()
    logp = torch.linspace(-3, -0.1, N, device=device)
    log_ratio = torch.linspace(-90 if extreme else -2, 90 if extreme else 2, N, device=device)
    old, ref = logp - log_ratio, logp + log_ratio.flip(0) / 2
    out = torch.empty(OUTPUTS, N, device=device)
    objective_kernel[(1,)](logp, old, ref, A, out, N, **(SCALARS | {"delta": delta, "c": c}), BLOCK=64)
    inputs = (logp, old, ref, A)
    baseline = torch_copy(*inputs, delta, c)
    truth = torch_copy(*(t.double() for t in inputs), delta, c)
    for got, base, true in zip(out, baseline, truth, strict=True):
        assert_as_accurate(got, base, true, largest_input=true.abs().max().item())
