"""The linear loss head by its definitions and autograd: what logprobs.py and objective.py are tested against.

Every logit exists at once. Shape letters: N tokens, V vocabulary, H hidden. "Tokens" is (N,) or (B, T).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dupo_kernels.hidden.outputs import HeadOutputs, wanted_outputs
from dupo_kernels.hidden.user_objective import Objective
from dupo_kernels.logits.reference import token_logprobs_ref
from dupo_kernels.preferences.preference_objective import PreferenceObjective
from dupo_kernels.preferences.reference import grouped_loss_ref
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
    outputs: Sequence[str] | None = None,
    mask: Tensor | None = None,
    rows: Tensor | None = None,
) -> Any:
    """`linear_token_logprobs` by its definition and autograd; fp64 inputs give the truth.

    Arguments and results are those of `linear_token_logprobs`.
    """
    wide = torch.promote_types(hidden.dtype, torch.float32)
    logits = hidden.to(wide) @ weight.to(wide).t()
    logits = logit_scale * (logits if bias is None else logits + bias)
    wanted = wanted_outputs(outputs, entropy)
    scaling: dict[str, Any] = {"temperature": temperature, "softcap": softcap}
    first = targets[..., 0] if targets.dim() == hidden.dim() else targets
    logp, H = token_logprobs_ref(logits, first, entropy=wanted.with_entropy, **scaling)
    others = _without_gradient(logits, first, logp, **scaling)
    # Each target has a softmax of its own here.
    if targets.dim() == hidden.dim():
        logp = torch.stack([token_logprobs_ref(logits, y, **scaling)[0] for y in targets.unbind(-1)], -1)
    # A list of rows says the same as a mask.
    if rows is not None:
        mask = torch.zeros_like(first).flatten().index_fill(0, rows.long(), 1).view(first.shape)
    if mask is not None:
        absent = mask == 0
        logp = logp.masked_fill(absent if targets is first else absent[..., None], 0.0)
        H = None if H is None else H.masked_fill(absent, 0.0)
        others = tuple(x.masked_fill(absent, 0) for x in others)
    if outputs is None:
        return logp, H
    results = HeadOutputs(logp, H, *others)
    return HeadOutputs(**{name: getattr(results, name) for name in outputs})


@torch.no_grad()
def _without_gradient(
    logits: Tensor, targets: Tensor, logp: Tensor, *, temperature: float | Tensor, softcap: float | None
) -> tuple[Tensor, ...]:
    """(top1, mean_logits, log_sum_sq) of each token."""
    z = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    if isinstance(temperature, Tensor):
        temperature = temperature.to(z).expand(targets.shape)[..., None]
    z = z / temperature
    # softmax of a row of -inf is NaN; such a row has no distribution, and its values are set by hand.
    empty = (z == -torch.inf).all(-1)
    log_sum_sq = z.softmax(-1).square().sum(-1).log().masked_fill(empty, 0.0)
    is_number = ~logp.isnan() & ~empty
    return (logits.argmax(-1) == targets) & is_number, z.mean(-1), log_sum_sq


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
        # Tokens that do not count are left out of their sequences, so nothing need be masked here.
        logp, _ = linear_token_logprobs_ref(hidden, weight, targets, **head)
        layout = token_layout(targets, "targets", mask, cu_seqlens)
        return grouped_loss_ref(objective, logp, layout, groups, **per_token, weights=weights)
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
