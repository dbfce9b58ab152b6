"""Policy loss on tokens, for whoever already holds log-probabilities; the objective stands in policy.py.

    loss = sum over tokens of l times the weights of weights.py

The derivatives come in closed form and reach autograd through one function on [tokens]. What masked
tokens hold (-inf, NaN) never enters. Nothing here waits for the device, and the vocabulary is unknown.

Shape letters: B padded sequences, T their length, S packed sequences, N packed tokens. "Tokens"
below is (B, T) or (N,).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dupo_kernels.tokens.policy_objective import TOKEN_INPUTS, PolicyObjective
from dupo_kernels.tokens.policy_terms import reduce_stats
from dupo_kernels.tokens.weights import Layout, advantages_per_token, check_loss_type, make_layout, weigh


class _WithGradient(torch.autograd.Function):
    """`loss`, with the derivatives that were computed along with it; they have none of their own."""

    @staticmethod
    def forward(ctx, logprobs, entropy, loss, dlogprobs, dentropy):
        ctx.save_for_backward(dlogprobs, dentropy)
        return loss.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        dlogprobs, dentropy = ctx.saved_tensors
        return grad * dlogprobs, None if dentropy is None else grad * dentropy, None, None, None


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
    **options: Any,
) -> tuple[Tensor, dict[str, Tensor]]:
    """GRPO-style policy loss; names, meanings and defaults are TRL 1.16's.

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
        num_items, max_completion_length: see token_weights.
        options: loss_type, epsilon, epsilon_high, delta, clip_ratio_c, beta, kl, use_bias_correction_kl,
            entropy_coef, importance_sampling_level and the others of `PolicyObjective`.

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
        ValueError: options that `PolicyObjective` refuses; shapes that do not match; an input missing that
            an option needs; dr_grpo without max_completion_length.
        TypeError: an option that does not exist.
    """
    objective = PolicyObjective(**options)
    check_loss_type(objective.loss_type, max_completion_length)
    tokens = {
        "old_logprobs": old_logprobs,
        "ref_logprobs": ref_logprobs,
        "sampling_logprobs": sampling_logprobs,
    }
    check_tokens(logprobs.shape, "logprobs", entropy=entropy, mask=mask, **tokens)
    layout = token_layout(logprobs, "logprobs", mask, cu_seqlens)
    objective.check_inputs({"advantages": advantages, "entropy": entropy, **tokens}, layout.knows_sequences)
    tokens["advantages"] = advantages_per_token(advantages, layout)
    dtype = torch.promote_types(logprobs.dtype, torch.float32)
    weights = weigh(layout, objective.loss_type, num_items, max_completion_length, dtype)
    terms = objective.terms(logprobs, entropy, weights, layout, **tokens)
    total = (terms.loss * weights).sum()
    loss: Any = _WithGradient.apply(logprobs, entropy, total, terms.dlogp, terms.dentropy)
    return loss, reduce_stats(terms.stats, layout.active, dtype)


def token_layout(like: Tensor, name: str, mask: Tensor | None, cu_seqlens: Tensor | None) -> Layout:
    """Of tokens of the shape of `like`, called `name` in the error."""
    if cu_seqlens is not None and like.dim() != 1:
        raise ValueError(f"{name} must be (N,) with cu_seqlens, got {tuple(like.shape)}")
    if mask is None and cu_seqlens is None:
        mask = torch.ones_like(like, dtype=torch.bool)
    return make_layout(mask, cu_seqlens, like.shape[0] if like.dim() == 1 else None)


def check_tokens(shape: torch.Size, name: str, **others: Tensor | None) -> None:
    for other, tensor in others.items():
        if tensor is not None and tensor.shape != shape:
            raise ValueError(
                f"{other} must have the shape of {name} {tuple(shape)}, got {tuple(tensor.shape)}"
            )


def flat_inputs(
    per_token: Mapping[str, Tensor | None],
    targets: Tensor,
    mask: Tensor | None,
    cu_seqlens: Tensor | None,
    advantages_too: bool,
) -> dict[str, Tensor]:
    """Flat (N,), without those that are None."""
    found = {name: x for name, x in per_token.items() if x is not None}
    if not advantages_too:
        if unknown := set(found) - set(TOKEN_INPUTS):
            raise ValueError(
                f"per_token may hold {', '.join(TOKEN_INPUTS)}, got {', '.join(sorted(unknown))}"
            )
        advantages = found.get("advantages")
        if advantages is not None and advantages.shape != targets.shape:
            layout = token_layout(targets, "targets", mask, cu_seqlens)
            found["advantages"] = advantages_per_token(advantages, layout)
    check_tokens(targets.shape, "targets", **found)
    if advantages_too and (learned := [name for name, x in found.items() if x.requires_grad]):
        raise ValueError(f"per_token is not differentiated, got requires_grad in {', '.join(learned)}")
    return {name: x.detach().reshape(-1) for name, x in found.items()}
