"""What a row of logits tells beside its statistics: the likeliest token, the mean logit, the sum of p^2.

    z           = the logits after softcap and temperature, as in logprobs.py
    likeliest   = argmax_v logits_v, the first of equals, as torch.argmax has it
    top1        = 1[y = likeliest]
    mean_logits = sum_v z_v / V
    log_sum_sq  = log sum_v p_v^2 = log sum_v exp(2 (z_v - max z)) + 2 top

None of them has a gradient. A walk over blocks of rows reads the logits once more for the last two, and
torch.max once more for the first two. A row of nothing but -inf has top1 False, mean_logits -inf, and
log_sum_sq 0 as if its distribution were certain, which its entropy of 0 says too. Where logp is NaN, top1 is
False. Where the largest logit is not finite, likeliest is NO_TOKEN.

Shape letters: N rows, C rows of a block, V vocabulary.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from dupo_kernels.logits import torch_path
from dupo_kernels.logits.rows import Rows, RowStatistics

NO_TOKEN = -100  # no target: its log-probability is NaN
DEVICE_SCRATCH_BYTES = 64 << 20  # of temporaries on a device, where small blocks would leave it idle


class Wanted(NamedTuple):
    """Which results of a row are asked for beside its log-probability, as a custom op can take it."""

    with_entropy: bool
    with_top1: bool = False
    with_mean_logits: bool = False
    with_log_sum_sq: bool = False
    with_likeliest: bool = False


class RowOutputs(NamedTuple):
    """The results of each row, (N,) each; None for what is not asked for.

    Attributes:
        top1: bool, whether the first target is the likeliest token.
        top_logit: the largest of the logits as they stand; there if top1 or likeliest is.
        mean_logits, log_sum_sq: see above; in the type of the sums.
        likeliest: int64.
    """

    top1: Tensor | None
    top_logit: Tensor | None
    mean_logits: Tensor | None
    log_sum_sq: Tensor | None
    likeliest: Tensor | None


def row_outputs(rows: Rows, statistics: RowStatistics, wanted: Wanted) -> RowOutputs:
    """What is `wanted` of each row.

    Args:
        rows: their logits are read; targets (N,) or (N, K).
        statistics: of the same rows.
    """
    top1, top_logit, mean_logits, log_sum_sq, likeliest = None, None, None, None, None
    if wanted.with_top1 or wanted.with_likeliest:
        # Scale, softcap and temperature keep the order, so nothing need be computed of the logits.
        top_logit, likeliest = rows.logits.max(1)
        first, logp = first_column(rows.targets), first_column(statistics.logp)
        top1 = (likeliest == first) & (logp > -torch.inf) if wanted.with_top1 else None
        likeliest = likeliest.where(top_logit.isfinite(), NO_TOKEN) if wanted.with_likeliest else None
    if wanted.with_mean_logits:
        mean_logits = torch.empty_like(statistics.lse)
    if wanted.with_log_sum_sq:
        log_sum_sq = torch.empty_like(statistics.lse)
    outputs = RowOutputs(top1, top_logit, mean_logits, log_sum_sq, likeliest)
    if mean_logits is not None or log_sum_sq is not None:
        _walk(rows, statistics, outputs)
    return outputs


def first_column(tensor: Tensor) -> Tensor:
    """(N,) of a tensor (N,) or (N, K)."""
    return tensor if tensor.dim() == 1 else tensor[:, 0]


def _walk(rows: Rows, statistics: RowStatistics, outputs: RowOutputs) -> None:
    """Writes mean_logits and log_sum_sq, or the one that is there."""
    scratch_bytes = None if rows.logits.device.type == "cpu" else DEVICE_SCRATCH_BYTES
    for block, scratch in torch_path.blocks(rows.logits, 1, statistics.lse.dtype, scratch_bytes):
        z = torch_path.scaled(rows.take(block), scratch[0], scratch[0])
        if outputs.mean_logits is not None:
            torch.mean(z, 1, out=outputs.mean_logits[block])
        if outputs.log_sum_sq is not None:
            peak = z.amax(1, keepdim=True)
            empty = peak == -torch.inf
            # From the peak on, as differences to lse would cost the last digits of large logits.
            gap = z.sub_(peak.masked_fill_(empty, 0.0)).mul_(2.0)
            log_sum = torch_path.exp(gap, gap).sum(1).log_()
            log_sum += 2.0 * statistics.top[block]
            outputs.log_sum_sq[block] = log_sum.masked_fill_(empty[:, 0], 0.0)
