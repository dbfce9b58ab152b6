"""The linear loss head by its definitions and autograd: what logprobs.py and objective.py are tested against.

Every logit exists at once. Shape letters: N tokens, V vocabulary, H hidden. "Tokens" is (N,) or (B, T).
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from dupo_kernels.hidden.user_objective import Objective
from dupo_kernels.logits.reference import token_logprobs_ref
from dupo_kernels.preferences.preference_objective import PreferenceObjective
from dupo_kernels.preferences.reference import preference_loss_ref
from dupo_kernels.tokens.layout import token_layout
from dupo_kernels.tokens.policy_objective import PolicyObjective
from dupo_kernels.tokens.reference import losses_ref


def linear_token_logprobs_ref(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    entropy: bool = False,
    mask: Tensor | None = None,
    rows: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """`linear_token_logprobs` by its definition and autograd; fp64 inputs give the truth.

    Arguments and results are those of `linear_token_logprobs`.
    """
    wide = torch.promote_types(hidden.dtype, torch.float32)
    logits = hidden.to(wide) @ weight.to(wide).t()
    logits = logit_scale * (logits if bias is None else logits + bias)
    logp, H = token_logprobs_ref(logits, targets, temperature=temperature, softcap=softcap, entropy=entropy)
    # A list of rows says the same as a mask.
    if rows is not None:
        mask = torch.zeros_like(targets).flatten().index_fill(0, rows.long(), 1).view(targets.shape)
    if mask is not None:
        logp = logp.where(mask != 0, 0.0)
        H = None if H is None else H.where(mask != 0, 0.0)
    return logp, H


def linear_objective_ref(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    objective: PolicyObjective | PreferenceObjective | Objective,
    per_token: Mapping[str, Tensor],
    *,
    weights: Tensor | None = None,
    groups: Tensor | None = None,
    mask: Tensor | None = None,
    rows: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    entropy: bool = True,
    **head: Any,
) -> Tensor:
    """The loss of `linear_objective` by its definition and autograd; fp64 inputs give the truth.

    Arguments are those of `linear_objective`; head: bias, temperature, logit_scale, softcap. A preference
    objective needs groups.
    """
    if rows is not None:
        mask = torch.zeros_like(targets).flatten().index_fill(0, rows.long(), 1).view(targets.shape)
    if isinstance(objective, PreferenceObjective):
        logp, _ = linear_token_logprobs_ref(hidden, weight, targets, **head)
        layout = token_layout(targets, "targets", mask, cu_seqlens)
        owner = layout.owner
        if owner is None:
            owner = torch.arange(layout.sequences)[:, None].expand(targets.shape)
        sequences = [logp[layout.active & (owner == s)] for s in range(layout.sequences)]
        assert groups is not None
        members = [(groups == id).nonzero()[:, 0].tolist() for id in groups.unique()]
        options = {spec.name: getattr(objective, spec.name) for spec in fields(objective)}
        return preference_loss_ref(sequences, members, **per_token, weights=weights, **options)
    assert weights is not None
    if isinstance(objective, PolicyObjective):
        entropy = entropy or objective.needs_entropy
    logp, H = linear_token_logprobs_ref(hidden, weight, targets, mask=mask, entropy=entropy, **head)
    if isinstance(objective, PolicyObjective):
        layout = token_layout(targets, "targets", mask, cu_seqlens)
        losses = losses_ref(objective, logp, H, layout, **per_token)
        weights = weights[layout.active]
    else:
        losses, _ = objective(logp, H, **per_token)
        weights = weights if mask is None else weights.where(mask != 0, 0.0)
    return (losses * weights).sum()
