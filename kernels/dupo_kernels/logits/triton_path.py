"""The kernels of launch.py: one program per token; logits are read once each way.

    forward:  logits (N, V), targets, inv_temperature -> logp, lse, top, entropy (if asked), (N,) each
    backward: the same inputs, lse, entropy, dlogp, dentropy -> dlogits (N, V)

The formulas stand in logprobs.py. Losses are unknown here.

Exponentials are in base 2, which is what the hardware has. Differences are taken before the change
of base: where one logit stands out they are near 0, and a factor rounded into each logit beforehand
would cost |z| units in the last place.

Shape letters: N rows, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

from dupo_kernels._triton import jit, tl
from dupo_kernels.logits.row_maths import read_scale
from dupo_kernels.logits.rows import FLOOR, Rows

BLOCK_V = 4096  # with 8 warps: no spills on sm_80, 90, 100 (tests); not tuned on a device yet
NUM_WARPS = 8
LOWEST = tl.constexpr(FLOOR)  # differences of it, and their products with counts, stay finite
LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@jit
def _tanh(u):
    """A continued fraction near 0, where the exponential form cancels. Within 4e-7, relative."""
    u2 = u * u
    upper = 135135.0 + u2 * (17325.0 + u2 * (378.0 + u2))
    lower = 135135.0 + u2 * (62370.0 + u2 * (3150.0 + u2 * 28.0))
    t = tl.exp2(tl.abs(u) * (-2.0 * LOG2E))
    exponential = (1.0 - t) / (1.0 + t)
    return tl.where(tl.abs(u) < 1.0, u * upper / lower, tl.where(u < 0, -exponential, exponential))


@jit
def _scaled(logits, inv_t, softcap, SOFTCAP: tl.constexpr):
    """(z, tanh(logits / softcap)); NaN stays NaN."""
    z = logits.to(tl.float32)
    squashed = z
    if SOFTCAP:
        squashed = _tanh(z * (1.0 / softcap))
        z = squashed * softcap
    z *= inv_t
    return z, squashed


@jit
def _floored(z):
    """z with LOWEST for -inf; NaN stays NaN, which tl.maximum would drop on a GPU."""
    return tl.where(z < LOWEST, LOWEST, z)


@jit(do_not_specialize=["inv_temperature_of_all", "stride_t", "softcap"])
def _forward(
    logits_ptr,
    targets_ptr,
    inv_temperature_ptr,
    inv_temperature_of_all,
    logp_ptr,
    entropy_ptr,
    lse_ptr,
    top_ptr,
    stride_n,
    stride_t,
    V,
    softcap,
    SOFTCAP: tl.constexpr,
    ENTROPY: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    n = tl.program_id(0).to(tl.int64)  # n * stride_n overflows int32 beyond 2**31 logits
    row_ptr = logits_ptr + n * stride_n
    inv_t = read_scale(inv_temperature_ptr, inv_temperature_of_all, n, stride_t)
    # Each lane has its own peak, sum of exp(gap) and sum of exp(gap) gap, with gap = z - peak: the
    # lanes meet once, after the loop.
    peak = tl.full([BLOCK_V], LOWEST, tl.float32)
    total = tl.zeros([BLOCK_V], tl.float32)
    moment = tl.zeros([BLOCK_V], tl.float32)
    for v0 in range(0, V, BLOCK_V):
        v = v0 + tl.arange(0, BLOCK_V)
        z, _ = _scaled(tl.load(row_ptr + v, mask=v < V, other=0.0), inv_t, softcap, SOFTCAP)
        z = tl.where(v < V, _floored(z), LOWEST)
        gap = z - peak
        higher = gap > 0
        w = tl.exp2(tl.abs(gap) * -LOG2E)  # rescales the sums where x is the new peak, else is the new term
        if ENTROPY:
            moment = tl.where(higher, (moment - total * gap) * w, moment + w * gap)
        total = tl.where(higher, total * w + 1.0, total + w)
        peak = tl.where(higher, z, peak)
    highest = tl.max(peak, 0)
    gap = peak - highest
    w = tl.exp2(gap * LOG2E)
    row_total = tl.sum(total * w, 0)
    log_sum = tl.log2(row_total) * LN2
    # NaN is above no peak, so a row of NaN and -inf has the peak of an empty one. But NaN stays in the sum,
    # which hands it on, unlike tl.max, which drops NaN on a GPU.
    empty = (highest <= LOWEST) & (row_total > 0.0)
    target = tl.load(targets_ptr + n)
    valid = (target >= 0) & (target < V)
    z_target, _ = _scaled(tl.load(row_ptr + target, mask=valid, other=0.0), inv_t, softcap, SOFTCAP)
    # -inf minus the sum, not -inf itself: NaN in the row must reach a target at -inf.
    logp = tl.where(empty, -float("inf"), z_target) - highest - log_sum
    tl.store(logp_ptr + n, tl.where(valid, logp, float("nan")))
    tl.store(lse_ptr + n, tl.where(empty, -float("inf"), highest + log_sum))
    tl.store(top_ptr + n, tl.where(empty, 0.0, -log_sum))
    if ENTROPY:
        mean_gap = tl.sum((moment + total * gap) * w, 0) / row_total
        tl.store(entropy_ptr + n, tl.where(empty, 0.0, log_sum - mean_gap))


@jit(do_not_specialize=["inv_temperature_of_all", "stride_t", "softcap"])
def _backward(
    logits_ptr,
    targets_ptr,
    inv_temperature_ptr,
    inv_temperature_of_all,
    lse_ptr,
    entropy_ptr,
    dlogp_ptr,
    dentropy_ptr,
    dlogits_ptr,
    stride_n,
    stride_dn,
    stride_t,
    V,
    softcap,
    SOFTCAP: tl.constexpr,
    ENTROPY: tl.constexpr,
    NARROWS: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    n = tl.program_id(0).to(tl.int64)
    inv_t = read_scale(inv_temperature_ptr, inv_temperature_of_all, n, stride_t)
    target = tl.load(targets_ptr + n)
    lse = tl.load(lse_ptr + n)
    dlogp = tl.load(dlogp_ptr + n)
    has_gradient = dlogp != 0
    dentropy, entropy = 0.0, 0.0
    if ENTROPY:
        dentropy = tl.load(dentropy_ptr + n)
        entropy = tl.load(entropy_ptr + n)
        has_gradient = has_gradient | (dentropy != 0)
    width = tl.where(has_gradient & (lse != -float("inf")), V, 0)  # the other rows are written but not read
    # From the last block on: what was read last may still be in L2.
    last = (V - 1) // BLOCK_V * BLOCK_V
    for back in range(0, V, BLOCK_V):
        v = last - back + tl.arange(0, BLOCK_V)
        logits = tl.load(logits_ptr + n * stride_n + v, mask=v < width, other=0.0)
        if NARROWS:  # dlogits of this block lie where logits of it or of later ones did: all must be read
            tl.debug_barrier()
        z, squashed = _scaled(logits, inv_t, softcap, SOFTCAP)
        log_p = _floored(z) - lse
        p = tl.exp2(log_p * LOG2E)
        dz = dlogp * (tl.where(v == target, 1.0, 0.0) - p)
        if ENTROPY:
            dz -= dentropy * p * (log_p + entropy)
        dz *= inv_t
        if SOFTCAP:
            dz *= 1.0 - squashed * squashed
        dz = tl.where(v < width, dz, 0.0)
        tl.store(dlogits_ptr + n * stride_dn + v, dz.to(dlogits_ptr.dtype.element_ty), mask=v < V)


def forward(rows: Rows, logp: Tensor, entropy: Tensor | None, lse: Tensor, top: Tensor) -> None:
    """Writes logp, lse, the log-prob of the likeliest token and (unless None) entropy, each (N,)."""
    _launch(
        _forward,
        rows,
        logp_ptr=logp,
        entropy_ptr=lse if entropy is None else entropy,
        lse_ptr=lse,
        top_ptr=top,
        ENTROPY=entropy is not None,
    )


def backward(
    rows: Rows, lse: Tensor, entropy: Tensor, dlogp: Tensor, dentropy: Tensor | None, dlogits: Tensor
) -> None:
    """Writes dlogits (N, V) from dlogp and dentropy, each (N,); lse and entropy are those of `forward`."""
    dlogp = dlogp.contiguous()
    dentropy = None if dentropy is None else dentropy.contiguous()
    _launch(
        _backward,
        rows,
        lse_ptr=lse,
        entropy_ptr=entropy,
        dlogp_ptr=dlogp,
        # A pointer that is never read, for a kernel compiled without the entropy.
        dentropy_ptr=dlogp if dentropy is None else dentropy,
        dlogits_ptr=dlogits,
        stride_dn=dlogits.stride(0),
        NARROWS=dlogits.dtype != rows.logits.dtype,
        ENTROPY=dentropy is not None,
    )


def _launch(kernel: Any, rows: Rows, **arguments: Any) -> None:
    N, V = rows.logits.shape
    if N == 0:  # an empty grid is an error on CUDA
        return
    targets = rows.targets.contiguous()
    with torch.cuda.device_of(rows.logits):
        kernel[(N,)](
            logits_ptr=rows.logits,
            targets_ptr=targets,
            **rows.scale_arguments(),
            stride_n=rows.logits.stride(0),
            V=V,
            softcap=rows.softcap,
            SOFTCAP=rows.softcap != 0,
            BLOCK_V=BLOCK_V,
            num_warps=NUM_WARPS,
            enable_fp_fusion=True,
            **arguments,
        )
