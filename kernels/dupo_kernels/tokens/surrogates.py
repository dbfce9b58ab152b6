"""The policy losses, once: values and derivatives, elementwise, for torch and Triton alike.

A surrogate reads the log-ratio log(pi / pi_old) of a token, or of its whole sequence, and returns
(value, d value / d log-ratio). CISPO and VESPO weigh logp by a constant instead: they return that
constant, and the value is its product with logp. The module does not know masks, weights, sequences,
or where the log-probabilities came from.

`ops` is torch; `device` of _triton.py re-binds it to triton.language, so the same lines run inside
kernels. Hence the vocabulary: + - * /, comparisons, and `exp`, `where`, `clamp`, `sigmoid`, which both
libraries have under the same names. Every argument is a tensor of tokens or a number; log-probabilities are
in nats.
"""

import torch

ops = torch

# exp overflows float32 at 88.7. A ratio beyond exp(20) says that two models disagree on everything: there the
# value is held and its derivative is zero (verl clamps at the same place; TRL does not clamp).
MAX_LOG_RATIO = 20.0
MIN_LOG_WEIGHT = -18.420680743952367  # log 1e-8, the smallest weight that VESPO's authors tell from zero


def importance_ratio(log_ratio):
    """(pi / pi_old held at exp(MAX_LOG_RATIO), its derivative with respect to the log-ratio)."""
    held = log_ratio > MAX_LOG_RATIO
    # Clamp before exp: autograd and the interpreter would see the overflow of the branch that is not taken.
    ratio = ops.exp(ops.where(held, MAX_LOG_RATIO, log_ratio))
    return ratio, ops.where(held, 0.0, ratio)


def clipped_surrogate(log_ratio, advantage, epsilon, epsilon_high, delta, clip_ratio_c):
    """-min(min(r, delta) A, clip(r, 1 - epsilon, 1 + epsilon_high) A), at most -clip_ratio_c A where A < 0.

    PPO's clip. `delta` bounds the unclipped branch (INTELLECT-2's two-sided clip, as in TRL), `clip_ratio_c`
    bounds the loss of a token with a negative advantage (dual-clip PPO, as in verl); infinity is no bound.
    """
    ratio, dratio = importance_ratio(log_ratio)
    low, high = 1.0 - epsilon, 1.0 + epsilon_high
    plain = -ops.where(ratio > delta, delta, ratio) * advantage
    clipped = -ops.clamp(ratio, low, high) * advantage
    # Where both branches are equal the derivative is that of the unclipped branch: on-policy it is -A.
    is_clipped = clipped > plain
    is_flat = ops.where(is_clipped, (ratio < low) | (ratio > high), ratio > delta)
    value = ops.where(is_clipped, clipped, plain)
    largest = -clip_ratio_c * advantage
    held = (advantage < 0) & (value > largest)
    return ops.where(held, largest, value), ops.where(is_flat | held, 0.0, -dratio * advantage)


def soft_surrogate(log_ratio, advantage, temperature_pos, temperature_neg):
    """SAPO (arXiv 2511.20347): -4 / t sigmoid(t (r - 1)) A, where t depends on the sign of A."""
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

    w = exp(log_weight) is the weight of the whole sequence, held in [1e-8, exp(20)]; k and l (lambda) depend
    on the sign of A.
    """
    # Not clamp: that of Triton takes NaN for the lower bound.
    log_weight = ops.where(log_weight < MIN_LOG_WEIGHT, MIN_LOG_WEIGHT, log_weight)
    log_weight = ops.where(log_weight > MAX_LOG_RATIO, MAX_LOG_RATIO, log_weight)
    k = ops.where(advantage >= 0, advantage * 0 + k_pos, k_neg)
    scale = ops.where(advantage >= 0, advantage * 0 + lambda_pos, lambda_neg)
    # One exponential of a sum: w^k alone would underflow for long sequences.
    return -ops.exp(scale + k * log_weight - scale * ops.exp(log_weight)) * advantage
