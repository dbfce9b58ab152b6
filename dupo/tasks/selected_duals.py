"""The duals that `python -m dupo.select` kept, in place of all that a task can make."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dupo.data.files import read_jsonl
from dupo.errors import UserError
from dupo.records import Dual, Problem

KEPT_FILE = "kept.jsonl"  # in the folder of a selection; one dual a line: text, known, unknown, variable


class SelectedDuals:
    """A task that asks kept duals only; problems without one are left out of training.

    Held-out problems have all their duals: what is measured there must not depend on the selection.
    """

    def __init__(self, task: Any, kept: Mapping[str, list[Dual]], most: int = 0) -> None:
        self.task, self.kept, self.most = task, kept, most or None
        self.train: Sequence[Problem] = [p for p in task.train if p.text in kept]
        self.measured = {p.text for p in task.held_out}
        left = f"{len(self.train):,} of {len(task.train):,} training problems have a selected dual"
        self.notes = [*task.notes, left]

    def duals(self, problem: Problem) -> list[Dual]:
        if problem.text in self.measured:
            return self.task.duals(problem)
        return self.kept.get(problem.text, [])[: self.most]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)


def read_kept(folder: str) -> dict[str, list[Dual]]:
    """Text of a problem -> its kept duals. `folder`: of a selection, or the file in it.

    Raises:
        UserError: no such file, or it is not one of a selection.
    """
    path = Path(folder) / KEPT_FILE if Path(folder).is_dir() else Path(folder)
    if not path.is_file():
        raise UserError(f"selected_duals: expected the folder of a finished dupo.select, got no {path}")
    found: dict[str, list[Dual]] = {}
    for row in read_jsonl(path) if path.stat().st_size else ():
        try:
            found.setdefault(row["text"], []).append(Dual(row["known"], row["unknown"], row["variable"]))
        except KeyError as missing:
            raise UserError(f"selected_duals: {path} has a line without {missing.args[0]!r}") from None
    return found
