"""The objectives, once: values and derivatives, elementwise, for torch and Triton alike.

A surrogate knows the log-ratio log(pi / pi_old) of a token, or of its whole sequence, and returns
(value, d value / d log-ratio). CISPO and VESPO weigh logp by a constant instead: they return that
constant, and the value is its product with logp. A KL estimate returns (value, d value / d logp).
Unknown here: masks, weights, sequences, and how the log-probabilities came about.

`ops` is torch; `device` of _triton.py re-binds it to triton.language, so the same lines run inside
kernels. Hence the vocabulary: + - * /, comparisons, and `exp`, `abs`, `where`, `clamp`, `maximum`,
`sigmoid`, which both libraries have under the same names. Log-probabilities are in nats.
"""

import torch
from torch import Tensor

ops = torch

# exp overflows float32 at 88.7. A ratio beyond exp(20) says that two models disagree on everything: there the
# value is held and its derivative is zero (verl clamps at the same place; TRL does not clamp).
MAX_LOG_RATIO = 20.0
MIN_LOG_WEIGHT = -18.420680743952367  # log 1e-8, the least weight that VESPO's authors tell from zero
# Below this, exp(d) - d - 1 is summed as a series: in float32 the subtraction leaves errors of 1e-7 absolute.
SERIES_BELOW = 0.25


# --- surrogates ------------------------------------------------------------------------------------


def importance_ratio(log_ratio):
    """pi / pi_old, held at exp(MAX_LOG_RATIO), and its derivative."""
    held = log_ratio > MAX_LOG_RATIO
    ratio = ops.exp(ops.where(held, MAX_LOG_RATIO, log_ratio))
    return ratio, ops.where(held, 0.0, ratio)


def clipped_surrogate(log_ratio, advantage, epsilon, epsilon_high, delta, clip_ratio_c):
    """-min(min(r, delta) A, clip(r, 1 - epsilon, 1 + epsilon_high) A), at most -clip_ratio_c A where A < 0.

    PPO's clip; `delta` bounds the unclipped branch (INTELLECT-2's two-sided clip, as in TRL), `clip_ratio_c`
    the loss of a bad token (dual-clip PPO, as in verl); infinity is no bound. Where both branches are equal
    the derivative is the unclipped one: on-policy it is -A.
    """
    ratio, dratio = importance_ratio(log_ratio)
    low, high = 1.0 - epsilon, 1.0 + epsilon_high
    plain = -ops.where(ratio > delta, delta, ratio) * advantage
    clipped = -ops.clamp(ratio, low, high) * advantage
    bounded = clipped > plain
    outside = ops.where(bounded, (ratio < low) | (ratio > high), ratio > delta)
    value = ops.where(bounded, clipped, plain)
    most = -clip_ratio_c * advantage
    held = (advantage < 0) & (value > most)
    return ops.where(held, most, value), ops.where(outside | held, 0.0, -dratio * advantage)


def soft_surrogate(log_ratio, advantage, temperature_pos, temperature_neg):
    """SAPO (arXiv 2511.20347): -4 / t sigmoid(t (r - 1)) A, with t by the sign of A."""
    ratio, dratio = importance_ratio(log_ratio)
    t = ops.where(advantage > 0, advantage * 0 + temperature_pos, temperature_neg)
    gate = ops.sigmoid(t * (ratio - 1.0))
    return -4.0 / t * gate * advantage, -4.0 * gate * (1.0 - gate) * dratio * advantage


def cispo_factor(log_ratio, advantage, cap):
    """CISPO (arXiv 2506.13585): the loss is this constant, -min(r, cap) A, times logp."""
    ratio, _ = importance_ratio(log_ratio)
    return -ops.where(ratio > cap, cap, ratio) * advantage


def vespo_factor(log_weight, advantage, k_pos, lambda_pos, k_neg, lambda_neg):
    """VESPO (arXiv 2602.10693): the loss is this constant, -exp(l) w^k exp(-l w) A, times logp.

    w is the weight of the whole sequence, exp(log_weight) in [1e-8, exp(20)]; k and l go by the sign of A.
    """
    log_weight = ops.clamp(log_weight, MIN_LOG_WEIGHT, MAX_LOG_RATIO)
    k = ops.where(advantage >= 0, advantage * 0 + k_pos, k_neg)
    scale = ops.where(advantage >= 0, advantage * 0 + lambda_pos, lambda_neg)
    return -ops.exp(scale + k * log_weight - scale * ops.exp(log_weight)) * advantage


# --- KL to a reference -----------------------------------------------------------------------------


def kl_k1(logp, ref_logp):
    """log(p / p_ref): unbiased, and negative for about half of the tokens."""
    d = logp - ref_logp
    return d, ops.where(d == d, 1.0, d)  # ones of the shape of d; NaN stays NaN


def kl_abs(logp, ref_logp):
    """|log(p / p_ref)|."""
    d = logp - ref_logp
    return ops.abs(d), ops.where(d > 0, 1.0, ops.where(d < 0, -1.0, d))


def kl_k2(logp, ref_logp):
    """log(p / p_ref)^2 / 2: biased, small variance; its gradient is unbiased on samples of p."""
    d = logp - ref_logp
    return d * d * 0.5, d


def kl_k3(logp, ref_logp):
    """exp(d) - d - 1 with d = log(p_ref / p), held at d = MAX_LOG_RATIO: unbiased and never negative."""
    d = ref_logp - logp
    held = d > MAX_LOG_RATIO
    d = ops.where(held, MAX_LOG_RATIO, d)
    near = ops.abs(d) < SERIES_BELOW
    s = ops.where(near, d, 0.0)  # autograd multiplies the unused branch by zero: keep it finite
    tail = 1 + s / 8 * (1 + s / 9 * (1 + s / 10 * (1 + s / 11)))
    series = s * s / 2 * (1 + s / 3 * (1 + s / 4 * (1 + s / 5 * (1 + s / 6 * (1 + s / 7 * tail)))))
    value = ops.where(near, series, ops.exp(d) - d - 1)
    return value, ops.where(held, 0.0, -(d + value))  # 1 - exp(d), without its cancellation


def kl_k3_plus(logp, ref_logp):
    """The value of k3 with the gradient of k2 (verl's k3+)."""
    return kl_k3(logp, ref_logp)[0], kl_k2(logp, ref_logp)[1]


KL_ESTIMATORS = {"k1": kl_k1, "k2": kl_k2, "k3": kl_k3, "abs": kl_abs, "k3+": kl_k3_plus}


def kl_estimate(logprobs: Tensor, ref_logprobs: Tensor, kind: str = "k3") -> Tensor:
    """KL(policy || reference), estimated from each sampled token (Schulman, "Approximating KL divergence").

    Args:
        logprobs, ref_logprobs: any shapes that broadcast, nats, of tokens sampled from the policy.
        kind: k1, k2, k3, abs or k3+; with d = ref_logprobs - logprobs: -d, d^2 / 2, exp(d) - d - 1, |d|, and
            the value of k3 with the gradient of k2.

    Returns:
        The estimates, one for each token; differentiable in both inputs.

    Raises:
        ValueError: unknown kind.
    """
    check_choice("kind", kind, KL_ESTIMATORS)
    value = KL_ESTIMATORS[kind](logprobs, ref_logprobs)[0]
    if kind != "k3+":
        return value
    slope = kl_k2(logprobs, ref_logprobs)[0]
    return value.detach() + (slope - slope.detach())


def check_choice(argument: str, value: str, allowed: dict[str, object]) -> None:
    if value not in allowed:
        raise ValueError(f"{argument} must be one of {', '.join(allowed)}, got {value!r}")
