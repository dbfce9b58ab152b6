"""What the dual reward must be compared with, in the same loop."""

import random
from collections.abc import Callable

import torch
from torch import Tensor

from dupo.duality.votes import majority_rewards, soft_vote_rewards
from dupo.records import Completion, Rollout
from dupo.rewards.base import RewardInputs
from dupo.rewards.dual import dual


def gold(inputs: RewardInputs) -> Tensor:
    """The ceiling: quality by the right answer. The only reward that reads labels."""
    rollout = inputs.rollout
    return torch.tensor(
        [
            [inputs.task.score(problem, answer) for answer in group]
            for problem, group in zip(rollout.problems, rollout.answers, strict=True)
        ]
    )


def majority(inputs: RewardInputs) -> Tensor:
    """See `majority_rewards`."""
    return torch.tensor([majority_rewards(group) for group in inputs.rollout.answers])


def soft_vote(inputs: RewardInputs) -> Tensor:
    """See `soft_vote_rewards`."""
    return torch.tensor([soft_vote_rewards(group) for group in inputs.rollout.answers])


def self_certainty(inputs: RewardInputs) -> Tensor:
    """KL from uniform of the sampled distributions, mean over tokens (Intuitor, arXiv 2505.19590), nats."""
    return _measured(inputs.rollout, lambda completion: completion.self_certainty)


def entropy(inputs: RewardInputs) -> Tensor:
    """Minus the entropy of the sampled distributions, mean over tokens (RENT, arXiv 2505.22660), nats."""
    return -_measured(inputs.rollout, lambda completion: completion.entropy)


def _measured(rollout: Rollout, measure: Callable[[Completion], float | None]) -> Tensor:
    # None where nothing was measured becomes NaN, which says nothing.
    values_PG = [[measure(completion) for completion in group] for group in rollout.completions]
    return torch.tensor(values_PG, dtype=torch.float32)


def coin(inputs: RewardInputs) -> Tensor:
    """A fair coin for every completion: what the loop does with no signal at all."""
    # The seed is that of the rollout, so a resumed run tosses the same coins.
    rng = random.Random(inputs.seed)
    return torch.tensor([[float(rng.random() < 0.5) for _ in group] for group in inputs.rollout.answers])


def shuffled(inputs: RewardInputs) -> Tensor:
    """The dual rewards dealt out anew over the whole rollout: the same values, about other completions."""
    rewards_PG = dual(inputs)
    # Over the whole rollout: within a group the mean, and so the baseline, would stay the same.
    values = rewards_PG.flatten().tolist()
    random.Random(inputs.seed).shuffle(values)
    return torch.tensor(values).view_as(rewards_PG)


def format_only(inputs: RewardInputs) -> Tensor:
    """1 for any readable answer, right or wrong."""
    return torch.tensor([[float(answer is not None) for answer in group] for group in inputs.rollout.answers])
