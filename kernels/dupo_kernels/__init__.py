"""The loss head of reinforcement learning: hidden states or logits -> log-probabilities -> policy loss.

Names are imported when they are first used: `dupo_kernels.tokens.policy_options` must load without torch, so
that the command line of a trainer can show its help at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dupo_kernels.hidden.divergence import linear_divergence
    from dupo_kernels.hidden.logprobs import linear_token_logprobs
    from dupo_kernels.hidden.objective import linear_objective
    from dupo_kernels.hidden.outputs import HeadOutputs
    from dupo_kernels.hidden.reference import (
        linear_divergence_ref,
        linear_objective_ref,
        linear_token_logprobs_ref,
    )
    from dupo_kernels.logits.logprobs import token_logprobs
    from dupo_kernels.logits.policy_loss import fused_policy_loss
    from dupo_kernels.logits.reference import token_logprobs_ref
    from dupo_kernels.preferences.preference_loss import preference_loss
    from dupo_kernels.preferences.preference_objective import PreferenceObjective, preference_objective
    from dupo_kernels.preferences.preference_options import PreferenceOptions
    from dupo_kernels.preferences.reference import preference_loss_ref, score_loss_ref
    from dupo_kernels.preferences.scores import score_loss
    from dupo_kernels.tokens.kl import kl_estimate
    from dupo_kernels.tokens.policy_loss import policy_loss
    from dupo_kernels.tokens.policy_objective import PolicyObjective, policy_objective
    from dupo_kernels.tokens.policy_options import PolicyOptions
    from dupo_kernels.tokens.reference import policy_loss_ref
    from dupo_kernels.tokens.weights import counts_tokens, token_weights

__all__ = [
    "HeadOutputs",
    "PolicyObjective",
    "PolicyOptions",
    "PreferenceObjective",
    "PreferenceOptions",
    "counts_tokens",
    "fused_policy_loss",
    "kl_estimate",
    "linear_divergence",
    "linear_divergence_ref",
    "linear_objective",
    "linear_objective_ref",
    "linear_token_logprobs",
    "linear_token_logprobs_ref",
    "policy_loss",
    "policy_loss_ref",
    "policy_objective",
    "preference_loss",
    "preference_loss_ref",
    "preference_objective",
    "score_loss",
    "score_loss_ref",
    "token_logprobs",
    "token_logprobs_ref",
    "token_weights",
]

_MODULES = {
    "HeadOutputs": "hidden.outputs",
    "PolicyObjective": "tokens.policy_objective",
    "PolicyOptions": "tokens.policy_options",
    "PreferenceObjective": "preferences.preference_objective",
    "PreferenceOptions": "preferences.preference_options",
    "counts_tokens": "tokens.weights",
    "fused_policy_loss": "logits.policy_loss",
    "kl_estimate": "tokens.kl",
    "linear_divergence": "hidden.divergence",
    "linear_divergence_ref": "hidden.reference",
    "linear_objective": "hidden.objective",
    "linear_objective_ref": "hidden.reference",
    "linear_token_logprobs": "hidden.logprobs",
    "linear_token_logprobs_ref": "hidden.reference",
    "policy_loss": "tokens.policy_loss",
    "policy_loss_ref": "tokens.reference",
    "policy_objective": "tokens.policy_objective",
    "preference_loss": "preferences.preference_loss",
    "preference_loss_ref": "preferences.reference",
    "preference_objective": "preferences.preference_objective",
    "score_loss": "preferences.scores",
    "score_loss_ref": "preferences.reference",
    "token_logprobs": "logits.logprobs",
    "token_logprobs_ref": "logits.reference",
    "token_weights": "tokens.weights",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value = import_module(f"{__name__}._version").version()
    elif name in _MODULES:
        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # the next use, also by torch.compile, finds a plain attribute
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
