"""Tasks: what to ask, how to read an answer, and how to turn the answer back into the question."""

from collections.abc import Mapping
from typing import cast

from dupo.config.catalogue import TASKS, load
from dupo.config.options import TaskOptions
from dupo.errors import UserError
from dupo.records import Dual
from dupo.tasks.base import Task
from dupo.tasks.selected_duals import SelectedDuals, read_kept


def make_task(options: TaskOptions, seed: int) -> Task:
    """Makes the task that `options.task` names; its data are read and checked.

    Raises:
        UserError: the data cannot be used.
    """
    task: Task = load(TASKS[options.task].path)(options, seed)
    if options.selected_duals is None:
        return task
    chosen = with_duals(task, read_kept(options.selected_duals), options.duals_per_prompt)
    if not chosen.train:
        raise UserError(f"selected_duals: {options.selected_duals} keeps no dual of the training problems")
    return chosen


def with_duals(task: Task, kept: Mapping[str, list[Dual]], most: int = 0) -> Task:
    """The same task with the duals `kept` (by the text of the problem) and no others, `most` a problem (0: all)."""
    return cast(Task, SelectedDuals(task, kept, most))
