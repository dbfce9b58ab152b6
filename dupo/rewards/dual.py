"""The reward of DuPO: how well the hidden part of the question is recovered from the answer.

    r(y) = mean over duals and samples of  1 - d(x_u, x_u')   or   exp(-lambda d(x_u, x_u'))      equation 2

An answer that cannot be read, and a dual sample that cannot be read, is worth 0. No label is read.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dupo.config.options import RewardOptions
from dupo.duality.reconstruct import is_one_answer
from dupo.records import Reconstruction
from dupo.rewards.base import RewardInputs


def dual(inputs: RewardInputs) -> Tensor:
    """Rewards each completion by the duals of its answer; see `dupo.rewards.base.Reward`.

    Says nothing of a group that was not judged (`skip_equal_answers`): its rewards are equal, and unknown.
    """
    groups = zip(inputs.rollout.problems, inputs.rollout.answers, inputs.reconstructions, strict=True)
    rewards = [
        _group_rewards(group, by_answer, inputs.options, has_duals=bool(inputs.task.duals(problem)))
        for problem, group, by_answer in groups
    ]
    return torch.tensor(rewards)


def _group_rewards(
    group: Sequence[str | None],
    by_answer: Mapping[str, Sequence[Reconstruction]],
    options: RewardOptions,
    *,
    has_duals: bool,
) -> list[float]:
    if has_duals and not by_answer and is_one_answer(group):
        return [math.nan] * len(group)
    return [
        answer_reward(by_answer.get(answer, []), options) if answer is not None else 0.0 for answer in group
    ]


def answer_reward(reconstructions: Sequence[Reconstruction], options: RewardOptions) -> float:
    """Mean over the duals of an answer and their samples; 0 where the problem has no dual."""
    # One flat mean: a dual with more samples would weigh more, but all have as many.
    rewards = [sample_reward(distance, options) for r in reconstructions for distance in r.distances]
    return sum(rewards) / len(rewards) if rewards else 0.0


def sample_reward(distance: float | None, options: RewardOptions) -> float:
    """Reward of one dual sample: 1 - d or exp(-lambda d); 0 where nothing could be read."""
    # Not exp(-lambda): what cannot be read must never be worth something.
    if distance is None:
        return 0.0
    if options.reward_shape == "linear":
        return 1 - distance
    return math.exp(-options.reward_lambda * distance)
