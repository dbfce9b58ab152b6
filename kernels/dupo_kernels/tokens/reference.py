"""The policy loss by its definitions, for autograd: what policy.py and _terms.py are held to.

Written from the papers and from TRL 1.16's behaviour, and apart from objective.py on purpose: it shares no
formula with what it checks, but the weights of tokens.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo_kernels.tokens.policy_loss import token_layout
from dupo_kernels.tokens.policy_objective import PolicyObjective
from dupo_kernels.tokens.weights import Layout, advantages_per_token, token_weights


class _Tokens(NamedTuple):
    """Those that count, (n,), and the sequence of each."""

    logp: Tensor
    A: Tensor
    H: Tensor | None
    old: Tensor
    ref: Tensor | None
    sampling: Tensor | None
    owner: Tensor
    sequences: int

    def sum(self, values: Tensor) -> Tensor:
        """Over the sequence of each token."""
        return values.new_zeros(self.sequences).index_add(0, self.owner, values)[self.owner]

    def mean(self, values: Tensor) -> Tensor:
        return self.sum(values) / self.sum(torch.ones_like(values))


def policy_loss_ref(
    logprobs: Tensor,
    advantages: Tensor,
    *,
    entropy: Tensor | None = None,
    old_logprobs: Tensor | None = None,
    ref_logprobs: Tensor | None = None,
    sampling_logprobs: Tensor | None = None,
    mask: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    num_items: Tensor | float | None = None,
    max_completion_length: int | None = None,
    **options: Any,
) -> Tensor:
    """The loss of `policy_loss` by its definition and autograd; fp64 inputs give the truth.

    Log-probabilities of tokens that count must be finite, and log-ratios below 20.
    """
    o = PolicyObjective(**options)
    layout = token_layout(logprobs, "logprobs", mask, cu_seqlens)
    losses = losses_ref(
        o, logprobs, entropy, layout,
        advantages=advantages, old_logprobs=old_logprobs, ref_logprobs=ref_logprobs,
        sampling_logprobs=sampling_logprobs,
    )  # fmt: skip
    weights = token_weights(
        o.loss_type, layout.active, cu_seqlens,
        num_items=num_items, max_completion_length=max_completion_length, dtype=losses.dtype,
    )  # fmt: skip
    return (losses * weights[layout.active]).sum()


def losses_ref(
    o: PolicyObjective, logprobs: Tensor, entropy: Tensor | None, layout: Layout, **given: Tensor | None
) -> Tensor:
    """(n,): of each token that counts, without its weight."""
    active, dtype = layout.active, torch.promote_types(logprobs.dtype, torch.float32)

    def counted(x: Tensor | None) -> Any:
        return None if x is None else x[active].to(dtype)

    owner = layout.owner
    if owner is None:
        each = torch.arange(layout.sequences, device=active.device)
        owner = (each[:, None] if active.dim() == 2 else each).expand_as(active)
    old, advantages = given.get("old_logprobs"), given["advantages"]
    assert advantages is not None
    t = _Tokens(
        logp=counted(logprobs),
        A=counted(advantages_per_token(advantages, layout)),
        H=counted(entropy),
        old=counted(logprobs.detach() if old is None else old),
        ref=counted(given.get("ref_logprobs")),
        sampling=counted(given.get("sampling_logprobs")),
        owner=owner[active],
        sequences=layout.sequences,
    )
    return _losses(o, t)


def _losses(o: PolicyObjective, t: _Tokens) -> Tensor:
    log_ratio = t.logp - t.old
    level = t.mean(log_ratio) if o.importance_sampling_level == "sequence" else log_ratio
    weight = torch.ones_like(t.logp)
    if t.sampling is not None and o.vllm_importance_sampling_correction:
        weight = _mismatch_weight(o, t)
    if o.loss_type == "vespo":
        loss = _vespo(o, t, log_ratio + weight.clamp(min=1e-8).log())
    else:
        loss = _surrogate(o, t, level.exp()) * weight
    if o.off_policy_mask_threshold is not None:
        drift = ((t.old if t.sampling is None else t.sampling) - t.logp.detach()).nan_to_num(nan=0.0)
        loss = loss * ~((t.A < 0) & (t.mean(drift) > o.off_policy_mask_threshold))
    chosen = torch.ones_like(t.logp)
    if o.top_entropy_quantile < 1 and t.H is not None:
        chosen = (torch.quantile(t.H.detach(), 1 - o.top_entropy_quantile) <= t.H).to(t.H.dtype)
        loss = loss * chosen
    if o.beta and t.ref is not None:
        kl = _kl(o.kl, t.ref - t.logp)
        loss = loss + o.beta * (kl * level.exp() if o.use_bias_correction_kl else kl)
    if o.entropy_coef and t.H is not None:
        loss = loss - o.entropy_coef * t.H * chosen
    return loss


def _surrogate(o: PolicyObjective, t: _Tokens, ratio: Tensor) -> Tensor:
    if o.loss_type == "cispo":
        return -ratio.detach().clamp(max=o.epsilon_high) * t.A * t.logp
    if o.loss_type == "sapo":
        tau = torch.where(t.A > 0, t.A.new_tensor(o.sapo_temperature_pos), o.sapo_temperature_neg)
        return -4 / tau / (1 + torch.exp(-tau * (ratio - 1))) * t.A
    high = o.epsilon if o.epsilon_high is None else o.epsilon_high
    plain = ratio.clamp(max=math.inf if o.delta is None else o.delta) * t.A
    loss = torch.maximum(-plain, -ratio.clamp(1 - o.epsilon, 1 + high) * t.A)
    if o.clip_ratio_c is None:
        return loss
    return torch.where(t.A < 0, torch.minimum(loss, -o.clip_ratio_c * t.A), loss)


def _vespo(o: PolicyObjective, t: _Tokens, log_weight: Tensor) -> Tensor:
    k = torch.where(t.A >= 0, t.A.new_tensor(o.vespo_k_pos), o.vespo_k_neg)
    scale = torch.where(t.A >= 0, t.A.new_tensor(o.vespo_lambda_pos), o.vespo_lambda_neg)
    w = t.sum(log_weight).exp().clamp(1e-8, math.exp(20)).detach()
    return -(scale * (1 - w)).exp() * w**k * t.A * t.logp


def _mismatch_weight(o: PolicyObjective, t: _Tokens) -> Tensor:
    assert t.sampling is not None
    log_weight = torch.where(t.sampling.isnan(), 0.0, t.old - t.sampling)
    mode = o.vllm_importance_sampling_mode
    weight = (t.sum(log_weight) if "sequence" in mode else log_weight).exp()
    low, high = o.vllm_importance_sampling_clip_min, o.vllm_importance_sampling_clip_max
    low, high = 0.0 if low is None else low, math.inf if high is None else high
    if "truncate" in mode:
        return weight.clamp(low, high)
    return torch.where((weight >= low) & (weight <= high), weight, 0.0)


def _kl(kind: str, d: Tensor) -> Tensor:
    """d = ref_logprobs - logprobs."""
    value = {"k1": -d, "k2": d**2 / 2, "abs": d.abs()}.get(kind, d.exp() - d - 1)
    return value.detach() + (d**2 / 2 - (d**2 / 2).detach()) if kind == "k3+" else value
