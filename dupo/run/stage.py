"""Runs the stage before a method: resumable, and asked to stop without losing a step."""

from collections.abc import Callable, Mapping
from pathlib import Path

from dupo.errors import UserError
from dupo.methods.base import Stage
from dupo.storage.checkpoint import load_plain, save_plain
from dupo.views.terminal import Display


def run_stage(
    stage: Stage,
    file: Path,
    display: Display,
    interrupted: Callable[[], bool],
    origin: Mapping[str, str],
) -> bool:
    """Runs the stage to its end.

    Args:
        file: the state of a stage that was stopped; read at the start, written when the stage is stopped.
        interrupted: whether the run was asked to stop.
        origin: settings and inputs of the run; a state of another run is refused.

    Returns:
        False if the stage was stopped; its state is then in `file`.

    Raises:
        UserError: the file is damaged, or of another run.
    """
    if file.exists():
        _continue(stage, file, origin)
        display.note(f"resumed the {stage.name} after step {stage.steps}")
    while not stage.finished():
        # Asked before the step: the state that is saved is one that a step starts from.
        if interrupted():
            save_plain(file, origin, stage.state())
            display.note(f"Stopped in the {stage.name}, after step {stage.steps}; saved.")
            return False
        if note := stage.step():
            display.note(note)
    display.note(stage.finish())
    return True


def _continue(stage: Stage, file: Path, origin: Mapping[str, str]) -> None:
    """Loads the state of a stage that was stopped."""
    state = load_plain(file, origin)
    try:
        stage.load_state(state)
    # The checksum was right, so another revision wrote the state.
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as problem:
        raise UserError(f"{file} does not fit this run ({problem!r}): remove it to start anew") from problem
