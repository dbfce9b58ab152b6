"""The objectives, once: value and d value / d logp, elementwise, for torch and Triton alike.

Every function returns (value, derivative with respect to `logp`). `ops` is torch here; `device` of
_triton.py re-binds it to triton.language, so the same lines run inside kernels. Hence the
vocabulary: + - * /, comparisons, and `exp`, `abs`, `where`, `clamp`, `maximum`, which both
libraries have under the same names.

Log-probabilities are in nats. Known here: two log-probabilities and an advantage. Unknown: masks,
weights, sequences, and how the log-probabilities came about.
"""

import torch
from torch import Tensor

ops = torch

# exp overflows float32 at 88.7. A ratio beyond exp(20) says that two models disagree on everything: there the
# value is held and its derivative is zero (verl clamps at the same place; TRL does not clamp).
MAX_LOG_RATIO = 20.0
# Below this, exp(d) - d - 1 is summed as a series: in float32 the subtraction leaves errors of 1e-7 absolute.
SERIES_BELOW = 0.25


def importance_ratio(logp, old_logp):
    """pi / pi_old of one token, held at exp(MAX_LOG_RATIO)."""
    log_ratio = logp - old_logp
    held = log_ratio > MAX_LOG_RATIO
    ratio = ops.exp(ops.where(held, MAX_LOG_RATIO, log_ratio))
    return ratio, ops.where(held, 0.0, ratio)


def clipped_surrogate(logp, old_logp, advantage, epsilon, epsilon_high):
    """PPO's clipped surrogate as a loss: -min(r A, clip(r, 1 - epsilon, 1 + epsilon_high) A).

    Where both branches are equal the derivative is the unclipped one: on-policy (old_logp = logp) it is -A.
    """
    ratio, dratio = importance_ratio(logp, old_logp)
    plain = -ratio * advantage
    clipped = -ops.clamp(ratio, 1.0 - epsilon, 1.0 + epsilon_high) * advantage
    return ops.maximum(plain, clipped), ops.where(clipped > plain, 0.0, -dratio * advantage)


def kl_k1(logp, ref_logp):
    """log(p / p_ref): unbiased, and negative for about half of the tokens."""
    d = logp - ref_logp
    return d, ops.where(d == d, 1.0, d)  # ones of the shape of d; NaN stays NaN


def kl_k2(logp, ref_logp):
    """log(p / p_ref)^2 / 2: biased, small variance."""
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


def importance_corrected(value, dvalue, ratio, dratio):
    """A KL estimate times the ratio: unbiased on samples of the old policy (DeepSeek-V3.2; TRL)."""
    return ratio * value, ratio * dvalue + dratio * value


KL_ESTIMATORS = {"k1": kl_k1, "k2": kl_k2, "k3": kl_k3}


def kl_estimate(logprobs: Tensor, ref_logprobs: Tensor, kind: str = "k3") -> Tensor:
    """KL(policy || reference), estimated from each sampled token (Schulman, "Approximating KL divergence").

    Args:
        logprobs, ref_logprobs: any shapes that broadcast, nats, of tokens sampled from the policy.
        kind: k1, k2 or k3; with d = ref_logprobs - logprobs: -d, d^2 / 2, exp(d) - d - 1.

    Returns:
        The estimates, one for each token; differentiable in both inputs.

    Raises:
        ValueError: unknown kind.
    """
    check_choice("kind", kind, KL_ESTIMATORS)
    return KL_ESTIMATORS[kind](logprobs, ref_logprobs)[0]


def check_choice(argument: str, value: str, allowed: dict[str, object]) -> None:
    if value not in allowed:
        raise ValueError(f"{argument} must be one of {', '.join(allowed)}, got {value!r}")
