"""The head across processes: a vocabulary that each holds a part of, and a weight that FSDP2 has sharded."""

from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dupo_kernels.logits.logprobs import Found


class _Divided(torch.autograd.Function):
    """The tensor itself, whose gradient is divided by a number."""

    @staticmethod
    def forward(ctx, tensor, divisor):
        ctx.divisor = divisor
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx, grad):
        return grad / ctx.divisor, None


def gathered(parameter: Any) -> Any:
    """A DTensor as the whole tensor, any other as it is.

    Each process has other data, so its gradient is a part of a sum; FSDP2 wants the mean over the processes.
    """
    if not hasattr(parameter, "device_mesh"):
        return parameter
    from torch.distributed.tensor import Partial  # slow to import, and not in every build of torch

    mesh = parameter.device_mesh
    whole = parameter.full_tensor(grad_placements=[Partial()] * mesh.ndim)
    return _Divided.apply(whole, mesh.size())


@cache
def vocabulary_start(group: str, V: int) -> int:
    """The first token of this process's part; the parts are equal, in the order of the ranks.

    Waits for the device, once for each group and V.
    """
    found = _group(group)
    sizes: list[Any] = [None] * dist.get_world_size(found)
    dist.all_gather_object(sizes, V, group=found)
    if len(set(sizes)) > 1:
        raise ValueError(f"weight must have as many rows on every rank of process_group, got {sizes}")
    return dist.get_rank(found) * V


def combine(part: Found, group: str) -> Found:
    """What is to be known of each row over the whole vocabulary, from this part's; one all-gather.

    part.logp is NaN where the target belongs to another process.
    """
    process_group = _group(group)
    size = dist.get_world_size(process_group)
    chosen = part.logp + part.lse
    columns = [part.lse, chosen, part.top + part.lse]
    if part.entropy.numel():
        columns.append(part.entropy)
    packed = torch.stack(columns)
    everyone = packed.new_empty(size, *packed.shape)
    gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor  # renamed in torch 2.13
    gather(everyone.flatten(0, 1), packed, group=process_group)
    lse_parts, chosen_parts, top_parts = everyone[:, 0], everyone[:, 1], everyone[:, 2]
    lse = lse_parts.logsumexp(0)
    empty = lse == -torch.inf
    mine = ~chosen_parts.isnan()
    chosen = chosen_parts.masked_fill(~mine, 0.0).sum(0)
    logp = (chosen - lse).masked_fill(empty, -torch.inf).masked_fill(~mine.any(0), torch.nan)
    highest = top_parts.amax(0)
    top = torch.where(chosen == highest, logp, highest - lse).masked_fill(empty, 0.0)
    entropy = part.entropy
    if entropy.numel():
        share = (lse_parts - lse).exp().masked_fill(lse_parts == -torch.inf, 0.0)
        below = (lse - lse_parts).masked_fill(lse_parts == -torch.inf, 0.0)
        entropy = (share * (everyone[:, 3] + below)).sum(0).masked_fill(empty, 0.0)
    return Found(logp, entropy, lse, top)


def summed(tensor: Tensor, group: str) -> Tensor:
    dist.all_reduce(tensor, group=_group(group))
    return tensor


def _group(name: str) -> Any:
    return dist.distributed_c10d._resolve_process_group(name)  # pyright: ignore
