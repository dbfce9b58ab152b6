"""Preference losses for trainers that already hold log-probabilities of tokens.

    loss = sum over groups of weight x (loss of preference_objective.py)

Autograd differentiates what sums of sequences go through. What masked tokens hold (-inf, NaN) never enters.
The vocabulary is unknown.

Shape letters: B padded sequences, T their length, S packed sequences, N packed tokens, G groups. "Tokens"
below is (B, T) or (N,).
"""

from typing import Any

import torch
from torch import Tensor

from dupo_kernels._checks import FLOATING, check_devices, check_flags, check_tensors
from dupo_kernels._copies import to_device
from dupo_kernels._messages import refused
from dupo_kernels.preferences.groups import (
    group_members,
    group_weights,
    reduce_groups,
    sequence_inputs,
    without_weightless,
)
from dupo_kernels.preferences.preference_objective import PreferenceObjective
from dupo_kernels.tokens.layout import check_layout, check_tokens, token_layout


def preference_loss(
    logprobs: Tensor,
    *,
    groups: Tensor | None = None,
    ref_logps: Tensor | None = None,
    desirable: Tensor | None = None,
    kl: Tensor | None = None,
    weights: Tensor | None = None,
    mask: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    check: bool = False,
    **options: Any,
) -> tuple[Tensor, dict[str, Tensor]]:
    """DPO, its family, and other losses of compared sequences; the options are those of `PreferenceOptions`.

    Args:
        logprobs: tokens, nats, of the completions under the policy. (B, T), or (N,) packed.
        groups: (S,) or (B,) integers on the CPU: sequences of one id are compared, the best first. None:
            TRL's order, all chosen sequences before all rejected ones; for kto each sequence is a group. Ids
            break the graph of torch.compile.
        ref_logps: (S,) or (B,), sums over the tokens of each sequence under the reference.
        desirable: (S,) or (B,), kto and apo_zero_unpaired: nonzero where a sequence is desirable.
        kl: scalar or (S,), kto: the divergence from the reference that losses are compared with, as TRL takes
            it from completions of other prompts: at least 0, and the same for all sequences.
        weights: (G,), of groups in ascending order of their ids. None: 1 / G.
        mask: of the shape of logprobs, nonzero where a token counts. Without it every token counts.
        cu_seqlens: (S + 1,) bounds of packed sequences; tokens outside them do not count.
        check: also check what tensors on a device hold, which waits for the device.
        options: loss_type, beta, label_smoothing and the other fields of `PreferenceOptions`.

    Returns:
        (loss, stats). loss: scalar, fp32 (fp64 for fp64 logprobs), differentiable in logprobs.
        stats: detached scalars: "groups", and means over groups, "rewards/chosen", "rewards/rejected",
        "rewards/margins", "rewards/accuracies", "logps/chosen" and "logps/rejected"; of single sequences
        without margins and accuracies, each over the sequences of its label.

    Raises:
        ValueError: options that `PreferenceOptions` refuses; types, shapes or devices that do not match;
            groups of other sizes; an input missing that an option needs, or there and not read.
        TypeError: an option that does not exist.
    """
    objective = PreferenceObjective(**options)
    check_flags(check=check)
    check_tensors(FLOATING, ("logprobs",), logprobs=logprobs)
    if logprobs.dim() != (2 if cu_seqlens is None else 1):
        raise refused("logprobs", "shape (B, T), or (N,) with cu_seqlens", logprobs.shape)
    check_tokens(logprobs.shape, "logprobs", mask=mask)
    check_devices(logprobs.device, "logprobs", mask=mask, cu_seqlens=cu_seqlens)
    check_layout(logprobs, "logprobs", mask, cu_seqlens, check)
    layout = token_layout(logprobs, "logprobs", mask, cu_seqlens, check)
    S = layout.sequences
    members = to_device(_members(groups, S, objective.sequences), logprobs.device)
    dtype = torch.promote_types(logprobs.dtype, torch.float32)
    of_sequences = {"ref_logps": ref_logps, "desirable": desirable, "kl": kl}
    inputs = sequence_inputs(of_sequences, S, logprobs.device, dtype)
    objective.check_inputs(inputs)
    G = members.shape[0]
    of_groups = group_weights(weights, G, logprobs.device, dtype)
    logps, lengths = (
        layout.totals(x)[members] for x in (logprobs.to(dtype), torch.ones_like(logprobs, dtype=dtype))
    )
    logps = without_weightless(logps, of_groups)
    losses, stats = objective(logps, lengths, **{name: x[members] for name, x in inputs.items()})
    # A weight of 0 times an infinite loss must not spoil the sum.
    losses = losses.where(of_groups != 0, 0.0)
    return (losses * of_groups).sum(), reduce_groups(stats, losses.detach().isnan(), G, dtype)


def _members(groups: Tensor | None, S: int, K: int) -> Tensor:
    return group_members(None, S, K) if groups is None else _members_by_id(groups, S, K)


# How many groups there are depends on what the ids hold.
@torch.compiler.disable(reason="preference_loss: ids of groups are sorted on the host; compile around it")
def _members_by_id(groups: Tensor, S: int, K: int) -> Tensor:
    return group_members(groups, S, K)
