"""Rollouts of the arithmetic task, written by hand, and what rewards read of them."""

from collections.abc import Sequence

import torch

from dupo.config.command_line import parse
from dupo.duality.reconstruct import Ask, reconstruct
from dupo.records import Completion, Problem, Rollout
from dupo.rewards.base import RewardInputs
from dupo.tasks.base import Task
from tests.helpers.worlds import solver, task_of

# 123+456=579 and 500-321=179, in the writing of the task
PROBLEMS = [Problem("a", "#321+654=", gold="9750"), Problem("b", "#005-123=", gold="9710")]
RIGHT, WRONG, OTHER = "9750", "8750", "7750"


def completion(text: str = "", entropy: float | None = None, certainty: float | None = None) -> Completion:
    """A completion of one token."""
    return Completion(torch.tensor([1]), torch.zeros(1), text, False, entropy, certainty)


def rollout_of(*groups: Sequence[str | None]) -> Rollout:
    """The answers to each problem, as if they had been sampled."""
    completions = [[completion() for _ in group] for group in groups]
    return Rollout(PROBLEMS[: len(groups)], [[1]] * len(groups), completions, [list(g) for g in groups])


def inputs_of(
    rollout: Rollout, *options: str, ask: Ask | None = solver, seed: int = 0, task: Task | None = None
) -> RewardInputs:
    """What a reward reads; without `ask` no duals are asked."""
    config = parse(options)
    task = task or task_of(config)
    duals = reconstruct(task, rollout.problems, rollout.answers, ask) if ask else []
    length = config.rollout.max_completion_length
    return RewardInputs(task, rollout, duals, config.reward, seed, max_completion_length=length)
