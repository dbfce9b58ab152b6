"""The duals that `python -m dupo.select` kept, in place of all that a task can make."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dupo.data.columns import SURROGATE
from dupo.data.files import read_jsonl
from dupo.errors import UserError
from dupo.records import Dual, Problem
from dupo.user_files import is_file, is_folder

KEPT_FILE = "kept.jsonl"  # in the folder of a selection; one dual a line: text, known, unknown, variable


class SelectedDuals:
    """A task that asks selected duals only; problems without a selected dual are left out of training.

    Held-out problems have all their duals: what is measured there must not depend on the selection.

    Args:
        task: the task whose duals were selected.
        duals_by_text: text of a problem -> its selected duals.
        max_duals: most duals of one problem; 0: all.
    """

    def __init__(self, task: Any, duals_by_text: Mapping[str, list[Dual]], max_duals: int = 0) -> None:
        self.task, self.duals_by_text, self.max_duals = task, duals_by_text, max_duals or None
        self.train: Sequence[Problem] = [p for p in task.train if p.text in duals_by_text]
        # A text tells the two sets apart, because no held-out text stands in train.
        self.held_out_texts = {problem.text for problem in task.held_out}
        note = f"{len(self.train):,} of {len(task.train):,} training problems have a selected dual"
        self.notes = [*task.notes, note]

    def duals(self, problem: Problem) -> list[Dual]:
        """The selected duals of a training problem, all duals of a held-out one."""
        if problem.text in self.held_out_texts:
            return self.task.duals(problem)
        return self.duals_by_text.get(problem.text, [])[: self.max_duals]

    def __getattr__(self, name: str) -> Any:
        # Prompts, answers and distances are those of the task.
        return getattr(self.task, name)


def read_selected_duals(folder: str) -> dict[str, list[Dual]]:
    """Reads the selected duals of each problem, by the text of the problem.

    Args:
        folder: the folder of a selection, or the file in it.

    Raises:
        UserError: no such file, or it is not the file of a selection.
    """
    path = Path(folder) / KEPT_FILE if is_folder(folder) else Path(folder)
    if not is_file(path):
        raise UserError(f"selected_duals: expected the folder of a finished dupo.select, got no {path}")
    # A selection that kept nothing wrote an empty file, which `read_jsonl` refuses.
    rows = read_jsonl(path) if path.stat().st_size else []
    duals_by_text: dict[str, list[Dual]] = {}
    for row in rows:
        missing = [name for name in ("text", "known", "unknown", "variable") if name not in row]
        if missing:
            actual = f"{path}, which has a line without {missing[0]!r}"
            raise UserError(f"selected_duals: expected {missing[0]!r} in every line, got {actual}")
        wrong = [name for name in ("text", "known", "unknown", "variable") if not isinstance(row[name], str)]
        if wrong:
            actual = f"another value on line {row.number} of {path}"
            raise UserError(f"selected_duals: expected text in {wrong[0]!r}, got {actual}")
        # No tokenizer takes half a surrogate pair, and nothing can be recovered where nothing is hidden.
        broken = [name for name in ("text", "known", "unknown", "variable") if SURROGATE.search(row[name])]
        broken += [name for name in ("text", "unknown") if not row[name].strip()]
        if broken:
            actual = f"none, or half a surrogate pair, on line {row.number} of {path}"
            raise UserError(f"selected_duals: expected text in {broken[0]!r}, got {actual}")
        dual = Dual(row["known"], row["unknown"], row["variable"])
        duals_by_text.setdefault(row["text"], []).append(dual)
    return duals_by_text
