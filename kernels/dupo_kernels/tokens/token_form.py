"""A loss of sequences as one of single tokens, where all that sequences decide depends on inputs alone.

    mismatch weights by sequence, with old_logprobs     an input of each token, importance_sampling_ratio
    GSPO without old_logprobs, where the ratio is 1     dlogp = -mean over the sequence of (weight A)

Then a head needs the logits of a token once (scope "token"). The module does not know the vocabulary.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dupo_kernels.tokens.choices import LOSS_TYPES
from dupo_kernels.tokens.layout import Layout
from dupo_kernels.tokens.policy_objective import PolicyObjective

# Stands for a smaller weight where something is divided by the weight: a power of 2, so that the product with
# the quotient is exact, and a weight that float32 cannot tell from 0 beside others.
SMALLEST_WEIGHT = 2.0**-96


def scope_as_tokens(objective: PolicyObjective, inputs: Mapping[str, Any]) -> str:
    """The scope of what `as_tokens` returns, from the names of the inputs that are there."""
    names = set(inputs) | ({"importance_sampling_ratio"} if "old_logprobs" in inputs else set())
    return _at_token_level(objective, inputs).scope(dict.fromkeys(names, True))


def as_tokens(
    objective: PolicyObjective, inputs: dict[str, Tensor], weights: Tensor, layout: Layout
) -> tuple[PolicyObjective, dict[str, Tensor], Tensor]:
    """(objective, inputs, weights) with the same loss and derivatives, of scope `scope_as_tokens`.

    The losses of single tokens may be others, their sum is the same. NaN as an advantage spoils all tokens of
    its sequence; NaN as a log-probability its token and the sum.

    Args:
        objective: of the policy loss.
        inputs: tokens, by name; advantages per token.
        weights: tokens, of each token in the loss.
        layout: of the tokens.
    """
    inputs = objective.with_mismatch_weights(inputs, layout)
    token_level = _at_token_level(objective, inputs)
    # cispo's factor is a constant of the token, whatever the level of its ratio.
    if token_level is objective or not LOSS_TYPES[objective.loss_type].clips_ratio:
        return token_level, inputs, weights
    # Each token moves the ratio of its sequence by 1 / length, and all tokens hear of it.
    slope = layout.mean(inputs["advantages"].to(weights.dtype) * weights).expand(weights.shape)
    weights = torch.where(weights.abs() < SMALLEST_WEIGHT, SMALLEST_WEIGHT, weights)
    return token_level, inputs | {"advantages": slope / weights}, weights


def _at_token_level(objective: PolicyObjective, inputs: Mapping[str, Any]) -> PolicyObjective:
    """The objective with the ratio of each token, where the ratio of a sequence is 1 as well, else itself."""
    follows_others = (
        "old_logprobs" in inputs
        # Weights of the mismatch would be those of the policy in training.
        or ("sampling_logprobs" in inputs and objective.vllm_importance_sampling_correction)
        # The KL penalty would move the ratio of the sequence.
        or (objective.beta != 0 and objective.use_bias_correction_kl)
        # Which tokens have a loss would depend on the policy in training.
        or objective.off_policy_mask_threshold is not None
        or objective.top_entropy_quantile < 1
    )
    # The value of a token must be its derivative: sapo's is not, nor is that of a ratio beyond delta.
    keeps_value = objective.loss_type != "sapo" and (objective.delta is None or objective.delta >= 1)
    if objective.importance_sampling_level == "token" or follows_others or not keeps_value:
        return objective
    return replace(objective, importance_sampling_level="token")
