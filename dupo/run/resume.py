"""Which checkpoint a run continues from. Everything is looked at before anything is loaded, written or moved.

A checkpoint is accepted if its files have their checksums, and if it belongs to this run: the same settings,
the same inputs, and the rows that the files of the run start with. A checkpoint that is not accepted is one
line, which offers the newest other one that is; nothing is taken in its place without being asked.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dupo.config.config import Config
from dupo.config.layers import changed_settings, fixed_settings
from dupo.errors import UserError
from dupo.storage import checkpoint
from dupo.storage.checksums import RowsSoFar, broken_rows, cut_rows, rows_so_far
from dupo.storage.commands import resume_command
from dupo.storage.files import retire
from dupo.storage.names import CONFIG, MERGED, REPORT, ROLLOUTS, SUMMARY


class Accepted(NamedTuple):
    """A checkpoint that was looked at.

    Attributes:
        step: optimizer steps done.
        rows: file of rows -> its length and checksum when the checkpoint was written.
        signature: what the checkpoint was made by.
    """

    folder: Path
    step: int
    rows: Mapping[str, RowsSoFar]
    signature: Mapping[str, str]


def choose_checkpoint(run: Path, wanted: str, config: Config, inputs: Mapping[str, str]) -> Accepted | None:
    """The checkpoint that `--resume_from_checkpoint` names. Touches nothing.

    Args:
        run: the folder of the run.
        wanted: `latest`, or the folder of a checkpoint.
        inputs: fingerprints of what the run reads now.

    Returns:
        None where `latest` was asked for and the run was stopped before its first checkpoint.

    Raises:
        UserError: the checkpoint is missing, damaged, or of another run.
    """
    if wanted == "latest":
        try:
            folder = checkpoint.latest(run)
        except UserError as problem:
            raise UserError(f"resume_from_checkpoint: {problem}{offer(run, None, config, inputs)}") from None
        if folder is None:
            return None
    else:
        folder = Path(wanted)
        if not (folder / checkpoint.STATE).is_file() or checkpoint.step_of(folder) is None:
            expected = f"a checkpoint folder with a {checkpoint.STATE}"
            rest = offer(run, folder, config, inputs)
            raise UserError(f"resume_from_checkpoint: expected {expected}, got {wanted}{rest}")
        # Rows, and the weights before RL, are those of the run that the checkpoint stands in.
        if folder.resolve().parent != run.resolve():
            raise UserError(f"resume_from_checkpoint: expected a checkpoint of {run}, got {wanted}")
        folder = run / folder.name
    accepted = check_checkpoint(run, folder, config, inputs)
    if isinstance(accepted, str):
        rest = offer(run, folder, config, inputs)
        raise UserError(f"resume_from_checkpoint: {folder} cannot be continued: {accepted}{rest}")
    return accepted


def check_checkpoint(run: Path, folder: Path, config: Config, inputs: Mapping[str, str]) -> Accepted | str:
    """The checkpoint if it is whole and belongs to this run; else what is wrong, in a few words."""
    state, complaint = checkpoint.read_checked(folder)
    if state is None:
        return complaint
    if differences := changed_settings(state["settings"], fixed_settings(config)):
        return f"it has other settings than {CONFIG}: {'; '.join(differences)}"
    if state["inputs"] != dict(inputs):
        return "it belongs to a run with other data or another model"
    try:
        rows = {name: RowsSoFar.from_json(state["rows"][name]) for name in checkpoint.ROW_FILES}
    except (KeyError, ValueError):
        return f"{checkpoint.STATE} has no usable rows"
    complaints = (broken_rows(run / name, saved) for name, saved in rows.items())
    if complaint := next(filter(None, complaints), None):
        return complaint
    return Accepted(folder, state["step"], rows, state["signature"])


def signature_changes(signature: Mapping[str, str], accepted: Accepted | None) -> str:
    """What computes a run now and did not when its checkpoint was written, in words; empty for nothing."""
    if accepted is None:
        return ""
    alone = {"ranks": "1"}  # a run of one process does not name it
    now, saved = alone | dict(signature), alone | dict(accepted.signature)
    # Options that are free on resume change their hash; everything else can change what is computed.
    names = [name for name in saved if name != "config" and saved[name] != now.get(name)]
    return ", ".join(f"{name} {saved[name]} is now {now.get(name)}" for name in names)


def rows_of(run: Path) -> dict[str, dict[str, Any]]:
    """What a checkpoint remembers of the rows that the run has written."""
    return {name: rows_so_far(run / name).to_json() for name in checkpoint.ROW_FILES}


def restore_files(run: Path, accepted: Accepted, is_over: bool) -> Path | None:
    """Makes the files of the run those of the checkpoint. Call it last: this is the first change.

    Args:
        is_over: no step is left to make.

    Returns:
        Where newer checkpoints and rows were set aside; None where there were no newer checkpoints.
    """
    if not is_over:
        # First: whoever reads the folder takes a summary for the end of the run, also after a kill in here.
        (run / SUMMARY).unlink(missing_ok=True)
        (run / REPORT).unlink(missing_ok=True)
    # Of whatever step it is: the end of the run writes it anew.
    if (run / MERGED).exists():
        shutil.rmtree(retire(run / MERGED), ignore_errors=True)
    aside = checkpoint.set_aside(run, accepted.step)
    # They were sampled by weights that are set aside.
    if aside is not None and (run / ROLLOUTS).is_dir():
        (run / ROLLOUTS).rename(aside / ROLLOUTS)
    checkpoint.point_latest(run, accepted.step)
    for name, saved in accepted.rows.items():
        cut_rows(run / name, saved)
    return aside


def offer(run: Path, refused: Path | None, config: Config, inputs: Mapping[str, str]) -> str:
    """Ends a refusal with the newest checkpoint that can be continued, and the command that does so.

    Args:
        refused: the checkpoint that cannot.
    """
    for step in reversed(checkpoint.steps(run)):
        folder = run / f"checkpoint-{step}"
        # The one that was refused may have been named by another path.
        is_refused = refused is not None and folder.resolve() == refused.resolve()
        if not is_refused and isinstance(check_checkpoint(run, folder, config, inputs), Accepted):
            return f"; {folder.name} is sound, go on from it with: {resume_command(run, folder)}"
    return "; no other checkpoint of the run can be continued: start anew"
