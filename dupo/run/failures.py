"""What is left of a step that was not finite."""

import json
from pathlib import Path
from typing import Any

from dupo.records import StepBatch, Trajectory
from dupo.storage import checkpoint
from dupo.storage.files import write_atomic


def write_failure(folder: Path, step: int, batch: StepBatch | None) -> Path:
    """Writes nonfinite-<step>.json with the batch of the step, and returns its path.

    Args:
        batch: None where the step failed before there was a batch.
    """
    trajectories = batch.trajectories if batch else []
    row = {
        "step": step,
        "problems": [trajectory.problem for trajectory in trajectories],
        "batch": [_plain(trajectory) for trajectory in trajectories],
    }
    file = folder / f"nonfinite-{step}.json"
    # Not checked for NaN: this file is written because something is not finite.
    write_atomic(file, json.dumps(row).encode())
    return file


def last_sound(run: Path) -> str:
    """Says in words which checkpoint is from before the weights were not finite."""
    saved = checkpoint.steps(run)
    rest = f"checkpoint-{saved[-1]} is from before it" if saved else "no checkpoint is from before it"
    return f"it left weights that are not finite and not saved; {rest}"


def _plain(trajectory: Trajectory) -> dict[str, Any]:
    """The trajectory with lists in place of tensors."""
    values = trajectory._asdict()
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in values.items()}
