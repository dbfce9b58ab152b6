"""Runs the stage before a method: resumable, and asked to stop without losing a step."""

from collections.abc import Callable
from pathlib import Path

from dupo.methods.base import Stage
from dupo.storage.checkpoint import load_plain, save_plain
from dupo.views.terminal import Display


def run_stage(stage: Stage, file: Path, display: Display, interrupted: Callable[[], bool]) -> bool:
    """Runs the stage to its end.

    Args:
        file: the state of a stage that was stopped; read at the start, written when the stage is stopped.
        interrupted: whether the run was asked to stop.

    Returns:
        False if the stage was stopped; its state is then in `file`.
    """
    if file.is_file():
        stage.load_state(load_plain(file))
        display.note(f"resumed the {stage.name} after step {stage.steps}")
    while not stage.finished():
        # Asked before the step: the state that is saved is one that a step starts from.
        if interrupted():
            save_plain(file, stage.state())
            display.note(f"Stopped in the {stage.name}, after step {stage.steps}; saved.")
            return False
        if note := stage.step():
            display.note(note)
    display.note(stage.finish())
    return True
