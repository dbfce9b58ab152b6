"""Which sequences of a batch are compared with which: groups of K sequences, known on the host.

Shape letters: S sequences, G groups, K sequences of a group.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dupo_kernels._checks import INTEGER, REAL, check_devices, check_tensors
from dupo_kernels._messages import refused


def group_members(groups: Any, S: int, K: int) -> Tensor:
    """The sequences of each group, (G, K) int64 on the host; groups in ascending order of their ids.

    Args:
        groups: (S,) integers on the host: sequences of one id are a group, the best first. None: TRL's order,
            which is first the best of all groups, then the second of all, and so on.
        S: how many sequences there are.
        K: sequences of a group; 0 for any number of at least two.

    Raises:
        ValueError: another shape or type, ids on a device, groups of other sizes or of several.
    """
    if groups is None:
        if K == 0 or S % K:
            expected = "ids of sequences" if K == 0 else f"ids, or a multiple of {K} sequences"
            raise ValueError(f"groups: expected {expected}, got None and {S} sequences")
        # What TRL's collator makes: torch.chunk takes such a batch apart.
        return torch.arange(S).view(K, S // K).t()
    check_tensors(INTEGER, ("groups",), groups=groups)
    if groups.device.type != "cpu":
        raise refused("groups", "a tensor on the CPU, as chunks are cut there", groups.device)
    if groups.shape != (S,):
        raise refused("groups", f"shape {(S,)}, an id for each sequence", groups.shape)
    _, sizes = groups.unique(return_counts=True)
    size = K or max(int(sizes[:1].sum()), 2)
    if other := [n for n in sizes.tolist() if n != size]:
        raise ValueError(f"groups: expected {size} sequences of each id, got {other[0]}")
    # Stable: within a group the sequences keep their order, which is their rank.
    return groups.argsort(stable=True).view(-1, size)


def sequence_inputs(inputs: Any, S: int, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """The inputs of sequences that are there, detached, (S,) of `dtype` each; a scalar is that of all.

    Raises:
        ValueError: another type, shape or device.
    """
    if not isinstance(inputs, Mapping) or not all(isinstance(name, str) for name in inputs):
        raise refused("per_token", "tensors by name", inputs)
    there = {name: x for name, x in inputs.items() if x is not None}
    check_tensors(REAL, **there)
    check_devices(device, "the tokens", **there)
    for name, x in there.items():
        if x.shape not in ((), (S,)):
            raise refused(name, f"shape {(S,)}, a number for each sequence", x.shape)
    return {name: x.detach().to(dtype).expand(S) for name, x in there.items()}


def group_weights(weights: Tensor | None, G: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The weight of each group, (G,); None: 1 / G, whose loss is the mean.

    Raises:
        ValueError: another type, shape or device.
    """
    if weights is None:
        # A mean over groups, as in TRL; no group is no division by zero.
        return torch.full((G,), 1 / max(G, 1), device=device, dtype=dtype)
    check_tensors(REAL, ("weights",), weights=weights)
    check_devices(device, "the tokens", weights=weights)
    if weights.shape != (G,):
        raise refused("weights", f"shape {(G,)}, a number for each group", weights.shape)
    return weights.detach().to(dtype)


def reduce_groups(
    stats: Mapping[str, Tensor], is_broken: Tensor, G: int, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Means over the groups that count for a name, and "groups", their number; waits for nothing.

    Args:
        stats: by name, (G,); NaN where a group does not count: a report may be of one label alone.
        is_broken: (G,), whether the loss of a group is NaN.
    """
    # The mean of no group is 0, as that of no token.
    means = {name: values.to(dtype).nanmean().nan_to_num(nan=0.0) for name, values in stats.items()}
    # A broken group must not pass for one that does not count.
    means = {name: mean.masked_fill(is_broken.any(), torch.nan) for name, mean in means.items()}
    return {"groups": torch.tensor(float(G), dtype=dtype)} | means


def without_weightless(sums: Tensor, weights: Tensor) -> Tensor:
    """The sums (G, K), detached in groups of weight 0: an infinite loss of theirs has a slope of NaN."""
    return sums.where(weights[:, None] != 0, sums.detach())
