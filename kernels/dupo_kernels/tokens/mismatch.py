"""Weights for the mismatch between the engine that sampled and the engine that trains.

    weight = exp(old_logprobs - sampling_logprobs), truncated to bounds or set to 0 outside them

The weight is that of a token, or the product over its sequence (TRL's vllm_importance_sampling_*). Tokens are
(B, T) or (N,), log-probabilities in nats. The module does not know surrogates.
"""

from torch import Tensor

from dupo_kernels.tokens.infinities import INFINITY, difference
from dupo_kernels.tokens.layout import Layout
from dupo_kernels.tokens.policy_options import PolicyOptions
from dupo_kernels.tokens.surrogates import importance_ratio


def mismatch_weights(
    options: PolicyOptions,
    old_logp: Tensor,
    sampling_logp: Tensor | None,
    layout: Layout,
    weight: Tensor | None = None,
) -> tuple[Tensor | None, dict[str, Tensor]]:
    """(weights of tokens or None without a correction, what to report of each token).

    Args:
        options: vllm_importance_sampling_*.
        old_logp: tokens, under the policy of the rollout by the engine that trains.
        sampling_logp: tokens, as the engine that sampled reported them; NaN where it did not.
            None: no weights.
        layout: of the tokens.
        weight: tokens, the result where it is known beforehand.
    """
    if sampling_logp is None:
        return None, {}
    # TRL: a token that the sampling engine could not score (NaN) has weight 1. Infinities stay: a token that
    # is impossible for one of the engines must reach the bounds.
    log_weight = difference(old_logp, sampling_logp).nan_to_num(nan=0.0, posinf=INFINITY, neginf=-INFINITY)
    distance = log_weight.abs()
    name = "sampling/sampling_logp_difference"
    stats = {f"{name}/mean": distance, f"{name}/max": distance}
    if not options.vllm_importance_sampling_correction:
        return None, stats
    if weight is None:
        weight = _bounded_weight(options, log_weight, layout)
    # The weight after truncation or masking is reported, as in TRL.
    name = "sampling/importance_sampling_ratio"
    return weight, stats | {f"{name}/{kind}": weight for kind in ("min", "mean", "max")}


def _bounded_weight(options: PolicyOptions, log_weight: Tensor, layout: Layout) -> Tensor:
    level, _, rule = options.vllm_importance_sampling_mode.partition("_")
    if level == "sequence":
        # The sum of logs: the product of thousands of ratios would overflow.
        log_weight = layout.sum(log_weight).expand(log_weight.shape)
    weight, _ = importance_ratio(log_weight)
    low, high = options.vllm_importance_sampling_clip_min, options.vllm_importance_sampling_clip_max
    low = -INFINITY if low is None else low
    high = INFINITY if high is None else high
    # "mask" drops what "truncate" only bounds: a weight far outside says that the sample is another policy's.
    if rule == "mask":
        return weight.masked_fill((weight < low) | (weight > high), 0.0)
    return weight.clamp(low, high)
