"""The policy loss of rows of logits in one launch, both directions: for losses of a token alone.

    logits --(read)--> logp, entropy --token_loss.py--> dlogp, dentropy, report --(read again)--> dlogits

The formulas stand in row_maths.py and token_loss.py; launch_table.py chooses among three variants. The
second walk goes downwards, so it begins with what is still in L2. A row without a gradient is written as
zeros and not read again. A held row is read once.

Shape letters: N rows, V vocabulary.
"""

import torch
from torch import Tensor

from dupo_kernels._triton import jit, tl
from dupo_kernels.logits.launch_table import Config, can_serve, choose, held_tiles, num_programs, tiles
from dupo_kernels.logits.row_maths import (
    LOWEST,
    body_of,
    finish,
    fold_body,
    normalizers,
    of_sums,
    read_ends,
    read_scale,
    read_target,
    scales,
    slope,
    target_logp,
    unit,
    write_gradient,
)
from dupo_kernels.logits.rows import Rows, RowStatistics
from dupo_kernels.tokens.token_inputs import token_of
from dupo_kernels.tokens.token_loss import token_loss
from dupo_kernels.tokens.token_objective import TokenObjective

NOT_SPECIALIZED = ["stride_n", "stride_dn", "stride_t", "stride_r", "V", "N", "softcap"]
# Read or written by the token: their alignment must compile nothing anew.
UNALIGNED = ["targets_ptr", "inv_temperature_ptr", "report_ptr", "statistics", "inputs"]


@jit
def _loss_of_row(
    row, u_target, target, highest, log_sum, entropy, empty, scale, report_ptr, stride_r, statistics, inputs,
    numbers, kinds: tl.constexpr,
):  # fmt: skip
    """(dlogp, dentropy, whether the row has a gradient) of a row; writes its report and its statistics."""
    logp = target_logp(u_target, target, highest, log_sum, empty, scale)
    lse, top = normalizers(highest, log_sum, empty, scale)
    if statistics is not None:
        tl.store(statistics.logp + row, logp)
        tl.store(statistics.lse + row, lse)
        tl.store(statistics.top + row, top)
        if kinds.has_entropy:
            tl.store(statistics.entropy + row, entropy)
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
    highest, log_sum, entropy, empty = finish(peak, total, moment, ends, rate, kinds.has_entropy)
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
    """A program a row; any V."""
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
    """As many programs as fit: so few rows are between their two reads that these find them in L2."""
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
    """u of the tile (SIZE,) that starts at column FIRST, LOWEST beyond the row."""
    column = FIRST + tl.arange(0, SIZE)
    u = unit(tl.load(row_ptr + column, mask=column < V, other=0.0), softcap, SOFTCAP)
    return tl.where(column < V, u, LOWEST)


@jit
def _sums_of_tile(u, highest, rate, ENTROPY: tl.constexpr):
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
    """A cluster of programs a row, which stays in their registers as three tiles.

    The sums over the cluster are its barriers: nothing is written before all of the row is read.
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
    log_sum, entropy, empty = of_sums(highest, total, moment, scale, ENTROPY)
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
        rows: (N, V), fp16, bf16 or fp32. Where the objective has an index, targets and temperatures are those
            of its tokens.
        objective: its inputs are those of these rows.
        report: (COLUMNS, N), a report of token_report.py or a slice of its rows; written.
        dlogits: (N, V) in the type of the logits or a narrower one, written; may be their memory, or what
            `narrowed` makes of it. None: no row has a gradient.
        statistics: (N,) each, written; entropy where the objective has it.
        config: how rows are walked; by default, and where it cannot serve them, as launch_table.py says.
    """
    N, V = rows.logits.shape
    if N == 0:  # an empty grid is an error on CUDA
        return
    if config is None or not can_serve(config, rows.logits, dlogits):
        config = choose(rows, dlogits)
    targets = rows.targets.contiguous()
    if config.variant == "held":
        kernel, variant = _held, held_tiles(rows.logits, dlogits, config)
    else:
        kernel, variant = _looped, tiles(rows.logits, dlogits, config)
        variant["NARROWS"] = dlogits is not None and dlogits.dtype != rows.logits.dtype
        if config.variant == "persistent":
            kernel, variant = _persistent, variant | {"N": N}
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
            **variant,
        )
