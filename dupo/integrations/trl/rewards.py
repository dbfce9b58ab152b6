"""Rewards of dupo in the signature of TRL's reward functions.

    GRPOTrainer(..., reward_funcs=as_reward("soft_vote", duals, num_generations=8))

The dual reward needs a model: `dual_rollout`, or `dupo.integrations.server.server_reward`.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch

from dupo.config.catalogue import REWARDS, load
from dupo.config.config import Config
from dupo.errors import UserError, quoted
from dupo.integrations.duals import Duals, Messages, answer_text, check_duals, text_of
from dupo.records import Completion, Problem, Rollout
from dupo.rewards.base import RewardInputs, TrainerState
from dupo.tasks.base import Task

OF_GROUPS = {"majority", "soft_vote"}


def as_reward(
    name: str,
    duals: Duals,
    *,
    num_generations: int | None = None,
    opens_thought: bool = False,
    **options: Any,
) -> Callable[..., list[float | None]]:
    """A reward as TRL calls reward functions, with texts or messages.

    Args:
        name: any of gold, majority, soft_vote, format_only, random, soft_overlong_punishment. gold reads
            labels.
        duals: the problems that the prompts of the trainer ask.
        num_generations: of the trainer, and of its evaluation (`num_generations_eval`). majority and
            soft_vote compare the completions of a prompt, so all of them must be on one rank:
            `per_device_train_batch_size` is a multiple of num_generations. More completions of a prompt in
            a row are refused, unless the problems have that prompt several times: TRL shuffles problems, and
            then groups of equal prompts stand side by side at times.
        opens_thought: the chat template ends a prompt with `<think>`. A completion without `</think>` has no
            answer then; TRL hands over the completion alone, which does not tell.
        options: seed; and max_completion_length of the trainer with soft_punish_cache, which
            soft_overlong_punishment reads.

    Raises:
        UserError: a reward that needs a model or its distributions, or none; a missing num_generations or
            max_completion_length.
    """
    check_duals(duals)
    _check_options(name, num_generations, options)
    if REWARDS[name].needs == "gold":
        duals.check_labels()
    config, compute = duals.config.changed(**options), load(REWARDS[name].path)
    size = num_generations if name in OF_GROUPS and num_generations is not None else 1
    times = Counter(duals.prompts) | Counter(duals.held_out_prompts) if name in OF_GROUPS else None

    def reward(
        prompts: Sequence[str | Messages],
        completions: Sequence[str | Messages],
        completion_ids: Sequence[Sequence[int]],
        trainer_state: Any = None,
        **_: Any,
    ) -> list[float | None]:
        problems = [duals.problem_of(prompt) for prompt in prompts]
        if times is not None:
            _check_rows([text_of(prompt) for prompt in prompts], size, times)
            _check_groups(problems, size)
        texts = [answer_text(completion, opens_thought) for completion in completions]
        rollout = _rollout(duals.task, problems, completion_ids, texts, size)
        step = 0 if trainer_state is None else trainer_state.global_step
        values: list[float] = compute(_inputs(duals.task, config, rollout, step)).flatten().tolist()
        return [None if value != value else value for value in values]

    # TRL logs a reward by this name.
    reward.__name__ = name
    return reward


def _inputs(task: Task, config: Config, rollout: Rollout, step: int) -> RewardInputs:
    return RewardInputs(
        task,
        rollout,
        [{} for _ in rollout.problems],
        config.reward,
        config.run.seed + step,  # other coins at every step
        TrainerState(step, 1),
        max_completion_length=config.rollout.max_completion_length,
    )


def _check_options(name: str, num_generations: int | None, options: Mapping[str, Any]) -> None:
    """Raises UserError for a name that is none of ours, and where a reward lacks what it reads."""
    if name not in REWARDS or REWARDS[name].needs not in ("", "gold"):
        usable = ", ".join(reward for reward, entry in REWARDS.items() if entry.needs in ("", "gold"))
        raise UserError(f"name: expected any of {usable}, got {quoted(name)}; duals need dual_rollout")
    if name in OF_GROUPS and (num_generations is None or num_generations < 2):
        got = "none" if num_generations is None else num_generations
        raise UserError(f"num_generations: expected that of the trainer for {name}, got {got}")
    # The length of the built-in task, 6, would punish every answer in full.
    if name == "soft_overlong_punishment" and "max_completion_length" not in options:
        raise UserError(f"max_completion_length: expected that of the trainer for {name}, got none")


def _check_rows(prompts: Sequence[str], size: int, times: Mapping[str, int]) -> None:
    """Checks that groups are not larger than `size`: votes would be counted in parts of a group.

    Args:
        times: of each prompt, how many problems of one data set have it.
    """
    for prompt, row in groupby(prompts):
        if (count := len(list(row))) > size * times[prompt]:
            expected = "that of the trainer, and no other num_generations_eval"
            got = f"{size} where {count} completions of a prompt follow one another"
            raise UserError(f"num_generations: expected {expected}, got {got}")


def _check_groups(problems: Sequence[Problem], size: int) -> None:
    """Checks that groups of `size` completions stand one after another, each of one problem."""
    groups = [set(problems[place : place + size]) for place in range(0, len(problems), size)]
    if len(problems) % size or any(len(group) > 1 for group in groups):
        expected = f"{size} completions of each prompt on every rank"
        advice = "per_device_train_batch_size must be a multiple of num_generations"
        advice += ", and per_device_eval_batch_size too; num_generations_eval must be the same number"
        raise UserError(f"completions: expected {expected}, got parts of groups; {advice}")


def _rollout(
    task: Task, problems: Sequence[Problem], ids: Sequence[Sequence[int]], texts: Sequence[str], size: int
) -> Rollout:
    """Completions and their answers as rewards read them, in groups of `size`."""
    answers = [task.answer(problem, text) for problem, text in zip(problems, texts, strict=True)]
    rows = [_completion(row, text) for row, text in zip(ids, texts, strict=True)]
    places = range(0, len(problems), size)
    return Rollout(
        list(problems[::size]),
        [[] for _ in places],
        [rows[place : place + size] for place in places],
        [answers[place : place + size] for place in places],
    )


def _completion(ids: Sequence[int], text: str) -> Completion:
    """A completion as rewards read it; TRL does not say which were cut."""
    return Completion(torch.tensor(list(ids), dtype=torch.int32), torch.empty(0), text, truncated=False)
