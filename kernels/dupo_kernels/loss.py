"""Clipped policy loss on tokens, for whoever already holds log-probabilities.

    l    = max(-r A, -clip(r, 1 - epsilon, 1 + epsilon_high) A) + beta KL - entropy_coef H,   r = pi / pi_old
    loss = sum over tokens of l times the weights of weights.py

The derivatives come in closed form from objective.py and reach autograd through one function on
[tokens]. What masked tokens hold (-inf, NaN) never enters. Nothing here waits for the device, and
the vocabulary is unknown.

Shape letters: B padded sequences, T their length, S packed sequences, N packed tokens. "Tokens"
below is (B, T) or (N,).
"""

from typing import Any

import torch
from torch import Tensor

from .objective import (
    KL_ESTIMATORS,
    check_choice,
    clipped_surrogate,
    importance_corrected,
    importance_ratio,
    kl_k3,
)
from .weights import Layout, check_loss_type, packed_layout, padded_layout, weigh


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
    mask: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    loss_type: str = "dapo",
    epsilon: float = 0.2,
    epsilon_high: float | None = None,
    beta: float = 0.0,
    kl: str = "k3",
    use_bias_correction_kl: bool = True,
    entropy_coef: float = 0.0,
    num_items: Tensor | float | None = None,
    max_completion_length: int | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """GRPO-style policy loss; names, meanings and defaults are TRL 1.16's.

    One thing differs from TRL: the entropy bonus has the weights of the policy term, so that any
    split into micro-batches gives the same gradient. For dapo that is TRL's mean over tokens; for
    grpo and dr_grpo TRL still takes the mean over tokens.

    Args:
        logprobs: tokens, nats, of the sampled ids under the policy. (B, T), or (N,) packed.
        advantages: tokens, or one for each sequence: (B,) or (B, 1); (S,) packed. Where N = S they
            are taken as per token.
        entropy: tokens, nats; needed by entropy_coef, else only reported.
        old_logprobs: tokens, under the policy that sampled. None: the ratio is 1, and its gradient is kept.
        ref_logprobs: tokens, under the reference; needed by beta, else only reported.
        mask: of the shape of logprobs, nonzero where a token counts. Not together with cu_seqlens.
            With neither, every token counts.
        cu_seqlens: (S + 1,) int32 or int64 bounds of packed sequences; tokens outside them do not count.
        loss_type: grpo, dapo or dr_grpo (weights.py).
        epsilon, epsilon_high: the ratio is clipped to [1 - epsilon, 1 + epsilon_high]; None: epsilon.
        beta: coefficient of the KL term.
        kl: k1, k2 or k3 (objective.py).
        use_bias_correction_kl: multiply the KL estimate by the ratio, and differentiate both.
        entropy_coef: coefficient of the entropy bonus.
        num_items, max_completion_length: see token_weights.

    Returns:
        (loss, stats). loss: scalar, fp32 (fp64 for fp64 logprobs), differentiable in logprobs and entropy.
        stats: detached scalars on the device. "tokens" is the number of active tokens; all others but
        "ratio/max" are means over them (0 if there are none), so that over micro-batches
        sum(mean * tokens) / sum(tokens) is exact; "ratio/max" combines by max. They are "ratio/mean",
        "ratio/max", "approx_kl" (k3 against old_logprobs), "clip_ratio/low" (ratio < 1 - epsilon and
        A < 0), "clip_ratio/high" (ratio > 1 + epsilon_high and A > 0), "clip_ratio/region" (either),
        "kl" (the estimator, without correction; with ref_logprobs), "entropy" (with entropy).

    Raises:
        ValueError: unknown loss_type or kl; shapes that do not match; mask and cu_seqlens both given; beta
            without ref_logprobs; entropy_coef without entropy; dr_grpo without max_completion_length.
    """
    check_loss_type(loss_type, max_completion_length)
    check_choice("kl", kl, KL_ESTIMATORS)
    _check_tokens(logprobs, entropy=entropy, old_logprobs=old_logprobs, ref_logprobs=ref_logprobs, mask=mask)
    if beta and ref_logprobs is None:
        raise ValueError(f"ref_logprobs must be given for beta={beta}, got None")
    if entropy_coef and entropy is None:
        raise ValueError(f"entropy must be given for entropy_coef={entropy_coef}, got None")
    layout = _layout(logprobs, mask, cu_seqlens)
    dtype = torch.promote_types(logprobs.dtype, torch.float32)

    def known(values: Tensor) -> Tensor:
        return values.detach().to(dtype).where(layout.active, 0.0)

    high = epsilon if epsilon_high is None else epsilon_high
    logp, advantage = known(logprobs), known(_per_token(advantages, layout))
    old = logp if old_logprobs is None else known(old_logprobs)
    equal = old == logp  # only the difference enters, and that of two -inf is 0 here
    pair = logp.masked_fill(equal, 0.0), old.masked_fill(equal, 0.0)
    per_token, dlogp = clipped_surrogate(*pair, advantage, epsilon, high)
    ratio, dratio = importance_ratio(*pair)
    measured = {"ratio/mean": ratio, "approx_kl": kl_k3(*pair)[0]}
    measured |= _clipped(ratio, advantage, epsilon, high)
    if ref_logprobs is not None:
        term = KL_ESTIMATORS[kl](logp, known(ref_logprobs))
        measured["kl"] = term[0]
        if beta:
            value, dvalue = importance_corrected(*term, ratio, dratio) if use_bias_correction_kl else term
            per_token, dlogp = per_token + beta * value, dlogp + beta * dvalue
    if entropy is not None:
        measured["entropy"] = known(entropy)
        if entropy_coef:
            per_token = per_token - entropy_coef * measured["entropy"]
    weights = weigh(layout, loss_type, num_items, max_completion_length, dtype)
    dentropy = None if entropy is None else -entropy_coef * weights
    loss: Any = _WithGradient.apply(logprobs, entropy, (per_token * weights).sum(), dlogp * weights, dentropy)
    return loss, _stats(measured, ratio, layout.active)


def _clipped(ratio: Tensor, advantage: Tensor, epsilon: float, epsilon_high: float) -> dict[str, Tensor]:
    low = (ratio < 1 - epsilon) & (advantage < 0)
    high = (ratio > 1 + epsilon_high) & (advantage > 0)
    return {"clip_ratio/low": low, "clip_ratio/high": high, "clip_ratio/region": low | high}


def _stats(measured: dict[str, Tensor], ratio: Tensor, active: Tensor) -> dict[str, Tensor]:
    tokens = active.sum().to(ratio.dtype)
    stats = {name: values.where(active, 0).sum() / tokens.clamp(min=1) for name, values in measured.items()}
    # Ratios are positive, so the 0 of a masked token is never the largest; the extra one serves N = 0.
    largest = torch.cat([ratio.where(active, 0).flatten(), ratio.new_zeros(1)]).max()
    return stats | {"ratio/max": largest, "tokens": tokens}


def _layout(logprobs: Tensor, mask: Tensor | None, cu_seqlens: Tensor | None) -> Layout:
    if cu_seqlens is None:
        return padded_layout(torch.ones_like(logprobs, dtype=torch.bool) if mask is None else mask)
    if mask is not None:
        raise ValueError("exactly one of mask and cu_seqlens may be given, got both")
    if logprobs.dim() != 1:
        raise ValueError(f"logprobs must be (N,) with cu_seqlens, got {tuple(logprobs.shape)}")
    return packed_layout(cu_seqlens, logprobs.shape[0])


def _per_token(advantages: Tensor, layout: Layout) -> Tensor:
    shape, got = layout.active.shape, tuple(advantages.shape)
    if got == tuple(shape):
        return advantages
    if layout.owner is not None and got == (layout.sequences,):
        return advantages[layout.owner]
    if layout.owner is None and len(shape) == 2 and got in ((shape[0],), (shape[0], 1)):
        return advantages.reshape(-1, 1).expand(shape)
    per_sequence = f"({layout.sequences},)"
    raise ValueError(f"advantages must be per token {tuple(shape)} or per sequence {per_sequence}, got {got}")


def _check_tokens(logprobs: Tensor, **others: Tensor | None) -> None:
    for name, tensor in others.items():
        if tensor is not None and tensor.shape != logprobs.shape:
            raise ValueError(
                f"{name} must have the shape of logprobs {tuple(logprobs.shape)}, got {tuple(tensor.shape)}"
            )
