"""Reward functions of the user, named by a dotted path, which are called as TRL calls its own."""

import math
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dupo.config.options import LARGEST_REWARD
from dupo.data.asked_columns import NOT_COLUMNS, REWARD_ARGUMENTS, check_columns, parameters_of
from dupo.data.rows import native
from dupo.errors import UserError, quoted
from dupo.plugins import call_function, load_function, read_number, read_numbers, within
from dupo.records import Completion, Problem
from dupo.rewards.base import Reward, RewardInputs, RewardLog
from dupo.tasks.base import Task


def user_reward(path: str, timeout: float | None = None) -> Reward:
    """The reward at `package.module.function`, plain or asynchronous.

    The function is called once for a rollout, by keywords; each list has one item for each completion:

        prompts, completions    texts; lists of messages where the data set is one of messages
        completion_ids          lists of token ids
        NAME                    the column NAME of the data set, labels among them; numbers of a file are
                                texts ("0.10"), as they stand there; numbers of Python rows are numbers
        trainer_state           `global_step` and `max_steps`
        log_metric(name, value), log_extra(column, values)

    A function without `**kwargs` gets what it names. It returns one float for each completion, None for no
    opinion. All that it gets is copied for it.

    Args:
        timeout: most seconds of a call; None: no limit.

    Raises:
        UserError: there is no such function; later, the function asks for a column that there is not, fails,
            takes too long, or returns something else.
    """
    function = load_function("reward", path)

    def reward(inputs: RewardInputs) -> Tensor:
        arguments = _arguments(inputs, path)
        # Counted before the call: the lists belong to the function, which may change them.
        num_completions = len(arguments["completions"])
        # Called once for the whole rollout, as TRL does: the function may be a model.
        asked_for = _asked_for(path, function, arguments)
        # NaN stands for no opinion below, but from a function of the user it is a mistake.
        low, high = -LARGEST_REWARD, LARGEST_REWARD
        # A generator runs while its numbers are read.
        with within(path, timeout, "reward_timeout"):
            returned = call_function(path, function, **asked_for)
            values = read_numbers(
                path, returned, num_completions, "completion", low=low, high=high, or_none=True
            )
        rewards = [float("nan") if value is None else value for value in values]
        return torch.tensor(rewards).view(len(inputs.rollout.problems), -1)

    return reward


def _arguments(inputs: RewardInputs, path: str) -> dict[str, Any]:
    """TRL's keyword arguments; copies, which the function may change."""
    rollout = inputs.rollout
    pairs = [
        (problem, completion)
        for problem, group in zip(rollout.problems, rollout.completions, strict=True)
        for completion in group
    ]
    names = dict.fromkeys(name for problem in rollout.problems for name in problem.columns)
    # A column may hold lists: a function that sorts them in place must not change the data set.
    columns = {
        name: [deepcopy(native(problem.columns.get(name))) for problem, _ in pairs]
        for name in names
        if name not in NOT_COLUMNS
    }
    # The names of TRL win over columns of the data set that are called the same.
    return columns | {
        "prompts": [_prompt(inputs.task, problem) for problem, _ in pairs],
        "completions": [_completion(problem, completion) for problem, completion in pairs],
        "completion_ids": [completion.ids.tolist() for _, completion in pairs],
        "trainer_state": inputs.state,
        "log_metric": partial(_log_metric, inputs.log, path),
        "log_extra": partial(_log_extra, inputs.log, path, len(pairs)),
    }


def _prompt(task: Task, problem: Problem) -> str | list[dict[str, str]]:
    text = task.prompt(problem)
    if not problem.is_chat:
        return text
    history = [] if problem.system is None else [{"role": "system", "content": problem.system}]
    return [*history, {"role": "user", "content": text}]


def _completion(problem: Problem, completion: Completion) -> str | list[dict[str, str]]:
    return [{"role": "assistant", "content": completion.text}] if problem.is_chat else completion.text


def _asked_for(path: str, function: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments that the function takes.

    Raises:
        UserError: the function needs one that there is not.
    """
    check_columns(path, function, [name for name in arguments if name not in REWARD_ARGUMENTS])
    parameters = parameters_of(function)
    if parameters is None or any(p.kind == p.VAR_KEYWORD for p in parameters):
        return arguments
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return {name: arguments[name] for name in names if name in arguments}


def _log_metric(log: RewardLog, path: str, name: str, value: Any) -> None:
    """What a function gets as `log_metric`.

    Raises:
        UserError: no finite number, or a name that the reward itself has.
    """
    what = f"{path}: log_metric({quoted(name)})"
    if name in ("mean", "std"):
        raise UserError(f"{what}: expected another name, as the reward is logged by mean and std")
    largest = torch.finfo(torch.float32).max
    number = read_number(value, f"{what}: expected a finite number, got", -largest, largest)
    log.metrics.setdefault(f"{path.rpartition('.')[2]}/{name}", []).append(number)


def _log_extra(log: RewardLog, path: str, count: int, column: str, values: Any) -> None:
    """What a function gets as `log_extra`.

    Raises:
        UserError: another number of values than of completions.
    """
    # samples.jsonl is JSON, which has no place for other objects.
    written = [value if _is_plain(value) else quoted(value) for value in values]
    if len(written) != count:
        what = f"{path}: log_extra({quoted(column)})"
        raise UserError(f"{what}: expected {count} values, one a completion, got {len(written)}")
    log.columns[f"{path.rpartition('.')[2]}/{column}"] = written


def _is_plain(value: Any) -> bool:
    is_number = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return value is None or isinstance(value, str) or is_number
