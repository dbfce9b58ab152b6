"""Reward functions of the user, named by a dotted path, with the signature of TRL's reward functions."""

import math
import traceback
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dupo.errors import UserError
from dupo.plugins import load_function
from dupo.rewards.base import Reward, RewardInputs


def user_reward(path: str) -> Reward:
    """The reward at `package.module.function`.

    The function is called as `f(prompts, completions, completion_ids, **columns)`. It returns one float for
    each completion, None for no opinion. `prompts` and `completions` are texts, `completion_ids` lists of
    ids, and `columns` those of the data set, labels among them, one value for each completion. Numbers of a
    JSON file are texts ("0.10"), as they stand in the file.

    Raises:
        UserError: there is no such function; later, the function fails or returns something else.
    """
    function = load_function("reward", path)

    def reward(inputs: RewardInputs) -> Tensor:
        rollout = inputs.rollout
        arguments = _arguments(inputs)
        # Called once for the whole rollout, as TRL does: the function may be a model.
        values = _called(path, function, arguments)
        expected = len(arguments["completions"])
        if len(values) != expected:
            raise UserError(f"{path}: expected {expected} rewards, one a completion, got {len(values)}")
        if any(map(math.isinf, values)):
            raise UserError(f"{path}: expected finite rewards or None, got an infinite one")
        return torch.tensor(values).view(len(rollout.problems), -1)

    return reward


def _arguments(inputs: RewardInputs) -> dict[str, list[Any]]:
    """TRL's keyword arguments, one value for each completion."""
    rollout = inputs.rollout
    pairs = [
        (problem, completion)
        for problem, group in zip(rollout.problems, rollout.completions, strict=True)
        for completion in group
    ]
    names = dict.fromkeys(name for problem in rollout.problems for name in problem.columns)
    columns = {name: [problem.columns.get(name) for problem, _ in pairs] for name in names}
    # The names of TRL win over columns of the data set that are called the same.
    return columns | {
        "prompts": [inputs.task.prompt(problem) for problem, _ in pairs],
        "completions": [completion.text for _, completion in pairs],
        "completion_ids": [completion.ids.tolist() for _, completion in pairs],
    }


def _called(path: str, function: Callable[..., Any], arguments: dict[str, list[Any]]) -> list[float]:
    """The rewards as floats, NaN for None."""
    try:
        return [math.nan if value is None else float(value) for value in function(**arguments)]
    except Exception as problem:  # anything can go wrong in a function of the user
        # The last frame is the line of the user that failed, not the one of ours that called it.
        frame = traceback.extract_tb(problem.__traceback__)[-1]
        where = f"{frame.filename}, line {frame.lineno}"
        reason = " ".join(str(problem).split())
        raise UserError(f"{path} failed: {type(problem).__name__}: {reason} ({where})") from problem
