"""The kernels of launch.py: one program per token; logits are read once each way.

    forward:  logits (N, V), targets, inv_temperature -> logp, lse, top, entropy (if asked), (N,) each
    backward: the same inputs, lse, entropy, dlogp, dentropy -> dlogits (N, V)

The formulas stand in logprobs.py, and in row_maths.py as device functions. Losses are unknown here; where the
loss is that of a token alone, fused_loss.py does all of this in one launch.

Shape letters: N rows, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

from dupo_kernels._triton import jit, tl
from dupo_kernels.logits.launch_table import Config, tiles
from dupo_kernels.logits.row_maths import (
    body_of,
    finish,
    fold_body,
    normalizers,
    read_ends,
    read_scale,
    read_target,
    scales,
    target_logp,
    write_gradient,
)
from dupo_kernels.logits.rows import Rows

# Of every V and type: no spills on any architecture (tests); not tuned on a device yet.
CONFIG = Config()
NOT_SPECIALIZED = ["stride_n", "stride_dn", "stride_t", "V", "softcap"]


@jit(do_not_specialize=NOT_SPECIALIZED)
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
    SHIFTED: tl.constexpr,
    ENDED: tl.constexpr,
    LANES: tl.constexpr,
    STEPS: tl.constexpr,
    VEC: tl.constexpr,
):
    n = tl.program_id(0).to(tl.int64)  # n * stride_n overflows int32 beyond 2**31 logits
    row_ptr = logits_ptr + n * stride_n
    start, first_end, body = body_of(n, stride_n, V, SHIFTED, VEC)
    inv_temperature = read_scale(inv_temperature_ptr, inv_temperature_of_all, n, stride_t)
    scale, rate = scales(inv_temperature, softcap, SOFTCAP)
    u_target, target = read_target(row_ptr, tl.load(targets_ptr + n), V, softcap, SOFTCAP)
    peak, total, moment = fold_body(
        logits_ptr + start, body, softcap, rate, SOFTCAP, ENTROPY, LANES, STEPS, VEC
    )
    ends = None
    if ENDED:
        ends = read_ends(row_ptr, first_end, body, V, softcap, SOFTCAP, VEC)
    highest, log_sum, entropy, empty = finish(peak, total, moment, ends, rate, ENTROPY)
    tl.store(logp_ptr + n, target_logp(u_target, target, highest, log_sum, empty, scale))
    lse, top = normalizers(highest, log_sum, empty, scale)
    tl.store(lse_ptr + n, lse)
    tl.store(top_ptr + n, top)
    if ENTROPY:
        tl.store(entropy_ptr + n, entropy)


@jit(do_not_specialize=NOT_SPECIALIZED)
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
    SHIFTED: tl.constexpr,
    ENDED: tl.constexpr,
    LANES: tl.constexpr,
    STEPS: tl.constexpr,
    VEC: tl.constexpr,
):
    n = tl.program_id(0).to(tl.int64)
    inv_temperature = read_scale(inv_temperature_ptr, inv_temperature_of_all, n, stride_t)
    scale, _ = scales(inv_temperature, softcap, SOFTCAP)
    target = tl.load(targets_ptr + n)
    target = tl.where((target >= 0) & (target < V), target, -1).to(tl.int32)
    lse = tl.load(lse_ptr + n)
    dlogp = tl.load(dlogp_ptr + n)
    has_gradient = dlogp != 0
    dentropy, entropy = 0.0, 0.0
    if ENTROPY:
        dentropy = tl.load(dentropy_ptr + n)
        entropy = tl.load(entropy_ptr + n)
        has_gradient = has_gradient | (dentropy != 0)
    has_gradient = has_gradient & (lse != -float("inf"))  # the other rows are written but not read
    ends = None
    if ENDED:
        _, first_end, body = body_of(n, stride_n, V, SHIFTED, VEC)
        readable = tl.where(has_gradient, V, 0)
        ends = read_ends(logits_ptr + n * stride_n, first_end, body, readable, softcap, SOFTCAP, VEC)
        if NARROWS:
            tl.debug_barrier()
    write_gradient(
        n, logits_ptr, dlogits_ptr, ends, stride_n, stride_dn, V, softcap, target, 0.0, lse, entropy,
        dlogp, dentropy, has_gradient, inv_temperature, scale,
        ENTROPY, SOFTCAP, SHIFTED, ENDED, NARROWS, LANES, STEPS, VEC,
    )  # fmt: skip


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
        **tiles(rows.logits, None, CONFIG),
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
        **tiles(rows.logits, dlogits, CONFIG),
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
            **CONFIG.options(),
            **arguments,
        )
