"""Runs the stage before a method: resumable, and asked to stop without losing a step."""

from collections.abc import Callable, Mapping
from pathlib import Path

from dupo.distributed.ranks import ALONE, Ranks
from dupo.errors import UserError, in_one_line
from dupo.methods.base import Stage
from dupo.storage.checkpoint import load_stage, save_stage
from dupo.views.progress import Plan
from dupo.views.terminal import Display

LINE_EVERY = 100  # steps, where there is no terminal


def run_stage(
    stage: Stage,
    file: Path,
    display: Display,
    interrupted: Callable[[], bool],
    inputs: Mapping[str, str],
    ranks: Ranks = ALONE,
) -> bool:
    """Runs the stage to its end. Every rank runs all of it: a stage is as small as the built-in model.

    Args:
        file: the state of a stage that was stopped; read at the start, written when the stage is stopped.
        interrupted: whether the run was asked to stop.
        inputs: fingerprints of what the run reads; a state of another run is refused.

    Returns:
        False if the stage was stopped; its state is then in `file`.

    Raises:
        UserError: the file is damaged, or of another run.
    """
    if ranks.on_first(file.exists):
        _continue(stage, file, inputs)
        display.note(f"resumed the {stage.name} after step {stage.steps}")
    if not stage.finished() and not _run(stage, file, display, interrupted, inputs, ranks):
        return False
    display.note(stage.finish())
    return True


def _run(
    stage: Stage,
    file: Path,
    display: Display,
    interrupted: Callable[[], bool],
    inputs: Mapping[str, str],
    ranks: Ranks,
) -> bool:
    """Makes the steps of a stage; False if the stage was stopped."""
    plan = Plan(stage.most_steps, stage.steps, title=stage.name, is_most=True, line_every=LINE_EVERY)
    with display.progress(plan) as progress:
        while not stage.finished():
            # Asked before the step: the state that is saved is one that a step starts from.
            if interrupted():
                ranks.on_first(lambda: save_stage(file, inputs, stage.state()))
                display.note(f"Stopped in the {stage.name}, after step {stage.steps}; saved.")
                return False
            words = stage.step()
            progress.update(stage.steps, {}, words)
    return True


def _continue(stage: Stage, file: Path, inputs: Mapping[str, str]) -> None:
    """Loads the state of a stage that was stopped."""
    state = load_stage(file, inputs)
    try:
        stage.load_state(state)
    # The checksum was right, so another revision wrote the state.
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as problem:
        reason = in_one_line(problem, kind=True)
        raise UserError(
            f"{file} does not fit this run ({reason}): remove it to start the teaching anew"
        ) from problem
