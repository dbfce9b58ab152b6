"""The linear loss head by its definitions and autograd: what logprobs.py, objective.py and divergence.py are
tested against.

Every logit exists at once. Shape letters: N tokens, V vocabulary, H hidden. "Tokens" is (N,) or (B, T).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dupo_kernels._messages import refused
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
    logits = _logits(hidden, weight, bias, logit_scale)
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


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, logit_scale: float) -> Tensor:
    wide = torch.promote_types(hidden.dtype, torch.float32)
    logits = hidden.to(wide) @ weight.to(wide).t()
    return logit_scale * (logits if bias is None else logits + bias)


def _scaled(logits: Tensor, temperature: float | Tensor, softcap: float | None) -> Tensor:
    z = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    if isinstance(temperature, Tensor):
        temperature = temperature.to(z).expand(z.shape[:-1])[..., None]
    return z / temperature


@torch.no_grad()
def _without_gradient(
    logits: Tensor, targets: Tensor, logp: Tensor, *, temperature: float | Tensor, softcap: float | None
) -> tuple[Tensor, ...]:
    """(top1, mean_logits, log_sum_sq, likeliest) of each token."""
    z = _scaled(logits, temperature, softcap)
    # softmax of a row of -inf is NaN; such a row has no distribution, and its values are set by hand.
    empty = (z == -torch.inf).all(-1)
    log_sum_sq = z.softmax(-1).square().sum(-1).log().masked_fill(empty, 0.0)
    is_number = ~logp.isnan() & ~empty
    likeliest = logits.argmax(-1)
    shown = likeliest.where(logits.amax(-1).isfinite(), -100)
    return (likeliest == targets) & is_number, z.mean(-1), log_sum_sq, shown


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

    Arguments are those of `linear_objective`; head: bias, temperature, logit_scale, softcap.

    Raises:
        ValueError: a user's objective of groups, whose definition is that user's.
    """
    if rows is not None:
        mask = torch.zeros_like(targets).flatten().index_fill(0, rows.long(), 1).view(targets.shape)
    if isinstance(objective, PreferenceObjective):
        # Tokens that do not count are left out of their sequences, so nothing need be masked here.
        logp, _ = linear_token_logprobs_ref(hidden, weight, targets, **head)
        layout = token_layout(targets, "targets", mask, cu_seqlens)
        return grouped_loss_ref(objective, logp, layout, groups, **per_token, weights=weights)
    if getattr(objective, "scope", "") == "group":
        raise refused("objective", "a preference_objective, or another scope than group", objective)
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


def linear_divergence_ref(
    hidden: Tensor,
    weight: Tensor,
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    *,
    beta: float,
    temperature: float | Tensor = 1.0,
    weights: Tensor | None = None,
    mask: Tensor | None = None,
    rows: Tensor | None = None,
    bias: Tensor | None = None,
    teacher_bias: Tensor | None = None,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    teacher_logit_scale: float = 1.0,
    teacher_softcap: float | None = None,
) -> Tensor:
    """The loss of `linear_divergence` by its definition and autograd; fp64 inputs give the truth.

    Arguments are those of `linear_divergence`.
    """
    student = _logits(hidden, weight, bias, logit_scale)
    teacher = _logits(teacher_hidden, teacher_weight, teacher_bias, teacher_logit_scale).detach()
    log_p = _scaled(student, temperature, softcap).log_softmax(-1)
    log_q = _scaled(teacher, temperature, teacher_softcap).log_softmax(-1)
    if beta == 0:
        divergence = _kl(log_q, log_p)
    elif beta == 1:
        divergence = _kl(log_p, log_q)
    else:
        # Where both are -inf autograd would make NaN, and _kl reads neither.
        both = (log_p == -torch.inf) & (log_q == -torch.inf)
        of_both = (
            (log_p + math.log1p(-beta)).masked_fill(both, 0),
            (log_q + math.log(beta)).masked_fill(both, 0),
        )
        log_m = torch.logaddexp(*of_both)
        divergence = beta * _kl(log_q, log_m) + (1 - beta) * _kl(log_p, log_m)
    counts = torch.ones_like(divergence, dtype=torch.bool) if mask is None else mask != 0
    if rows is not None:
        counts = torch.zeros_like(counts).flatten().index_fill(0, rows.long(), True).view(counts.shape)
    weights = counts.to(log_p.dtype) / max(int(counts.sum()), 1) if weights is None else weights
    return (divergence[counts] * weights[counts]).sum()


def _kl(log_p: Tensor, log_r: Tensor) -> Tensor:
    """KL(p || r) of each token; 0 log 0 is 0."""
    absent = log_p == -torch.inf
    # Masked before they are subtracted: the derivative of -inf minus -inf is NaN, also times 0.
    ratio = log_p.masked_fill(absent, 0) - log_r.masked_fill(absent, 0)
    return (log_p.exp() * ratio).sum(-1)
