"""The policy loss of rows of logits in one launch, both directions: for losses of a token alone.

    logits --(first walk)--> logp, entropy --> loss, dlogp, dentropy, report --(second walk)--> dlogits

A row is a token; its loss must depend on no other row. The formulas of a row stand in row_maths.py, those of
the loss in tokens/token_loss.py. Three kernels do the same, and launch_table.py chooses among them:

    _looped      a program a row, which reads the row in two walks; serves any V
    _persistent  the same walks, by as many programs as fit the device
    _held        a cluster of programs a row, which keeps the row in registers and reads it once

The second walk goes downwards, so it begins with what is still in L2. A row without a gradient is written as
zeros and not read again.

All three take the same arguments. logits_ptr, dlogits_ptr: (N, V) with stride_n and stride_dn elements from
row to row. targets_ptr, inv_temperature_ptr: by token (`token_of`). report_ptr: (COLUMNS, N) with stride_r
elements from column to column. statistics: a `RowStatistics`, or None. inputs, numbers, kinds: the fields of
a `TokenObjective`. NARROWS: dlogits are of a narrower type than logits, in their memory.

Shape letters: N rows, V vocabulary.
"""

import torch
from torch import Tensor

from dupo_kernels._triton import jit, tl
from dupo_kernels.logits.launch_table import Config, can_serve, choose, held_tiles, num_programs, tiles
from dupo_kernels.logits.row_maths import (
    LOWEST,
    combine_lanes,
    log_sum_of,
    normalizers,
    read_scale,
    read_target,
    scales,
    slope,
    squash,
    target_logp,
)
from dupo_kernels.logits.row_memory import body_of, read_ends
from dupo_kernels.logits.row_walks import fold_body, write_gradient
from dupo_kernels.logits.rows import Rows, RowStatistics
from dupo_kernels.tokens.token_inputs import token_of
from dupo_kernels.tokens.token_loss import token_loss
from dupo_kernels.tokens.token_objective import TokenObjective

NOT_SPECIALIZED = ["stride_n", "stride_dn", "stride_t", "stride_r", "V", "N", "softcap"]
# Slices of rows start anywhere in these tensors: another alignment must not compile a kernel anew. Records
# cannot be named here: Triton 3.6 and 3.9 always specialize their tensors (at 16 bytes or not) and integers
# (1, divisible by 16, others), so a run meets two or three variants of a kernel in its first steps.
UNALIGNED = ["targets_ptr", "inv_temperature_ptr", "report_ptr"]


@jit
def _loss_of_row(
    row, u_target, target, highest, log_sum, entropy, empty, scale, report_ptr, stride_r, statistics, inputs,
    numbers, kinds: tl.constexpr,
):  # fmt: skip
    """(dlogp, dentropy, whether the row has a gradient) of a row; writes its report and its statistics.

    Args:
        row: int64, the number of the row.
        u_target, target: what `read_target` returns.
        highest, log_sum, entropy, empty: what `combine_lanes` returns.
    """
    logp = target_logp(u_target, target, highest, log_sum, empty, scale)
    lse, top = normalizers(highest, log_sum, empty, scale)
    if statistics is not None:
        tl.store(statistics.logp + row, logp)
        tl.store(statistics.lse + row, lse)
        tl.store(statistics.top + row, top)
        if kinds.has_entropy:
            tl.store(statistics.entropy + row, entropy)
    # Every row exists: row >= 0 is the mask of a load or a store that needs none.
    dlogp, dentropy = token_loss(
        logp, entropy, top, row, row >= 0, inputs, numbers, kinds, report_ptr, stride_r
    )
    has_gradient = dlogp != 0
    if kinds.has_bonus:
        has_gradient = has_gradient | (dentropy != 0)
    return dlogp, dentropy, has_gradient & (empty == 0)


@jit
def _walk_twice(
    row, logits_ptr, targets_ptr, inv_temperature_ptr, dlogits_ptr, report_ptr, statistics, inputs, numbers,
    stride_n, stride_dn, stride_t, stride_r, V, softcap, inv_temperature_of_all,
    kinds: tl.constexpr, SOFTCAP: tl.constexpr, NARROWS: tl.constexpr, SHIFTED: tl.constexpr,
    ENDED: tl.constexpr, LANES: tl.constexpr, STEPS: tl.constexpr, VEC: tl.constexpr,
):  # fmt: skip
    """One row of `_looped` or `_persistent`: sums, loss, and, unless dlogits_ptr is None, dlogits."""
    start, first_end, body = body_of(row, stride_n, V, SHIFTED, VEC)
    row_ptr = logits_ptr + row * stride_n
    token = token_of(row, row >= 0, inputs)
    inv_temperature = read_scale(inv_temperature_ptr, inv_temperature_of_all, token, stride_t)
    scale, rate = scales(inv_temperature, softcap, SOFTCAP)
    u_target, target = read_target(row_ptr, tl.load(targets_ptr + token), V, softcap, SOFTCAP)
    peak, total, moment = fold_body(
        logits_ptr + start, body, softcap, rate,
        SOFTCAP, kinds.has_entropy, LANES, STEPS, VEC,
    )  # fmt: skip
    ends = None
    if ENDED:
        ends = read_ends(row_ptr, first_end, body, V, softcap, SOFTCAP, VEC)
    highest, log_sum, entropy, empty = combine_lanes(peak, total, moment, ends, rate, kinds.has_entropy)
    dlogp, dentropy, has_gradient = _loss_of_row(
        row, u_target, target, highest, log_sum, entropy, empty, scale, report_ptr, stride_r, statistics,
        inputs, numbers, kinds,
    )  # fmt: skip
    if dlogits_ptr is not None:
        # All threads must have read their target and their ends before anything is written.
        tl.debug_barrier()
        write_gradient(
            row, logits_ptr, dlogits_ptr, ends, stride_n, stride_dn, V, softcap, target, highest, log_sum,
            entropy, dlogp, dentropy, has_gradient, inv_temperature, scale,
            kinds.has_bonus, SOFTCAP, SHIFTED, ENDED, NARROWS, LANES, STEPS, VEC,
        )  # fmt: skip


@jit(do_not_specialize=NOT_SPECIALIZED, do_not_specialize_on_alignment=UNALIGNED)
def _looped(
    logits_ptr, targets_ptr, inv_temperature_ptr, dlogits_ptr, report_ptr, statistics, inputs, numbers,
    stride_n, stride_dn, stride_t, stride_r, V, softcap, inv_temperature_of_all,
    kinds: tl.constexpr, SOFTCAP: tl.constexpr, NARROWS: tl.constexpr, SHIFTED: tl.constexpr,
    ENDED: tl.constexpr, LANES: tl.constexpr, STEPS: tl.constexpr, VEC: tl.constexpr,
):  # fmt: skip
    """A program a row."""
    _walk_twice(
        tl.program_id(0).to(tl.int64),
        logits_ptr, targets_ptr, inv_temperature_ptr, dlogits_ptr, report_ptr, statistics, inputs, numbers,
        stride_n, stride_dn, stride_t, stride_r, V, softcap, inv_temperature_of_all,
        kinds, SOFTCAP, NARROWS, SHIFTED, ENDED, LANES, STEPS, VEC,
    )  # fmt: skip


@jit(do_not_specialize=NOT_SPECIALIZED, do_not_specialize_on_alignment=UNALIGNED)
def _persistent(
    logits_ptr, targets_ptr, inv_temperature_ptr, dlogits_ptr, report_ptr, statistics, inputs, numbers,
    stride_n, stride_dn, stride_t, stride_r, V, N, softcap, inv_temperature_of_all,
    kinds: tl.constexpr, SOFTCAP: tl.constexpr, NARROWS: tl.constexpr, SHIFTED: tl.constexpr,
    ENDED: tl.constexpr, LANES: tl.constexpr, STEPS: tl.constexpr, VEC: tl.constexpr,
):  # fmt: skip
    """As many programs as fit: so few rows are between their walks that the second walk reads from L2."""
    first = tl.program_id(0).to(tl.int64)
    for step in range(0, N - tl.program_id(0), tl.num_programs(0)):
        _walk_twice(
            first + step,
            logits_ptr, targets_ptr, inv_temperature_ptr, dlogits_ptr, report_ptr, statistics, inputs,
            numbers, stride_n, stride_dn, stride_t, stride_r, V, softcap, inv_temperature_of_all,
            kinds, SOFTCAP, NARROWS, SHIFTED, ENDED, LANES, STEPS, VEC,
        )  # fmt: skip


@jit
def _read_tile(row_ptr, V, softcap, SOFTCAP: tl.constexpr, FIRST: tl.constexpr, SIZE: tl.constexpr):
    """u of the tile that starts at column FIRST, (SIZE,); LOWEST beyond the row."""
    column = FIRST + tl.arange(0, SIZE)
    u = squash(tl.load(row_ptr + column, mask=column < V, other=0.0), softcap, SOFTCAP)
    return tl.where(column < V, u, LOWEST)


@jit
def _sums_of_tile(u, highest, rate, ENTROPY: tl.constexpr):
    """(total, moment) of row_maths.py over a tile u, (SIZE,)."""
    gap = u - highest
    weight = tl.exp2(gap * rate)
    moment = 0.0
    if ENTROPY:
        moment = tl.sum(weight * gap, 0)
    return tl.sum(weight, 0), moment


@jit
def _write_tile(
    out_ptr, u, target, V, highest, log_sum, entropy, dlogp, dentropy, has_gradient, inv_temperature, scale,
    BONUS: tl.constexpr, SOFTCAP: tl.constexpr, FIRST: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """Writes dlogits of a tile u, (SIZE,), that starts at column FIRST; zeros without a gradient."""
    column = FIRST + tl.arange(0, SIZE)
    log_p = (u - highest) * scale - log_sum
    dz = slope(u, log_p, column == target, entropy, dlogp, dentropy, inv_temperature, SOFTCAP, BONUS)
    dz = tl.where(has_gradient, dz, 0.0).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + column, dz, mask=column < V)


@jit(do_not_specialize=["stride_t", "stride_r", "softcap"], do_not_specialize_on_alignment=UNALIGNED)
def _held(
    logits_ptr, targets_ptr, inv_temperature_ptr, dlogits_ptr, report_ptr, statistics, inputs, numbers,
    stride_n, stride_dn, stride_t, stride_r, V, softcap, inv_temperature_of_all,
    kinds: tl.constexpr, SOFTCAP: tl.constexpr,
    FIRST: tl.constexpr, SECOND: tl.constexpr, THIRD: tl.constexpr,
):  # fmt: skip
    """A cluster of programs a row. The row stays in registers as up to three tiles of the given sizes.

    A sum over the cluster waits for all its programs. So nothing is written before all of the row is read,
    and dlogits may take the place of the logits.
    """
    ENTROPY: tl.constexpr = kinds.has_entropy
    row = tl.program_id(0).to(tl.int64)
    row_ptr = logits_ptr + row * stride_n
    token = token_of(row, row >= 0, inputs)
    inv_temperature = read_scale(inv_temperature_ptr, inv_temperature_of_all, token, stride_t)
    scale, rate = scales(inv_temperature, softcap, SOFTCAP)
    u_target, target = read_target(row_ptr, tl.load(targets_ptr + token), V, softcap, SOFTCAP)
    first = _read_tile(row_ptr, V, softcap, SOFTCAP, 0, FIRST)
    if SECOND:
        second = _read_tile(row_ptr, V, softcap, SOFTCAP, FIRST, SECOND)
    if THIRD:
        third = _read_tile(row_ptr, V, softcap, SOFTCAP, FIRST + SECOND, THIRD)
    # The target and all tiles are on their way before the first sum waits for one of them.
    highest = tl.max(first, 0)
    if SECOND:
        highest = tl.maximum(highest, tl.max(second, 0))
    if THIRD:
        highest = tl.maximum(highest, tl.max(third, 0))
    total, moment = _sums_of_tile(first, highest, rate, ENTROPY)
    if SECOND:
        total_2, moment_2 = _sums_of_tile(second, highest, rate, ENTROPY)
        total, moment = total + total_2, moment + moment_2
    if THIRD:
        total_3, moment_3 = _sums_of_tile(third, highest, rate, ENTROPY)
        total, moment = total + total_3, moment + moment_3
    log_sum, entropy, empty = log_sum_of(highest, total, moment, scale, ENTROPY)
    dlogp, dentropy, has_gradient = _loss_of_row(
        row, u_target, target, highest, log_sum, entropy, empty, scale, report_ptr, stride_r, statistics,
        inputs, numbers, kinds,
    )  # fmt: skip
    if dlogits_ptr is not None:
        out_ptr = dlogits_ptr + row * stride_dn
        BONUS: tl.constexpr = kinds.has_bonus
        _write_tile(
            out_ptr, first, target, V, highest, log_sum, entropy, dlogp, dentropy, has_gradient,
            inv_temperature, scale, BONUS, SOFTCAP, 0, FIRST,
        )  # fmt: skip
        if SECOND:
            _write_tile(
                out_ptr, second, target, V, highest, log_sum, entropy, dlogp, dentropy, has_gradient,
                inv_temperature, scale, BONUS, SOFTCAP, FIRST, SECOND,
            )  # fmt: skip
        if THIRD:
            _write_tile(
                out_ptr, third, target, V, highest, log_sum, entropy, dlogp, dentropy, has_gradient,
                inv_temperature, scale, BONUS, SOFTCAP, FIRST + SECOND, THIRD,
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
        rows: logits (N, V), fp16, bf16 or fp32. Targets and temperatures are (N,). If objective.inputs has
            an index, they are those of all tokens instead, and the index says which token a row is.
        objective: of scope "token"; its inputs belong to these N rows.
        report: (COLUMNS, N) float32, see token_report.py; written. Columns may be any distance apart.
        dlogits: (N, V) in the type of the logits or a narrower type, written. May be the logits themselves,
            or what `narrowed` makes of them. None: no row has a gradient.
        statistics: (N,) float32 each, written; the entropy only if kinds.has_entropy.
        config: how rows are walked. None, or a configuration that cannot serve these rows: launch_table.py
            chooses.
    """
    N, V = rows.logits.shape
    if N == 0:  # an empty grid is an error on CUDA
        return
    if config is None or not can_serve(config, rows.logits, dlogits):
        config = choose(rows, dlogits)
    targets = rows.targets.contiguous()
    if config.variant == "held":
        kernel, shape = _held, held_tiles(rows.logits, dlogits, config)
    else:
        kernel, shape = _looped, tiles(rows.logits, dlogits, config)
        shape["NARROWS"] = dlogits is not None and dlogits.dtype != rows.logits.dtype
        if config.variant == "persistent":
            kernel, shape = _persistent, shape | {"N": N}
    with torch.cuda.device_of(rows.logits):
        kernel[(num_programs(N, config, rows.logits.device),)](
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
            **config.options(),
            **shape,
        )
