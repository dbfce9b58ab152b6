"""Reward functions of the user, named by a dotted path, with the signature of TRL's reward functions."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from dupo.config.options import LARGEST_REWARD
from dupo.plugins import call_function, load_function, read_numbers
from dupo.rewards.base import Reward, RewardInputs


def user_reward(path: str) -> Reward:
    """The reward at `package.module.function`.

    The function is called as `f(prompts, completions, completion_ids, **columns)`. It returns one float for
    each completion, None for no opinion. `prompts` and `completions` are texts, `completion_ids` lists of
    ids, and `columns` those of the data set, labels among them, one value for each completion. Numbers of a
    JSON file are texts ("0.10"), as they stand in the file. All of it is copied for the function.

    Raises:
        UserError: there is no such function; later, the function fails or returns something else.
    """
    function = load_function("reward", path)

    def reward(inputs: RewardInputs) -> Tensor:
        rollout = inputs.rollout
        arguments = _arguments(inputs)
        # Counted before the call: the lists belong to the function, which may change them.
        num_completions = len(arguments["completions"])
        # Called once for the whole rollout, as TRL does: the function may be a model.
        returned = call_function(path, function, **arguments)
        # NaN stands for no opinion below, but from a function of the user it is a mistake.
        low, high = -LARGEST_REWARD, LARGEST_REWARD
        values = read_numbers(path, returned, num_completions, "completion", low=low, high=high, or_none=True)
        rewards = [float("nan") if value is None else value for value in values]
        return torch.tensor(rewards).view(len(rollout.problems), -1)

    return reward


def _arguments(inputs: RewardInputs) -> dict[str, list[Any]]:
    """TRL's keyword arguments, one value for each completion; copies, which the function may change."""
    rollout = inputs.rollout
    pairs = [
        (problem, completion)
        for problem, group in zip(rollout.problems, rollout.completions, strict=True)
        for completion in group
    ]
    names = dict.fromkeys(name for problem in rollout.problems for name in problem.columns)
    # A column may hold lists: a function that sorts them in place must not change the data set.
    columns = {name: [deepcopy(problem.columns.get(name)) for problem, _ in pairs] for name in names}
    # The names of TRL win over columns of the data set that are called the same.
    return columns | {
        "prompts": [inputs.task.prompt(problem) for problem, _ in pairs],
        "completions": [completion.text for _, completion in pairs],
        "completion_ids": [completion.ids.tolist() for _, completion in pairs],
    }
