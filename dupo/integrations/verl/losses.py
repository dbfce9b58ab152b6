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

from dupo_kernels import policy_objective

PolicyLoss = Callable[..., tuple[Tensor, dict[str, Any]]]


def policy_losses() -> dict[str, PolicyLoss]:
    """By name, what verl's registry takes."""
    return {
        "dupo": _loss(lambda config: {"loss_type": "dapo", **_clip(config)}),
        "dupo_gspo": _loss(
            lambda config: {"loss_type": "grpo", "importance_sampling_level": "sequence", **_clip(config)}
        ),
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
    """The bounds of the ratio, as verl reads them."""
    low, high = config.clip_ratio_low, config.clip_ratio_high
    return {
        "epsilon": config.clip_ratio if low is None else low,
        "epsilon_high": config.clip_ratio if high is None else high,
        "clip_ratio_c": config.get("clip_ratio_c", 3.0),
    }


def _loss(options_of: Callable[[Any], dict[str, Any]]) -> PolicyLoss:
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
        """
        objective = policy_objective(**options_of(config))
        losses, stats = objective(
            log_prob, mask=response_mask, advantages=advantages, old_logprobs=old_log_prob
        )
        # verl has computed these weights, with the options of its own.
        if rollout_is_weights is not None:
            losses = losses * rollout_is_weights
        # verl's own sums: they know of all ranks and micro-batches.
        aggregate = import_module("verl.trainer.ppo.core_algos").agg_loss
        total = aggregate(losses, response_mask, loss_agg_mode, **config.global_batch_info)
        return total, _metrics(stats, old_log_prob, log_prob, response_mask.bool())

    return loss


@torch.no_grad()
def _metrics(
    stats: dict[str, Tensor], old_log_prob: Tensor, log_prob: Tensor, counts: Tensor
) -> dict[str, float]:
    """verl's names for what a loss has; means over the tokens that count, 0 where there are none."""
    # What verl's own losses log, so that its plots go on.
    names = {"clip_ratio/region": "actor/pg_clipfrac", "clip_ratio/bound": "actor/pg_clipfrac_lower"}
    named = {names[name]: value for name, value in stats.items() if name in names}
    named["actor/ppo_kl"] = old_log_prob - log_prob
    tokens = counts.sum().clamp(min=1)
    # Tokens that do not count may hold anything, NaN as well.
    return {name: (value.where(counts, 0).sum() / tokens).item() for name, value in named.items()}
