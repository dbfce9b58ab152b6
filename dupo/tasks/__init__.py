"""Tasks: what to ask, how to read an answer, and how to turn the answer back into the question."""

from collections.abc import Mapping

from dupo.config.catalogue import TASKS, load
from dupo.config.task_options import TaskOptions
from dupo.errors import UserError
from dupo.records import Dual
from dupo.tasks.base import Task, as_task
from dupo.tasks.selected_duals import SelectedDuals, read_selected_duals


def make_task(options: TaskOptions, seed: int) -> Task:
    """Makes the task that `options.task` names; its data are read and checked.

    Raises:
        UserError: the data cannot be used.
    """
    task: Task = load(TASKS[options.task].path)(options, seed)
    if options.selected_duals is None:
        return task
    duals_by_text = read_selected_duals(options.selected_duals)
    chosen = with_duals(task, duals_by_text, options.duals_per_prompt)
    if not chosen.train:
        expected = "duals of the training problems"
        raise UserError(f"selected_duals: expected {expected}, got none in {options.selected_duals}")
    return chosen


def with_duals(task: Task, duals_by_text: Mapping[str, list[Dual]], max_duals: int = 0) -> Task:
    """Returns the task with other duals.

    Args:
        duals_by_text: text of a problem -> its duals; problems without a dual are left out of training.
        max_duals: most duals of one problem; 0: all.
    """
    return as_task(SelectedDuals(task, duals_by_text, max_duals))
