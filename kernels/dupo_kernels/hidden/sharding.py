"""The head across processes: a vocabulary that is split among them, and a weight that FSDP2 has sharded.

A split vocabulary: every process has the same rows and its own part of the vocabulary; the statistics of a
row are combined over all parts. FSDP2: every process has its own rows and a shard of the weight; the weight
is gathered, its gradient summed. The module does not know losses.

Shape letters: M rows, V vocabulary of this process, W processes.
"""

from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dupo_kernels.logits.row_outputs import NO_TOKEN, RowOutputs, first_column
from dupo_kernels.logits.rows import RowStatistics


class _DividedGradient(torch.autograd.Function):
    """The tensor itself, whose gradient is divided by a number."""

    @staticmethod
    def forward(ctx, tensor, divisor):
        """The tensor itself."""
        ctx.divisor = divisor
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx, grad):
        """The gradient, divided."""
        return grad / ctx.divisor, None


def gathered(parameter: Any) -> Any:
    """A DTensor as a full tensor on every process; any other value as it is.

    The gradient of the full tensor reaches the DTensor as the mean over the processes, as FSDP2 wants.
    """
    if not hasattr(parameter, "device_mesh"):
        return parameter
    from torch.distributed.tensor import Partial  # slow to import, and not in every build of torch

    mesh = parameter.device_mesh
    # Each process has other rows, so its gradient is a summand. Without Partial, full_tensor() would take the
    # gradient of one process for that of all: silently wrong.
    full = parameter.full_tensor(grad_placements=[Partial()] * mesh.ndim)
    return _DividedGradient.apply(full, mesh.size())


@cache
def vocabulary_start(group: str, V: int) -> int:
    """The first token id of this process's part; the parts are equal, in the order of the ranks.

    Waits for all processes, once for each group and V.

    Raises:
        ValueError: parts of different size.
    """
    process_group = _group(group)
    sizes: list[Any] = [None] * dist.get_world_size(process_group)
    dist.all_gather_object(sizes, V, group=process_group)
    if len(set(sizes)) > 1:
        raise ValueError(f"weight: expected as many rows on every rank of process_group, got {sizes}")
    return dist.get_rank(process_group) * V


def combine(statistics: RowStatistics, group: str) -> RowStatistics:
    """The statistics of rows (M,) over the whole vocabulary, from one part on each process; one all-gather.

    `statistics.logp` is NaN where the target belongs to another process; it may be (M, K).
    """
    # Log-probabilities of a part are relative to that part: as logits they can be compared across parts. All
    # columns travel in one message, as the latency of a message costs more than its bytes.
    logp = statistics.logp
    target_logits = (logp[:, None] if logp.dim() == 1 else logp).t() + statistics.lse
    K = target_logits.shape[0]
    columns = [statistics.lse, statistics.top + statistics.lse, *target_logits]
    if statistics.entropy.numel():
        columns.append(statistics.entropy)
    parts = all_gathered(columns, group)
    lse_WM, top_WM, target_WKM = parts[:, 0], parts[:, 1], parts[:, 2 : 2 + K]
    # A part may be all -inf (its lse too): it has no share, but must not turn the sum into NaN.
    lse = lse_WM.logsumexp(0)
    empty = lse == -torch.inf
    holds_target = ~target_WKM.isnan()
    target_KM = target_WKM.masked_fill(~holds_target, 0.0).sum(0)
    is_valid = holds_target.any(0)
    logp_KM = (target_KM - lse).masked_fill(empty, -torch.inf).masked_fill(~is_valid, torch.nan)
    highest = top_WM.amax(0)
    # Where the target is the likeliest token, top must equal logp in every bit: it is compared with it.
    top = torch.where(target_KM[0] == highest, logp_KM[0], highest - lse).masked_fill(empty, 0.0)
    entropy = statistics.entropy
    if entropy.numel():
        # H = sum over parts of p(part) (H(part) - log p(part))
        share = (lse_WM - lse).exp().masked_fill(lse_WM == -torch.inf, 0.0)
        surprise = (lse - lse_WM).masked_fill(lse_WM == -torch.inf, 0.0)
        entropy = (share * (parts[:, -1] + surprise)).sum(0).masked_fill(empty, 0.0)
    return RowStatistics(logp_KM.t().reshape(logp.shape).contiguous(), entropy, lse, top)


def combine_outputs(outputs: RowOutputs, lse: Tensor, whole: RowStatistics, V: int, group: str) -> RowOutputs:
    """What is wanted of rows (M,) over the whole vocabulary, from one part on each process; one all-gather.

    Args:
        outputs: of this part.
        lse: of this part. whole: the statistics of all parts, from `combine`.
    """
    # Numbers of a half type, flags and tokens travel as numbers of the type of the sums, which holds them.
    columns = {name: x.to(lse.dtype) for name, x in outputs._asdict().items() if x is not None}
    gathered_parts = all_gathered([lse, *columns.values()], group).unbind(1)
    lse_WM, parts = gathered_parts[0], dict(zip(columns, gathered_parts[1:], strict=True))
    top1, top_logit, mean_logits, log_sum_sq, likeliest = None, None, None, None, None
    if "top_logit" in parts:
        # Of equals the first part has the first token.
        top_logit, holder = parts["top_logit"].max(0)
        if "top1" in parts:
            top1 = (parts["top1"].gather(0, holder[None])[0] != 0) & (first_column(whole.logp) > -torch.inf)
        if "likeliest" in parts:
            likeliest = parts["likeliest"].gather(0, holder[None])[0].to(torch.int64) + V * holder
            likeliest = likeliest.where(top_logit.isfinite(), NO_TOKEN)
    if "mean_logits" in parts:
        mean_logits = parts["mean_logits"].mean(0)  # the parts are equal
    if "log_sum_sq" in parts:
        # sum p^2 = sum over parts of p(part)^2 sum p(. | part)^2
        empty = whole.lse == -torch.inf
        share = 2.0 * (lse_WM - whole.lse.masked_fill(empty, 0.0))
        log_sum_sq = (parts["log_sum_sq"] + share).logsumexp(0).masked_fill(empty, 0.0)
    return RowOutputs(top1, top_logit, mean_logits, log_sum_sq, likeliest)


def all_gathered(columns: list[Tensor], group: str) -> Tensor:
    """(W, columns, M): the columns, (M,) each, of all processes."""
    process_group = _group(group)
    packed = torch.stack(columns)
    parts = packed.new_empty(dist.get_world_size(process_group), *packed.shape)
    gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor  # renamed in torch 2.13
    gather(parts.flatten(0, 1), packed, group=process_group)
    return parts


def summed(tensor: Tensor, group: str) -> Tensor:
    """The sum over the processes, written into the tensor."""
    dist.all_reduce(tensor, group=_group(group))
    return tensor


def _group(name: str) -> Any:
    return dist.distributed_c10d._resolve_process_group(name)  # pyright: ignore
