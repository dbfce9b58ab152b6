"""Estimates of KL(policy || reference) from sampled tokens, once: for torch and Triton alike.

An estimator reads log p and log p_ref of a sampled token, in nats, and returns (value, d value / d logp),
elementwise (Schulman, "Approximating KL divergence"). `ops` is torch or, inside kernels, triton.language; see
surrogates.py. The module does not know masks, weights or sequences.
"""

import torch
from torch import Tensor

from dupo_kernels._checks import FLOATING, check_devices, check_tensors
from dupo_kernels._messages import refused
from dupo_kernels.tokens.choices import check_choice
from dupo_kernels.tokens.surrogates import MAX_LOG_RATIO

ops = torch

# Below this, exp(d) - d - 1 is summed as a series: in float32 the subtraction leaves errors of 1e-7 absolute.
SERIES_BELOW = 0.25


def kl_k1(logp, ref_logp):
    """log(p / p_ref): unbiased, and negative for about half of the tokens."""
    d = logp - ref_logp
    return d, ops.where(d == d, 1.0, d)  # ones of the shape of d; NaN stays NaN


def kl_abs(logp, ref_logp):
    """|log(p / p_ref)|."""
    d = logp - ref_logp
    return ops.abs(d), ops.where(d > 0, 1.0, ops.where(d < 0, -1.0, d))


def kl_k2(logp, ref_logp):
    """log(p / p_ref)^2 / 2: biased, with a small variance; its gradient is unbiased on samples of p."""
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
    """Estimates KL(policy || reference) at each sampled token (Schulman, "Approximating KL divergence").

    Args:
        logprobs, ref_logprobs: any shapes that broadcast, nats, of tokens sampled from the policy.
        kind: k1, k2, k3, abs or k3+; with d = ref_logprobs - logprobs: -d, d^2 / 2, exp(d) - d - 1, |d|, and
            the value of k3 with the gradient of k2.

    Returns:
        The estimates, one for each token, nats; differentiable in both inputs.

    Raises:
        ValueError: unknown kind; types, devices or shapes that do not go together.
    """
    check_choice("kind", kind, KL_ESTIMATORS)
    inputs = {"logprobs": logprobs, "ref_logprobs": ref_logprobs}
    check_tensors(FLOATING, tuple(inputs), **inputs)
    check_devices(logprobs.device, "logprobs", ref_logprobs=ref_logprobs)
    shapes = zip(logprobs.shape[::-1], ref_logprobs.shape[::-1], strict=False)
    if any(n != m and 1 not in (n, m) for n, m in shapes):
        expected = f"a shape that broadcasts with logprobs {tuple(logprobs.shape)}"
        raise refused("ref_logprobs", expected, ref_logprobs.shape)
    value = KL_ESTIMATORS[kind](logprobs, ref_logprobs)[0]
    if kind != "k3+":
        return value
    # Autograd must see the gradient of k2: add k2 minus itself, which is exactly zero in value.
    k2 = kl_k2(logprobs, ref_logprobs)[0]
    return value.detach() + (k2 - k2.detach())
