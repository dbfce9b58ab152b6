"""Policy losses of dupo_kernels in verl's normalisation, with verl's names of metrics.

    dupo        clipped ratio of tokens, dual clip        verl's vanilla
    dupo_gspo   clipped ratio of sequences, dual clip     verl's gspo, which has no dual clip
    dupo_sapo   soft gate                                 verl's sapo, which knows one loss_agg_mode alone
    dupo_vespo  weight of sequences by their variance     not in verl

The losses of tokens are summed by verl's `agg_loss`. The options are those of verl's ActorConfig.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from dupo.errors import UserError
from dupo_kernels import policy_objective

MAX_LOG_RATIO, MAX_SEQUENCE_LOG_RATIO = 20.0, 10.0  # where verl holds ratios of tokens, and of sequences
PolicyLoss = Callable[..., tuple[Tensor, dict[str, Any]]]


def policy_losses() -> dict[str, PolicyLoss]:
    """By name, what verl's registry takes."""
    return {
        "dupo": _loss(lambda config: {"loss_type": "dapo", **_clip(config)}),
        "dupo_gspo": _loss(lambda config: {"loss_type": "grpo", **_clip(config)}, by_sequence=True),
        "dupo_sapo": _loss(
            lambda config: {
                "loss_type": "sapo",
                "sapo_temperature_pos": config.get("tau_pos", 1.0),
                "sapo_temperature_neg": config.get("tau_neg", 1.05),
            }
        ),
        "dupo_vespo": _loss(lambda config: {"loss_type": "vespo"}),
    }


def _clip(config: Any) -> dict[str, Any]:
    """The bounds of the ratio, as verl reads them.

    Raises:
        UserError: a dual clip that would bound the loss of every token with a negative advantage.
    """
    low, high = config.clip_ratio_low, config.clip_ratio_high
    dual_clip = config.get("clip_ratio_c", 3.0)
    if not dual_clip > 1:
        raise UserError(f"clip_ratio_c: expected more than 1, as in verl, got {dual_clip}")
    return {
        "epsilon": config.clip_ratio if low is None else low,
        "epsilon_high": config.clip_ratio if high is None else high,
        "clip_ratio_c": dual_clip,
    }


def _loss(options_of: Callable[[Any], dict[str, Any]], *, by_sequence: bool = False) -> PolicyLoss:
    def loss(
        old_log_prob: Tensor,
        log_prob: Tensor,
        advantages: Tensor,
        response_mask: Tensor,
        loss_agg_mode: str = "token-mean",
        config: Any = None,
        rollout_is_weights: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """The loss and its metrics.

        Args:
            old_log_prob, log_prob, advantages, response_mask: (B, T).
            config: verl's ActorConfig.
            rollout_is_weights: (B, T), verl's correction for what sampled.

        Raises:
            UserError: clip_ratio_c is at most 1.
        """
        objective = policy_objective(**options_of(config))
        logps, old_logps = log_prob, old_log_prob
        if by_sequence:
            logps, old_logps = _of_sequences(log_prob, old_log_prob, response_mask.bool())
        losses, stats = objective(logps, mask=response_mask, advantages=advantages, old_logprobs=old_logps)
        # verl has computed these weights, with the options of its own.
        if rollout_is_weights is not None:
            losses = losses * rollout_is_weights
        # verl's own sums: they know of all ranks and micro-batches.
        aggregate = import_module("verl.trainer.ppo.core_algos").agg_loss
        total = aggregate(losses, response_mask, loss_agg_mode, **config.global_batch_info)
        log_ratio = (log_prob - old_log_prob).detach()
        # verl holds the log-ratios of tokens alone, before it reports them.
        held = log_ratio if by_sequence else log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
        return total, _metrics(stats, -held, response_mask.bool())

    return loss


def _of_sequences(log_prob: Tensor, old_log_prob: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities, new and old, of which the ratio of each token is that of its sequence.

    GSPO-token of arXiv 2507.18071, as verl has it: the advantage of a token moves that token alone. The
    ratio of the sequence itself would spread advantages of tokens (GAE) over the sequence.
    """
    log_ratio = (log_prob - old_log_prob).detach().where(counts, 0)
    mean = log_ratio.sum(-1, keepdim=True) / counts.sum(-1, keepdim=True).clamp(min=1)
    # 0 in value, also of a token that the policy has no probability for any more: -inf - -inf is NaN.
    own = (log_prob - log_prob.detach()).masked_fill(log_prob.isinf(), 0)
    return (own + mean).clamp(max=MAX_SEQUENCE_LOG_RATIO), torch.zeros_like(log_prob)


def _metrics(stats: dict[str, Tensor], approx_kl: Tensor, counts: Tensor) -> dict[str, float]:
    """verl's names for what a loss has; means over the tokens that count, 0 where there are none."""
    # Every loss of verl logs all three, so that its plots go on; without a clip nothing is clipped.
    nothing = torch.zeros_like(approx_kl)
    named = {
        "actor/pg_clipfrac": stats.get("clip_ratio/region", nothing),
        "actor/pg_clipfrac_lower": stats.get("clip_ratio/bound", nothing),
        "actor/ppo_kl": approx_kl,
    }
    tokens = counts.sum().clamp(min=1)
    # Tokens that do not count may hold anything, NaN as well.
    return {name: (value.where(counts, 0).sum() / tokens).item() for name, value in named.items()}
