"""Loss kernels for reinforcement learning of language models: logits -> log-probabilities -> policy loss."""

from .logprob import token_logprobs, token_logprobs_ref
from .loss import policy_loss
from .objective import kl_estimate
from .weights import token_weights

__all__ = ["kl_estimate", "policy_loss", "token_logprobs", "token_logprobs_ref", "token_weights"]
