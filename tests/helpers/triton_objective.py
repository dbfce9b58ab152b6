"""A Triton kernel that calls every closed form of tokens/: run interpreted, and compiled ahead of time."""

import math

from dupo_kernels import _triton
from dupo_kernels.tokens.kl import kl_abs, kl_k1, kl_k2, kl_k3, kl_k3_plus
from dupo_kernels.tokens.surrogates import (
    cispo_factor,
    clipped_surrogate,
    importance_ratio,
    soft_surrogate,
    vespo_factor,
)

tl = _triton.tl
INF = math.inf
LOW, HIGH = 0.2, 0.28
ADVANTAGES = [-1.7, 0.0, 0.6]
SHAPE = {"k_pos": 2.0, "lambda_pos": 3.0, "k_neg": 3.0, "lambda_neg": 2.0}  # of vespo
TEMPERATURES = 1.3, 0.7  # of sapo

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
