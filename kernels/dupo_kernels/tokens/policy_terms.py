"""Losses and derivatives of the tokens of a batch under a policy loss, in closed form.

    loss  = surrogate(ratio, A) * mismatch weight * keep mask + beta KL - entropy_coef H
    dlogp = d loss / d logp + (d loss / d log-ratio of the token or its sequence)

The elementwise maths stand in surrogates.py and kl.py; here they meet sequences, masks and weights. A kernel
needs only dlogp and dentropy of each token. The module does not know the vocabulary. Nothing here waits for
the device.

Every tensor is of tokens: (B, T) padded or (N,) packed. Log-probabilities and entropies are in nats.
"""

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo_kernels.tokens import surrogates
from dupo_kernels.tokens.choices import LOSS_TYPES
from dupo_kernels.tokens.infinities import INFINITY, difference, product
from dupo_kernels.tokens.kl import KL_ESTIMATORS, kl_k3
from dupo_kernels.tokens.layout import Layout
from dupo_kernels.tokens.mismatch import mismatch_weights
from dupo_kernels.tokens.policy_options import PolicyOptions
from dupo_kernels.tokens.statistics import active_quantile
from dupo_kernels.tokens.surrogates import importance_ratio


class Terms(NamedTuple):
    """Losses and derivatives of one batch; each tensor has the shape of the tokens.

    Attributes:
        loss: of each token, without its weight; 0 where the token does not count.
        dlogp, dentropy: derivatives of sum(weights * loss); dentropy is None without entropy.
        stats: what each token reports; names in /max and /min are reduced to extremes, all others to means.
    """

    loss: Tensor
    dlogp: Tensor
    dentropy: Tensor | None
    stats: dict[str, Tensor]


class _Tokens(NamedTuple):
    """The inputs of each token, detached, in the type of the sums, 0 where the token does not count."""

    logp: Tensor
    old_logp: Tensor
    advantages: Tensor
    entropy: Tensor | None
    ref_logp: Tensor | None
    sampling_logp: Tensor | None
    log_ratio: Tensor
    level_log_ratio: Tensor  # log_ratio, or its mean over the sequence


class _Loss(NamedTuple):
    """The loss of each token so far.

    A token acts on its loss twice: through the ratio, which may be that of its sequence, and directly. The
    two derivatives are kept apart, because only the first is averaged over a sequence.

    Attributes:
        value: the loss.
        ratio_slope: its derivative with respect to level_log_ratio.
        logp_slope: its derivative with respect to logp where the ratio is held constant.
        stats: what each token reports.
    """

    value: Tensor
    ratio_slope: Tensor
    logp_slope: Tensor
    stats: dict[str, Tensor]


def terms(
    options: PolicyOptions,
    logprobs: Tensor,
    entropy: Tensor | None,
    weights: Tensor | float,
    layout: Layout,
    *,
    advantages: Tensor,
    old_logprobs: Tensor | None = None,
    ref_logprobs: Tensor | None = None,
    sampling_logprobs: Tensor | None = None,
    importance_sampling_ratio: Tensor | None = None,
) -> Terms:
    """Losses and derivatives in closed form, outside autograd.

    Args:
        options: of the policy loss.
        logprobs, entropy, advantages, old_logprobs, ref_logprobs, sampling_logprobs: tokens, see
            `policy_loss`; advantages per token.
        weights: of each token (`token_weights`); they enter the derivatives alone.
        layout: of the tokens.
        importance_sampling_ratio: the mismatch weights where they are known beforehand.
    """
    dtype = torch.promote_types(logprobs.dtype, torch.float32)  # half inputs are summed in float32
    clean = partial(_clean, active=layout.active, dtype=dtype)
    logp = clean(logprobs)
    # On-policy without old_logprobs: the ratio is 1, and its derivative stays that of a ratio.
    old_logp = logp if old_logprobs is None else clean(old_logprobs)
    log_ratio = difference(logp, old_logp)
    by_sequence = options.importance_sampling_level == "sequence"
    tokens = _Tokens(
        logp=logp,
        old_logp=old_logp,
        advantages=clean(advantages),
        entropy=clean(entropy),
        ref_logp=clean(ref_logprobs),
        sampling_logp=clean(sampling_logprobs),
        log_ratio=log_ratio,
        level_log_ratio=layout.mean(log_ratio).expand(logp.shape) if by_sequence else log_ratio,
    )
    mismatch, stats = mismatch_weights(
        options, old_logp, tokens.sampling_logp, layout, importance_sampling_ratio
    )
    loss = _surrogate(options, tokens, mismatch, layout)
    keep_mask, mask_stats = _keep_mask(options, tokens, layout)
    # vespo has taken the mismatch into its own sequence weight. The KL penalty, added below, is not weighed:
    # TRL corrects the policy loss alone.
    factor = keep_mask if mismatch is None or options.loss_type == "vespo" else mismatch * keep_mask
    stats |= loss.stats | mask_stats
    stats["approx_kl"] = kl_k3(log_ratio, torch.zeros_like(log_ratio))[0]
    loss = _Loss(loss.value * factor, loss.ratio_slope * factor, loss.logp_slope * factor, stats)
    loss = _with_kl(options, tokens, loss)
    value, dentropy = loss.value, None
    if tokens.entropy is not None:
        loss.stats["entropy"] = tokens.entropy
        # arXiv 2506.01939 drops low-entropy tokens altogether: without a loss they have no bonus either.
        has_bonus = mask_stats.get("frac_high_entropy", 1.0)
        if options.entropy_coef:
            value = value - options.entropy_coef * tokens.entropy * has_bonus
        dentropy = (-options.entropy_coef * has_bonus * weights) * torch.ones_like(tokens.entropy)
    ratio_slope = loss.ratio_slope * weights
    if by_sequence:
        ratio_slope = layout.mean(ratio_slope)  # each token moves the ratio of its sequence by 1 / length
    dlogp = (loss.logp_slope * weights + ratio_slope).where(layout.active, 0.0)
    return Terms(value.where(layout.active, 0.0), dlogp, dentropy, loss.stats)


def _clean(values: Tensor | None, active: Tensor, dtype: torch.dtype) -> Any:
    # Masked tokens may hold -inf or NaN, and 0 times NaN is NaN: they must be gone before the first product.
    return None if values is None else values.detach().to(dtype).where(active, 0.0)


def _with_kl(options: PolicyOptions, tokens: _Tokens, loss: _Loss) -> _Loss:
    if tokens.ref_logp is None:
        return loss
    kl, dkl = KL_ESTIMATORS[options.kl](tokens.logp, tokens.ref_logp)
    stats = loss.stats | {"kl": kl}
    if not options.beta:
        return loss._replace(stats=stats)
    if not options.use_bias_correction_kl:
        # Nothing may be multiplied by the slope of a ratio that is not there: 0 times an infinite KL is NaN.
        return loss._replace(
            value=loss.value + options.beta * kl, logp_slope=loss.logp_slope + options.beta * dkl, stats=stats
        )
    # Off-policy samples estimate the KL of the policy that sampled; times the ratio they estimate that of the
    # policy in training (DeepSeek-V3.2). The product rule gives a slope through each factor.
    ratio, dratio = importance_ratio(tokens.level_log_ratio)
    return _Loss(
        value=loss.value + options.beta * ratio * kl,
        ratio_slope=loss.ratio_slope + options.beta * dratio * kl,
        logp_slope=loss.logp_slope + options.beta * ratio * dkl,
        stats=stats,
    )


def _surrogate(options: PolicyOptions, tokens: _Tokens, mismatch: Tensor | None, layout: Layout) -> _Loss:
    level_log_ratio, advantages = tokens.level_log_ratio, tokens.advantages
    # The held ratio is reported, so one broken token does not make the mean infinite.
    ratio, _ = importance_ratio(level_log_ratio)
    stats = {"ratio/mean": ratio, "ratio/max": ratio}
    zeros = torch.zeros_like(tokens.logp)
    if LOSS_TYPES[options.loss_type].clips_ratio:
        high = options.epsilon if options.epsilon_high is None else options.epsilon_high
        bounds = [INFINITY if bound is None else bound for bound in (options.delta, options.clip_ratio_c)]
        value, ratio_slope = surrogates.clipped_surrogate(
            level_log_ratio, advantages, options.epsilon, high, *bounds
        )
        return _Loss(value, ratio_slope, zeros, stats | _clip_stats(options, ratio, high, advantages))
    if options.loss_type == "sapo":
        temperatures = options.sapo_temperature_pos, options.sapo_temperature_neg
        value, ratio_slope = surrogates.soft_surrogate(level_log_ratio, advantages, *temperatures)
        return _Loss(value, ratio_slope, zeros, stats)
    if options.loss_type == "cispo":
        assert options.epsilon_high is not None
        factor = surrogates.cispo_factor(level_log_ratio, advantages, options.epsilon_high)
        stats["cispo_clip_ratio"] = (ratio > options.epsilon_high) & (advantages > 0)
        return _Loss(product(factor, tokens.logp), zeros, factor, stats)
    # vespo: one weight for the whole sequence. TRL clamps the log-ratio of each token, so that one token
    # cannot decide the weight of the sequence.
    bound = surrogates.MAX_LOG_RATIO
    log_weight = layout.sum(tokens.log_ratio.clamp(-bound, bound))
    if mismatch is not None:
        log_weight = log_weight + layout.sum(mismatch.log().clamp(surrogates.MIN_LOG_WEIGHT, bound))
    shape = options.vespo_k_pos, options.vespo_lambda_pos, options.vespo_k_neg, options.vespo_lambda_neg
    factor = surrogates.vespo_factor(log_weight, advantages, *shape)
    # phi for an advantage of +1 or -1: what is reported must not depend on the size of the advantage.
    sign = torch.where(advantages >= 0, 1.0, -1.0).to(advantages.dtype)
    stats["vespo/phi_seq_mean"] = -sign * surrogates.vespo_factor(log_weight, sign, *shape)
    return _Loss(product(factor, tokens.logp), zeros, factor, stats)


def _clip_stats(
    options: PolicyOptions, ratio: Tensor, epsilon_high: float, advantages: Tensor
) -> dict[str, Tensor]:
    # TRL counts a token as clipped only on the side where the clip stops its gradient.
    low_clipped = (ratio < 1 - options.epsilon) & (advantages < 0)
    high_clipped = (ratio > 1 + epsilon_high) & (advantages > 0)
    stats = {"clip_ratio/low": low_clipped, "clip_ratio/high": high_clipped}
    stats["clip_ratio/region"] = low_clipped | high_clipped
    bound = options.delta if options.delta is not None else options.clip_ratio_c
    if bound is not None:
        stats["clip_ratio/bound"] = (ratio > bound) & (advantages < 0)
    return stats


def _keep_mask(options: PolicyOptions, tokens: _Tokens, layout: Layout) -> tuple[Tensor, dict[str, Tensor]]:
    """(1 where a token has a policy loss, else 0; the share that each rule masked or kept)."""
    keep_mask, stats = torch.ones_like(tokens.logp), {}
    if options.off_policy_mask_threshold is not None:
        # The engine that sampled knows best what the policy was then; NaN is a token that it did not score.
        sampled = tokens.old_logp if tokens.sampling_logp is None else tokens.sampling_logp
        drift = difference(sampled, tokens.logp).nan_to_num(nan=0.0)
        is_dropped = (tokens.advantages < 0) & (layout.mean(drift) > options.off_policy_mask_threshold)
        stats["frac_off_policy_masked"] = is_dropped.to(keep_mask.dtype)
        keep_mask = keep_mask.masked_fill(is_dropped, 0.0)
    if options.top_entropy_quantile < 1:
        assert tokens.entropy is not None
        threshold = active_quantile(tokens.entropy, layout.active, 1 - options.top_entropy_quantile)
        is_high = (threshold <= tokens.entropy).to(keep_mask.dtype)
        # NaN is no low entropy: its token must not be left out in silence.
        stats["frac_high_entropy"] = tokens.entropy.where(tokens.entropy.isnan(), is_high)
        keep_mask = keep_mask * stats["frac_high_entropy"]
    return keep_mask, stats
