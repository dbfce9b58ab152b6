"""The problems of a program that does not train, read and checked before torch is imported."""

from itertools import islice
from typing import NamedTuple

from dupo.config.config import Config
from dupo.errors import UserError
from dupo.records import Problem
from dupo.tasks import make_task
from dupo.tasks.base import Task

ALL_PROBLEMS = 10**9  # more than any data set has


class RunProblems(NamedTuple):
    """What a program works on.

    Attributes:
        config: the options of the run, as its folder keeps them.
        problems: those of eval_dataset if there is one, else the first of the data set.
    """

    config: Config
    task: Task
    problems: list[Problem]


def read_run_problems(config: Config) -> RunProblems:
    """Makes the task and chooses the problems.

    Raises:
        UserError: the data cannot be used.
    """
    # The problems of dataset are those that will be trained on; a selection has no use for others.
    if config.program == "select":
        config = config.changed(eval_dataset=None)
    # Nothing is held out of the data; of another data set, as many problems are held out as are wanted.
    num_held_out = (config.selection.num_problems or ALL_PROBLEMS) if config.task.eval_dataset else 0
    config = config.changed(eval_size=num_held_out)
    task = make_task(config.task, config.run.seed)
    return RunProblems(config, task, _problems(config, task))


def _problems(config: Config, task: Task) -> list[Problem]:
    # Without a dual there is nothing to select, and no reward to audit; an answer can still be chosen.
    asks_duals = {"select": True, "audit": config.reward.needs("duals")}
    needs_duals, is_apart = asks_duals.get(config.program, False), config.task.eval_dataset is not None
    problems = task.held_out if is_apart else task.problems
    usable = (problem for problem in problems if not needs_duals or task.duals(problem))
    # Finding duals takes time, so no more problems are looked at than are wanted.
    chosen = list(islice(usable, config.selection.num_problems or None))
    if not chosen:
        name, need = ("eval_dataset", "a right answer") if is_apart else ("dataset", "a dual")
        raise UserError(f"{name}: expected problems with {need}, got none: {'; '.join(task.notes)}")
    return chosen
