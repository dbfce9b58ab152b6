"""The policy loss of rows of logits in one launch, both directions: for losses of a token alone.

    logits --(read)--> logp, entropy --token_objective.py--> dlogp, dentropy, report --(read again)--> dlogits

The formulas stand in row_maths.py and token_objective.py. The second walk goes downwards, so it begins with
what is still in L2. A row without a gradient is written as zeros and not read again.

Shape letters: N rows, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

from dupo_kernels._triton import jit, tl
from dupo_kernels.logits.launch_table import Config, choose
from dupo_kernels.logits.row_maths import (
    LOWEST,
    body_of,
    end_columns,
    finish,
    fold_body,
    read_scale,
    read_target,
    scales,
    slope,
    start_of_body,
    target_logp,
    tile_columns,
    unit,
)
from dupo_kernels.logits.rows import Rows, RowStatistics
from dupo_kernels.tokens.token_objective import TokenObjective, token_loss

WORD = 16  # bytes, the widest access


@jit
def _write_statistics(statistics, row, logp, entropy, highest, log_sum, empty, scale, ENTROPY: tl.constexpr):
    tl.store(statistics.logp + row, logp)
    tl.store(statistics.lse + row, tl.where(empty, -float("inf"), highest * scale + log_sum))
    tl.store(statistics.top + row, tl.where(empty, 0.0, -log_sum))
    if ENTROPY:
        tl.store(statistics.entropy + row, entropy)


@jit
def _row(
    row, logits_ptr, targets_ptr, inv_temperature_ptr, inv_temperature_of_all, dlogits_ptr, report_ptr,
    statistics, inputs, numbers,
    stride_n, stride_dn, stride_t, stride_r, V, softcap,
    kinds: tl.constexpr, SOFTCAP: tl.constexpr, SHIFTED: tl.constexpr, ENDED: tl.constexpr,
    NARROWS: tl.constexpr, LANES: tl.constexpr, STEPS: tl.constexpr, VEC: tl.constexpr, LOAD: tl.constexpr,
):  # fmt: skip
    start, first_end, body = body_of(row, stride_n, V, SHIFTED, VEC)
    row_ptr = logits_ptr + row * stride_n
    body_ptr = logits_ptr + start
    inv_temperature = read_scale(inv_temperature_ptr, inv_temperature_of_all, row, stride_t)
    scale, rate = scales(inv_temperature, softcap, SOFTCAP)
    u_target, target = read_target(row_ptr, tl.load(targets_ptr + row), V, softcap, SOFTCAP)
    peak, total, moment = fold_body(
        body_ptr, body, softcap, rate, SOFTCAP, kinds.has_entropy, LANES, STEPS * VEC // LOAD, LOAD
    )
    ends = None
    if ENDED:
        end, end_exists = end_columns(first_end, body, V, VEC)
        ends = unit(tl.load(row_ptr + end, mask=end_exists, other=0.0), softcap, SOFTCAP)
        ends = tl.where(end_exists, ends, LOWEST)
    highest, log_sum, entropy, empty = finish(peak, total, moment, ends, rate, kinds.has_entropy)
    logp = target_logp(u_target, target, highest, log_sum, empty, scale)
    top = tl.where(empty, 0.0, -log_sum)
    if statistics is not None:
        _write_statistics(statistics, row, logp, entropy, highest, log_sum, empty, scale, kinds.has_entropy)
    dlogp, dentropy = token_loss(
        logp, entropy, top, row, row >= 0, inputs, numbers, kinds, report_ptr, stride_r
    )
    if dlogits_ptr is not None:
        BONUS: tl.constexpr = kinds.has_bonus
        BLOCK: tl.constexpr = LANES * STEPS * VEC
        has_gradient = dlogp != 0
        if BONUS:
            has_gradient = has_gradient | (dentropy != 0)
        has_gradient = has_gradient & (empty == 0)
        columns, words = tile_columns(LANES, STEPS, VEC)
        out_ptr = dlogits_ptr + row * stride_dn
        out_body_ptr = dlogits_ptr + start_of_body(row, stride_dn, SHIFTED, VEC)
        whole = body // BLOCK * BLOCK
        width = tl.where(has_gradient, whole, 0)
        edge = tl.where(has_gradient, body, 0)
        # All threads must have read their target and their ends before anything is written.
        tl.debug_barrier()
        if ENDED:
            end_log_p = (ends - highest) * scale - log_sum
            is_end = end == target
            dend = slope(ends, end_log_p, is_end, entropy, dlogp, dentropy, inv_temperature, SOFTCAP, BONUS)
            dend = tl.where(has_gradient, dend, 0.0).to(dlogits_ptr.dtype.element_ty)
            tl.store(out_ptr + end, dend, mask=end_exists)
        for first in range(whole, body, BLOCK):
            column = first + columns
            within = tl.broadcast_to(first + words < edge, STEPS, LANES, VEC)
            logits = tl.load(body_ptr + column, mask=within, other=0.0)
            if NARROWS:  # dlogits of this block lie where logits of it or of later ones did
                tl.debug_barrier()
            u = unit(logits, softcap, SOFTCAP)
            log_p = (u - highest) * scale - log_sum
            is_target = column == target - first_end
            dz = slope(u, log_p, is_target, entropy, dlogp, dentropy, inv_temperature, SOFTCAP, BONUS)
            dz = tl.where(has_gradient, dz, 0.0).to(dlogits_ptr.dtype.element_ty)
            exists = tl.broadcast_to(first + words < body, STEPS, LANES, VEC)
            tl.store(out_body_ptr + column, dz, mask=exists)
        for back in range(0, width, BLOCK):
            column = whole - BLOCK - back + columns
            logits = tl.load(body_ptr + column, eviction_policy="evict_first")
            if NARROWS:
                tl.debug_barrier()
            u = unit(logits, softcap, SOFTCAP)
            log_p = (u - highest) * scale - log_sum
            is_target = column == target - first_end
            dz = slope(u, log_p, is_target, entropy, dlogp, dentropy, inv_temperature, SOFTCAP, BONUS)
            tl.store(out_body_ptr + column, dz.to(dlogits_ptr.dtype.element_ty))
        for tile in range(width // BLOCK, whole // BLOCK):
            tl.store(out_body_ptr + (tile * BLOCK + columns), (columns * 0).to(dlogits_ptr.dtype.element_ty))


SIZES = ["inv_temperature_of_all", "stride_n", "stride_dn", "stride_t", "stride_r", "V", "softcap"]


@jit(do_not_specialize=SIZES)
def _looped(
    logits_ptr, targets_ptr, inv_temperature_ptr, inv_temperature_of_all, dlogits_ptr, report_ptr,
    statistics, inputs, numbers,
    stride_n, stride_dn, stride_t, stride_r, V, softcap,
    kinds: tl.constexpr, SOFTCAP: tl.constexpr, SHIFTED: tl.constexpr, ENDED: tl.constexpr,
    NARROWS: tl.constexpr, LANES: tl.constexpr, STEPS: tl.constexpr, VEC: tl.constexpr, LOAD: tl.constexpr,
):  # fmt: skip
    """A program a row; any V."""
    _row(
        tl.program_id(0).to(tl.int64),
        logits_ptr, targets_ptr, inv_temperature_ptr, inv_temperature_of_all, dlogits_ptr, report_ptr,
        statistics, inputs, numbers,
        stride_n, stride_dn, stride_t, stride_r, V, softcap,
        kinds, SOFTCAP, SHIFTED, ENDED, NARROWS, LANES, STEPS, VEC, LOAD,
    )  # fmt: skip


def fused_loss(
    rows: Rows,
    objective: TokenObjective,
    report: Tensor,
    dlogits: Tensor | None,
    statistics: RowStatistics | None = None,
    config: Config | None = None,
) -> None:
    """Writes the report of each row, dlogits and, where asked, the statistics. One launch.

    Args:
        rows: (N, V), fp16, bf16 or fp32.
        objective: its inputs are those of these rows.
        report: (COLUMNS, N), a report of token_report.py or a slice of its rows; written.
        dlogits: (N, V) in the type of the logits or a narrower one, written; may be their memory, or what
            `narrowed` says of it. None: no row has a gradient.
        statistics: (N,) each, written; entropy where the objective has it.
        config: how rows are walked; by default what launch_table.py says.
    """
    N, V = rows.logits.shape
    if N == 0:  # an empty grid is an error on CUDA
        return
    config = config or choose(V, rows.logits.dtype.itemsize)
    targets = rows.targets.contiguous()
    with torch.cuda.device_of(rows.logits):
        _looped[(N,)](
            logits_ptr=rows.logits,
            targets_ptr=targets,
            **rows.scale_arguments(),
            dlogits_ptr=dlogits,
            report_ptr=report,
            statistics=statistics,
            **objective._asdict(),
            stride_n=rows.logits.stride(0),
            stride_dn=0 if dlogits is None else dlogits.stride(0),
            stride_r=report.stride(0),
            V=V,
            softcap=rows.softcap,
            SOFTCAP=rows.softcap != 0,
            num_warps=config.warps,
            enable_fp_fusion=True,
            **_tiles(rows.logits, dlogits, config),
        )


def _tiles(logits: Tensor, dlogits: Tensor | None, config: Config) -> dict[str, Any]:
    """How the rows lie in memory, and the tiles that this allows."""
    out = logits if dlogits is None else dlogits
    narrows = out.dtype != logits.dtype
    load, vec = WORD // logits.dtype.itemsize, WORD // out.dtype.itemsize
    steps = config.steps * load // vec
    shifted = logits.stride(0) % vec != 0
    # Both rows must reach a whole word at the same column, and narrow rows are written from the end.
    if (out.stride(0) - logits.stride(0)) % vec or (shifted and narrows):
        load, vec, steps, shifted = 1, 1, config.steps * load, False
    return {
        "SHIFTED": shifted,
        "ENDED": shifted or logits.shape[1] % vec != 0,
        "NARROWS": narrows,
        "LANES": 32 * config.warps,
        "STEPS": steps,
        "VEC": vec,
        "LOAD": load,
    }
