"""The policy loss by its definitions, for autograd: the truth in the tests of policy_loss.py.

Written from the papers and from TRL 1.16's behaviour, apart from surrogates.py and kl.py on purpose: the
reference shares no formula with what it checks, except the weights of tokens.

Shape letters: n active tokens. "Tokens" is (B, T) padded or (N,) packed.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo_kernels.tokens.layout import Layout, advantages_per_token, token_layout
from dupo_kernels.tokens.policy_options import PolicyOptions
from dupo_kernels.tokens.weights import token_weights


class _Tokens(NamedTuple):
    """The active tokens, (n,) each, and the sequence of each token."""

    logp: Tensor
    advantages: Tensor
    entropy: Tensor | None
    old_logp: Tensor
    ref_logp: Tensor | None
    sampling_logp: Tensor | None
    owner: Tensor
    sequences: int

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the sequence of each token."""
        return values.new_zeros(self.sequences).index_add(0, self.owner, values)[self.owner]

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the sequence of each token."""
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

    Arguments are those of `policy_loss`. Log-probabilities of tokens that count must be finite, and
    log-ratios below 20: the definition has neither masks for -inf nor a largest ratio.
    """
    checked = PolicyOptions(**options)
    layout = token_layout(logprobs, "logprobs", mask, cu_seqlens)
    losses = losses_ref(
        checked, logprobs, entropy, layout,
        advantages=advantages, old_logprobs=old_logprobs, ref_logprobs=ref_logprobs,
        sampling_logprobs=sampling_logprobs,
    )  # fmt: skip
    weights = token_weights(
        checked.loss_type, layout.active, cu_seqlens,
        num_items=num_items, max_completion_length=max_completion_length, dtype=losses.dtype,
    )  # fmt: skip
    return (losses * weights[layout.active]).sum()


def losses_ref(
    options: PolicyOptions,
    logprobs: Tensor,
    entropy: Tensor | None,
    layout: Layout,
    **per_token: Tensor | None,
) -> Tensor:
    """The loss of each active token, (n,), without its weight.

    per_token: advantages and, where they are there, old_logprobs, ref_logprobs, sampling_logprobs.
    """
    active, dtype = layout.active, torch.promote_types(logprobs.dtype, torch.float32)

    def active_values(x: Tensor | None) -> Any:
        return None if x is None else x[active].to(dtype)

    # Only active tokens are looked at, so sums over sequences need the sequence of each token by number.
    owner = layout.owner
    if owner is None:
        sequences = torch.arange(layout.sequences, device=active.device)
        owner = (sequences[:, None] if active.dim() == 2 else sequences).expand_as(active)
    old, advantages = per_token.get("old_logprobs"), per_token["advantages"]
    assert advantages is not None
    tokens = _Tokens(
        logp=active_values(logprobs),
        advantages=active_values(advantages_per_token(advantages, layout)),
        entropy=active_values(entropy),
        old_logp=active_values(logprobs.detach() if old is None else old),
        ref_logp=active_values(per_token.get("ref_logprobs")),
        sampling_logp=active_values(per_token.get("sampling_logprobs")),
        owner=owner[active],
        sequences=layout.sequences,
    )
    return _losses(options, tokens)


def _losses(options: PolicyOptions, tokens: _Tokens) -> Tensor:
    log_ratio = tokens.logp - tokens.old_logp
    level_log_ratio = tokens.mean(log_ratio) if options.importance_sampling_level == "sequence" else log_ratio
    weight = torch.ones_like(tokens.logp)
    if tokens.sampling_logp is not None and options.vllm_importance_sampling_correction:
        weight = _mismatch_weight(options, tokens)
    if options.loss_type == "vespo":
        loss = _vespo(options, tokens, log_ratio + weight.clamp(min=1e-8).log())
    else:
        loss = _surrogate(options, tokens, level_log_ratio.exp()) * weight
    if options.off_policy_mask_threshold is not None:
        sampled = tokens.old_logp if tokens.sampling_logp is None else tokens.sampling_logp
        drift = (sampled - tokens.logp.detach()).nan_to_num(nan=0.0)
        loss = loss * ~((tokens.advantages < 0) & (tokens.mean(drift) > options.off_policy_mask_threshold))
    keep_mask = torch.ones_like(tokens.logp)
    if options.top_entropy_quantile < 1 and tokens.entropy is not None:
        threshold = torch.quantile(tokens.entropy.detach(), 1 - options.top_entropy_quantile)
        keep_mask = (threshold <= tokens.entropy).to(tokens.entropy.dtype)
        loss = loss * keep_mask
    if options.beta and tokens.ref_logp is not None:
        kl = _kl(options.kl, tokens.ref_logp - tokens.logp)
        loss = loss + options.beta * (kl * level_log_ratio.exp() if options.use_bias_correction_kl else kl)
    if options.entropy_coef and tokens.entropy is not None:
        loss = loss - options.entropy_coef * tokens.entropy * keep_mask
    return loss


def _surrogate(options: PolicyOptions, tokens: _Tokens, ratio: Tensor) -> Tensor:
    # CISPO keeps the gradient of clipped tokens: the ratio is a constant, and logp is differentiated.
    A = tokens.advantages
    if options.loss_type == "cispo":
        return -ratio.detach().clamp(max=options.epsilon_high) * A * tokens.logp
    if options.loss_type == "sapo":
        t = torch.where(A > 0, A.new_tensor(options.sapo_temperature_pos), options.sapo_temperature_neg)
        return -4 / t / (1 + torch.exp(-t * (ratio - 1))) * A
    high = options.epsilon if options.epsilon_high is None else options.epsilon_high
    plain = ratio.clamp(max=math.inf if options.delta is None else options.delta) * A
    loss = torch.maximum(-plain, -ratio.clamp(1 - options.epsilon, 1 + high) * A)
    if options.clip_ratio_c is None:
        return loss
    return torch.where(A < 0, torch.minimum(loss, -options.clip_ratio_c * A), loss)


def _vespo(options: PolicyOptions, tokens: _Tokens, log_weight: Tensor) -> Tensor:
    # The weight is a constant for autograd; its value alone scales the gradient of logp.
    A = tokens.advantages
    k = torch.where(A >= 0, A.new_tensor(options.vespo_k_pos), options.vespo_k_neg)
    scale = torch.where(A >= 0, A.new_tensor(options.vespo_lambda_pos), options.vespo_lambda_neg)
    w = tokens.sum(log_weight).exp().clamp(1e-8, math.exp(20)).detach()
    return -(scale * (1 - w)).exp() * w**k * A * tokens.logp


def _mismatch_weight(options: PolicyOptions, tokens: _Tokens) -> Tensor:
    assert tokens.sampling_logp is not None
    log_weight = torch.where(tokens.sampling_logp.isnan(), 0.0, tokens.old_logp - tokens.sampling_logp)
    mode = options.vllm_importance_sampling_mode
    weight = (tokens.sum(log_weight) if "sequence" in mode else log_weight).exp()
    low, high = options.vllm_importance_sampling_clip_min, options.vllm_importance_sampling_clip_max
    low = 0.0 if low is None else low
    high = math.inf if high is None else high
    if "truncate" in mode:
        return weight.clamp(low, high)
    return torch.where((weight >= low) & (weight <= high), weight, 0.0)


def _kl(kind: str, d: Tensor) -> Tensor:
    """d = ref_logprobs - logprobs."""
    k2 = d**2 / 2
    value = {"k1": -d, "k2": k2, "abs": d.abs()}.get(kind, d.exp() - d - 1)
    return value.detach() + (k2 - k2.detach()) if kind == "k3+" else value
