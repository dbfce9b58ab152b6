"""Fingerprints of the data of a task, made by reading or on the spot."""

from collections.abc import Mapping, Sequence

from dupo.data.fingerprints import duals_fingerprint, problems_fingerprint
from dupo.records import Dual, Problem
from dupo.tasks.base import Task


def task_fingerprints(task: Task, train: Sequence[Problem]) -> Mapping[str, str]:
    """Name -> fingerprint of the problems of a run, and of the duals that were selected for them.

    Args:
        train: the training problems as the run sees them: a label that nobody reads is not looked at here.
    """
    # A built-in task has no file, but its problems follow from its code and from Python's random numbers.
    inputs = {
        "the data set": problems_fingerprint(train),
        "the held-out problems": problems_fingerprint(task.held_out),
    }
    # A task may be wrapped in another one, which passes on what it does not have.
    duals_by_text: Mapping[str, Sequence[Dual]] | None = getattr(task, "duals_by_text", None)
    if duals_by_text is not None:
        inputs["the selected duals"] = duals_fingerprint(duals_by_text)
    return inputs
