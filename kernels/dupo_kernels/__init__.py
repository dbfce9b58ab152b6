"""The loss head of reinforcement learning: hidden states or logits -> log-probabilities -> policy loss."""

from dupo_kernels.hidden.logprobs import linear_token_logprobs, linear_token_logprobs_ref
from dupo_kernels.hidden.objective import linear_objective, linear_objective_ref
from dupo_kernels.logits.logprobs import token_logprobs, token_logprobs_ref
from dupo_kernels.tokens.policy_loss import policy_loss
from dupo_kernels.tokens.policy_objective import PolicyObjective, policy_objective
from dupo_kernels.tokens.reference import policy_loss_ref
from dupo_kernels.tokens.surrogates import kl_estimate
from dupo_kernels.tokens.weights import token_weights

__all__ = [
    "PolicyObjective",
    "kl_estimate",
    "linear_objective",
    "linear_objective_ref",
    "linear_token_logprobs",
    "linear_token_logprobs_ref",
    "policy_loss",
    "policy_loss_ref",
    "policy_objective",
    "token_logprobs",
    "token_logprobs_ref",
    "token_weights",
]
