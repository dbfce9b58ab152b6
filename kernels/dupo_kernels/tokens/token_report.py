"""What kernels report of each token, and its reduction to scalars in one launch.

A report is (COLUMNS, M) float32. A kernel writes the columns that its objective has; nobody asks for the
others. statistics.py is the same in torch.

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

# Statistic -> the column that it reduces. Names in /max and /min are extremes, all others are means.
SOURCES = {
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
    """Writes one column of the rows that exist."""
    # Columns of 2**28 rows lie farther apart than 32 bits count.
    tl.store(report + tl.full((), column, tl.int64) * stride, value.to(tl.float32), mask=within)


@jit(do_not_specialize=["stride", "M"])
def _reduce(report_ptr, scalars_ptr, loss_ptr, stride, M, BLOCK: tl.constexpr):
    """A program a column: the mean over the active rows (of the loss the sum), the maximum, the minimum."""
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
    """(COLUMNS, 3) float32 of a report: mean over the active rows, maximum, minimum. One launch.

    Of the loss and of active rows the first is the sum. Columns that no kernel wrote hold anything. `loss`,
    (), float32, is written: the sum of the losses once more, in memory of its own.
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
    """The statistics of `stat_names`, "top1_agreement" and "tokens", as views of `scalars`."""
    kinds, named = ("mean", "max", "min"), {}
    for name in names:
        base, _, kind = name.rpartition("/")
        source = SOURCES[base if kind in kinds else name]
        named[name] = scalars[COLUMN_NAMES.index(source), kinds.index(kind) if kind in kinds else 0]
    return named
