"""The soft overlong punishment of DAPO (arXiv 2503.14476, equation 13): length costs before it is cut off.

    R(y) = 0                                       |y| <= L_max - L_cache
           ((L_max - L_cache) - |y|) / L_cache     L_max - L_cache < |y| <= L_max
           -1                                      L_max < |y|, that is: the completion was cut

L_max is `max_completion_len` and L_cache is `soft_punish_cache` in TRL's `get_soft_overlong_punishment`.
"""

import torch
from torch import Tensor

from dupo.rewards.base import RewardInputs

CACHE_SHARE = 5  # DAPO: L_max 20,480 and L_cache 4,096, a fifth


def soft_overlong_punishment(inputs: RewardInputs) -> Tensor:
    """Punishes each completion for its length in tokens; see `dupo.rewards.base.Reward`."""
    longest = inputs.max_completion_length
    cache = inputs.options.soft_punish_cache or default_cache(longest)
    return torch.tensor(
        [
            [
                # A cut completion would be longer than the limit, whatever has cut it.
                -1.0 if completion.truncated else overlong_punishment(len(completion.ids), longest, cache)
                for completion in group
            ]
            for group in inputs.rollout.completions
        ]
    )


def overlong_punishment(length: int, max_completion_len: int, soft_punish_cache: int) -> float:
    """R(y) in [-1, 0] of a completion of `length` tokens; see the head of this module.

    Args:
        max_completion_len: L_max, tokens.
        soft_punish_cache: L_cache, the last tokens before L_max in which R(y) falls; at least 1.
    """
    free = max_completion_len - soft_punish_cache
    if length <= free:
        return 0.0
    return (free - length) / soft_punish_cache if length <= max_completion_len else -1.0


def default_cache(max_completion_len: int) -> int:
    """L_cache where the options name none: a fifth of L_max, as in DAPO, and at least one token."""
    return max(1, max_completion_len // CACHE_SHARE)
