"""The page of any folder that a program of dupo wrote."""

from collections.abc import Sequence
from pathlib import Path

from dupo.errors import UserError
from dupo.storage.names import SUMMARY, program_of
from dupo.user_files import check_is_path
from dupo.views.audit_page import write_audit
from dupo.views.compare_page import write_comparison
from dupo.views.rerank_page import write_answers
from dupo.views.run_page import write_report

_WRITERS = {"audit": write_audit, "rerank": write_answers}


def write_page(runs: Sequence[Path], output: str | None) -> Path:
    """Writes the page of one folder into the folder, or the page that compares several into `output`.

    Raises:
        UserError: the folders have no such page, or the output cannot be one.
    """
    if len(runs) == 1:
        if output is not None:
            raise UserError(f"output: expected several runs beside it, got one: its page lies in {runs[0]}")
        return write_folder_page(runs[0])
    # A slip of the keyboard must not write a page over what a run has measured.
    if output is not None and not output.endswith(".html"):
        raise UserError(f"output: expected a name that ends in .html, got {output}")
    return write_comparison(runs, Path(output or "comparison.html"))


def write_folder_page(folder: Path) -> Path:
    """Writes the page of a folder into the folder, and returns its path.

    Raises:
        UserError: the folder is none of dupo's, has no page, or its program has not finished.
    """
    check_is_path(folder)
    program = program_of(folder)
    if program == "select":
        raise UserError(
            f"{folder} holds a selection of duals, which has no page: {SUMMARY} has its figures, and "
            "kept.jsonl the duals"
        )
    # A folder without settings may hold the rows of a training run.
    return _WRITERS.get(program or "train", write_report)(folder)
