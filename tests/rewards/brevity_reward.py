"""A whole reward in one file, as a user would write it: short completions are better."""

import torch
from torch import Tensor

from dupo.rewards.base import RewardInputs


def brevity(inputs: RewardInputs) -> Tensor:
    """Rewards each completion by 1 / (1 + number of its tokens); see `dupo.rewards.base.Reward`."""
    return torch.tensor(
        [[1 / (1 + len(completion.ids)) for completion in group] for group in inputs.rollout.completions]
    )
