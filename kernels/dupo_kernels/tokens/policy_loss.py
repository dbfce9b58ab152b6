"""Policy loss on tokens, for trainers that already hold log-probabilities.

    loss = sum over tokens of (loss of policy_terms.py) * (weight of weights.py)

The derivatives come in closed form and reach autograd through one function on [tokens]. What masked tokens
hold (-inf, NaN) never enters. Nothing here waits for the device, and the vocabulary is unknown.

Where the derivative of a token depends on that token alone (scope "token"), Triton kernels serve CUDA
tensors: four launches, forward and backward (triton_path.py). torch serves all others, with the same result.

Shape letters: B padded sequences, T their length, S packed sequences, N packed tokens. "Tokens"
below is (B, T) or (N,).
"""

from typing import Any

import torch
from torch import Tensor

from dupo_kernels._checks import check_flags
from dupo_kernels.tokens.fused_tokens import TokenTensors, fused_tokens, serves
from dupo_kernels.tokens.layout import (
    advantages_by_sequence,
    advantages_per_token,
    check_layout,
    token_layout,
)
from dupo_kernels.tokens.policy_objective import PolicyObjective, check_token_inputs
from dupo_kernels.tokens.statistics import reduce_stats
from dupo_kernels.tokens.weights import (
    check_loss_type,
    check_num_items,
    check_sequences_known,
    layout_weights,
)


class _WithGradient(torch.autograd.Function):
    """`loss` unchanged, with derivatives that were computed beside it and are not differentiated again."""

    @staticmethod
    def forward(ctx, logprobs, entropy, loss, dlogp, dentropy):
        """The loss, which depends on logprobs and entropy through dlogp and dentropy."""
        ctx.save_for_backward(dlogp, dentropy)
        # A copy: for autograd, an input that is returned as it is remains that input.
        return loss.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        """The derivatives, times the upstream gradient (a scalar)."""
        dlogp, dentropy = ctx.saved_tensors
        return grad * dlogp, None if dentropy is None else grad * dentropy, None, None, None


def policy_loss(
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
    check: bool = False,
    **options: Any,
) -> tuple[Tensor, dict[str, Tensor]]:
    """GRPO-style policy loss; the options and their defaults are those of `PolicyOptions`.

    Args:
        logprobs: tokens, nats, of the sampled ids under the policy. (B, T), or (N,) packed.
        advantages: tokens, or one for each sequence: (B,) or (B, 1); (S,) packed. Where N = S they
            are taken as per token.
        entropy: tokens, nats; needed by entropy_coef and top_entropy_quantile, else only reported.
        old_logprobs: tokens, under the policy of the rollout, by the engine that trains. None: the
            ratio is 1, and its gradient is kept.
        ref_logprobs: tokens, under the reference; needed by beta, else only reported.
        sampling_logprobs: tokens, as the engine that sampled reported them; NaN where it did not.
        mask: of the shape of logprobs, nonzero where a token counts. Without it every token counts.
        cu_seqlens: (S + 1,) int32 or int64 bounds of packed sequences; tokens outside them do not count.
            Without `check`, bounds on a device that do not rise, or go beyond N, fail there: by an assertion,
            or where the kernels serve, by a loss and gradients of NaN.
        num_items, max_completion_length, check: see token_weights.
        options: loss_type, epsilon, epsilon_high, delta, clip_ratio_c, beta, kl, use_bias_correction_kl,
            entropy_coef, importance_sampling_level and the other fields of `PolicyOptions`.

    Returns:
        (loss, stats). loss: scalar, fp32 (fp64 for fp64 logprobs), differentiable in logprobs and entropy.
        stats: detached scalars on the device. "tokens" is the number of active tokens; names in /max and
        /min combine over micro-batches by maximum and minimum; all others are means over active tokens
        (0 if there are none), so that sum(mean * tokens) / sum(tokens) is exact. Always there:
        "ratio/mean", "ratio/max" (at the level of the ratio), "approx_kl" (k3 against old_logprobs).
        By option or input: "clip_ratio/low" (ratio < 1 - epsilon and A < 0), "clip_ratio/high" (ratio >
        1 + epsilon_high and A > 0), "clip_ratio/region" (either), "clip_ratio/bound" (ratio beyond delta
        or clip_ratio_c and A < 0), "cispo_clip_ratio", "vespo/phi_seq_mean", "kl" (the estimator, without
        correction), "entropy", "sampling/sampling_logp_difference/mean" and /max,
        "sampling/importance_sampling_ratio/mean", /min and /max, "frac_off_policy_masked",
        "frac_high_entropy".

    Raises:
        ValueError: options that `PolicyOptions` refuses; types, shapes or devices that do not match; an input
            missing that an option needs; what `token_weights` refuses.
        TypeError: an option that does not exist.
    """
    objective = PolicyObjective(**options)
    check_loss_type(objective.loss_type, max_completion_length)
    inputs = {
        "old_logprobs": old_logprobs,
        "ref_logprobs": ref_logprobs,
        "sampling_logprobs": sampling_logprobs,
    }
    check_flags(check=check)
    check_token_inputs(logprobs, advantages, cu_seqlens, entropy=entropy, mask=mask, **inputs)
    check_num_items(num_items, check)
    check_layout(logprobs, "logprobs", mask, cu_seqlens, check)
    # Both paths refuse the same, so all of it is looked at before a path is chosen.
    knows_sequences = cu_seqlens is not None or logprobs.dim() == 2
    objective.check_inputs({"advantages": advantages, "entropy": entropy, **inputs}, knows_sequences)
    advantages_by_sequence(advantages, logprobs.shape, None if cu_seqlens is None else cu_seqlens.numel() - 1)
    check_sequences_known(objective.loss_type, logprobs.shape, knows_sequences)
    tokens = TokenTensors(logprobs, entropy, advantages, mask, **inputs, cu_seqlens=cu_seqlens)
    compute = fused_tokens if serves(objective, tokens) else _by_torch
    return compute(objective, tokens, num_items, max_completion_length)


def _by_torch(
    objective: PolicyObjective,
    tokens: TokenTensors,
    num_items: Tensor | float | None,
    max_completion_length: int | None,
) -> tuple[Tensor, dict[str, Tensor]]:
    logprobs, entropy, advantages, mask, *others, cu_seqlens = tokens
    layout = token_layout(logprobs, "logprobs", mask, cu_seqlens)
    advantages = advantages_per_token(advantages, layout)
    # The loss of half log-probabilities is a float32 number: a sum over thousands of tokens in bf16 is none.
    dtype = torch.promote_types(logprobs.dtype, torch.float32)
    weights = layout_weights(layout, objective.loss_type, num_items, max_completion_length, dtype)
    inputs = dict(zip(("old_logprobs", "ref_logprobs", "sampling_logprobs"), others, strict=True))
    terms = objective.terms(logprobs, entropy, weights, layout, advantages=advantages, **inputs)
    # The derivatives in `terms` carry the weights already.
    total = (terms.loss * weights).sum()
    loss: Any = _WithGradient.apply(logprobs, entropy, total, terms.dlogp, terms.dentropy)
    return loss, reduce_stats(terms.stats, layout.active, dtype)
