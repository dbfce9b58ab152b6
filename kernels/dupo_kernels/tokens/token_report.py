"""What kernels report of each token, and its reduction to scalars in one launch.

A report is (COLUMNS, M) float32: a column is one quantity of every row, and a row is a token. Columns lie one
after the other in memory. A kernel writes the columns that its objective has, and `named_scalars` reads those
alone. statistics.py is the same in torch.

    loss                        the weighted loss
    ratio                       importance ratio, held at exp(20)
    low, high, region, bound    1 where the ratio was clipped below, above, on either side, beyond its bound
    approx_kl, kl               k3 against old_logprobs; the estimator of the objective against ref_logprobs
    entropy                     nats
    mismatch, difference        weight for the mismatch of the engines; distance of their log-probabilities
    top1                        1 where the target is the likeliest token
    active                      1 where the token counts

Shape letters: M rows.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from dupo_kernels._triton import jit, tl

COLUMN_NAMES = (
    "loss", "ratio", "low", "high", "region", "bound", "approx_kl",
    "kl", "entropy", "mismatch", "difference", "top1", "active",
)  # fmt: skip
COLUMNS = len(COLUMN_NAMES)
(
    LOSS, RATIO, LOW, HIGH, REGION, BOUND, APPROX_KL,
    KL, ENTROPY, MISMATCH, DIFFERENCE, TOP1, ACTIVE,
) = map(tl.constexpr, range(COLUMNS))  # fmt: skip
BLOCK = 4096
NUM_WARPS = 8
LOWEST = tl.constexpr(-float("inf"))

REDUCTIONS = ("mean", "max", "min")  # in the order of `reduce_report`
# Statistic, without the name of its reduction -> the column that is reduced.
COLUMN_OF_STATISTIC = {
    "ratio": "ratio",
    "clip_ratio/low": "low",
    "clip_ratio/high": "high",
    "clip_ratio/region": "region",
    "clip_ratio/bound": "bound",
    "cispo_clip_ratio": "bound",
    "approx_kl": "approx_kl",
    "kl": "kl",
    "entropy": "entropy",
    "sampling/importance_sampling_ratio": "mismatch",
    "sampling/sampling_logp_difference": "difference",
    "top1_agreement": "top1",
    "tokens": "active",
}


@jit
def write(report, column: tl.constexpr, stride, value, within):
    """Writes the values of the rows that exist into one column; `report` points at the rows in column 0."""
    # Columns of 2**28 rows lie farther apart than 32 bits count.
    tl.store(report + tl.full((), column, tl.int64) * stride, value.to(tl.float32), mask=within)


@jit(do_not_specialize=["stride", "M"])
def _reduce(report_ptr, scalars_ptr, loss_ptr, stride, M, BLOCK: tl.constexpr):
    """Mean, maximum and minimum of each column over the active rows; a program a column.

    The columns "loss" and "active" have their sum in place of the mean.
    """
    column = tl.program_id(0).to(tl.int64)
    active_ptr = report_ptr + tl.full((), ACTIVE, tl.int64) * stride
    total = tl.zeros([BLOCK], tl.float32)
    count = tl.zeros([BLOCK], tl.float32)
    largest = tl.full([BLOCK], LOWEST, tl.float32)
    smallest = tl.full([BLOCK], -LOWEST, tl.float32)
    for start in range(0, M, BLOCK):
        row = start + tl.arange(0, BLOCK)
        active = tl.load(active_ptr + row, mask=row < M, other=0.0) != 0
        value = tl.load(report_ptr + column * stride + row, mask=active, other=0.0)
        total += value
        count += tl.where(active, 1.0, 0.0)
        largest = tl.where(active & (value > largest), value, largest)
        smallest = tl.where(active & (value < smallest), value, smallest)
    rows = tl.sum(count, 0)
    total_of_rows = tl.sum(total, 0)
    is_sum = (column == LOSS) | (column == ACTIVE)
    mean = tl.where(is_sum, total_of_rows, total_of_rows / tl.maximum(rows, 1.0))
    # A comparison drops NaN, but the sum of a column with NaN is NaN. No column holds two infinities.
    is_nan = total_of_rows != total_of_rows
    highest = tl.where(is_nan, total_of_rows, tl.where(rows > 0, tl.max(largest, 0), 0.0))
    lowest = tl.where(is_nan, total_of_rows, tl.where(rows > 0, tl.min(smallest, 0), 0.0))
    if loss_ptr is not None:
        tl.store(loss_ptr, mean, mask=column == LOSS)
    tl.store(scalars_ptr + column * 3, mean)
    tl.store(scalars_ptr + column * 3 + 1, highest)
    tl.store(scalars_ptr + column * 3 + 2, lowest)


def new_report(M: int, device: torch.device) -> Tensor:
    """Memory for the report of M rows, not filled."""
    return torch.empty(COLUMNS, M, dtype=torch.float32, device=device)


def reduce_report(report: Tensor, loss: Tensor | None = None) -> Tensor:
    """(COLUMNS, 3) float32: mean, maximum and minimum of each column over the active rows. One launch.

    The columns "loss" and "active" have their sum in place of the mean. Columns that no kernel wrote give
    meaningless numbers.

    Args:
        report: (COLUMNS, M) float32, rows next to each other.
        loss: () float32 or None; the sum of the losses is also written here, in memory of its own.
    """
    scalars = report.new_empty(COLUMNS, 3)
    with torch.cuda.device_of(report):
        _reduce[(COLUMNS,)](
            report_ptr=report,
            scalars_ptr=scalars,
            loss_ptr=loss,
            stride=report.stride(0),
            M=report.shape[1],
            BLOCK=BLOCK,
            num_warps=NUM_WARPS,
            enable_fp_fusion=True,
        )
    return scalars


def named_scalars(scalars: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
    """The statistics with these names, as views of `scalars`: what `reduce_report` returned.

    A name in /mean, /max or /min says the reduction; every other name is a mean.
    """
    named = {}
    for name in names:
        statistic, _, reduction = name.rpartition("/")
        if reduction not in REDUCTIONS:
            statistic, reduction = name, "mean"
        column = COLUMN_NAMES.index(COLUMN_OF_STATISTIC[statistic])
        named[name] = scalars[column, REDUCTIONS.index(reduction)]
    return named
