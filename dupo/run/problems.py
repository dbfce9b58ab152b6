"""The problems of a program that does not train, read and checked before torch is imported."""

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from dupo.config.config import Config
from dupo.data.templates import check_histories, check_template_options
from dupo.errors import UserError
from dupo.records import Problem
from dupo.run.claim import claim_folder
from dupo.tasks import make_task
from dupo.tasks.base import Task

ALL_PROBLEMS = 10**9  # more than any data set has


class RunProblems(NamedTuple):
    """What a program works on.

    Attributes:
        config: the options of the run, as its folder keeps them.
        usable: the problems of eval_dataset if there is one, else of the data set; not all may fit the model,
            and they can be read once.
        needs_duals: problems without a dual are left out, as in training.
    """

    config: Config
    task: Task
    usable: Iterator[Problem]
    needs_duals: bool


def as_kept(config: Config) -> Config:
    """The options as the folder of a run keeps them: a program that does not train decides some by itself."""
    if config.program == "train":
        return config
    # The problems of dataset are those that will be trained on; a selection has no use for others.
    if config.program == "select":
        config = config.changed(eval_dataset=None)
    # Nothing is held out of the data; of another data set, as many problems are held out as are wanted.
    num_held_out = (config.selection.num_problems or ALL_PROBLEMS) if config.task.eval_dataset else 0
    return config.changed(eval_size=num_held_out)


def read_run_problems(config: Config) -> RunProblems:
    """Claims the folder of the run, makes the task and chooses the problems.

    Raises:
        UserError: the folder or the data cannot be used.
    """
    config = as_kept(config)
    # With the options that the folder keeps; and a folder that is refused must not wait for the data.
    claim_folder(config)
    # The template of a server is known to the server alone.
    has_own_template = not config.holds_no_model
    if has_own_template:
        check_template_options(config.model)
    task = make_task(config.task, config.run.seed)
    # Without a dual there is nothing to select, and no reward to audit; an answer can still be chosen.
    asks_duals = {"select": True, "audit": config.reward.needs("duals")}
    needs_duals = asks_duals.get(config.program, False)
    if config.task.dataset is not None and has_own_template:
        is_apart = config.task.eval_dataset is not None
        check_histories(config.model, task.held_out if is_apart else task.problems)
    return RunProblems(config, task, _usable(config, task, needs_duals), needs_duals)


def _usable(config: Config, task: Task, needs_duals: bool) -> Iterator[Problem]:
    is_apart = config.task.eval_dataset is not None
    problems = task.held_out if is_apart else task.problems
    usable = (problem for problem in problems if not needs_duals or task.duals(problem))
    # Finding duals takes time, so the other problems wait until they are wanted.
    first = next(usable, None)
    if first is None:
        name = "eval_dataset" if is_apart else "dataset"
        need = "a dual" if len(problems) else "a right answer"
        raise UserError(f"{name}: expected problems with {need}, got none: {'; '.join(task.notes)}")
    return chain([first], usable)
