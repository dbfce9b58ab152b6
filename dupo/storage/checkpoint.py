"""Checkpoints that a killed run continues from as if the run had never stopped.

    RUN/checkpoint-N/    weights and tokenizer in transformers' format, state.pt, ema.safetensors
    RUN/checkpoint-0/    the weights before RL, never pruned; written only where teaching made these weights
    RUN/latest           the name of the newest complete checkpoint

`save` writes a folder beside its place, syncs it, renames it, and moves `latest` last. So a reader finds the
old state or the new one, whenever the writer was killed. No pickled code is loaded: weights are safetensors,
state.pt is read with `weights_only=True`.
"""

import io
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from dupo.errors import UserError
from dupo.storage.files import check_room, whole_folder, write_atomic
from dupo.storage.names import FORMAT, LATEST
from dupo.storage.tensors import num_bytes, save_tensors

STATE, EMA = "state.pt", "ema.safetensors"
# Raise this number whenever a key of the state, or the order of a saved tuple, changes its meaning.


def save(
    run: Path, step: int, model: Any, tokenizer: Any, ema: nn.Module | None, state: dict[str, Any]
) -> Path:
    """Writes `checkpoint-<step>`, points `latest` at it, and returns the folder.

    Args:
        run: the folder of the run.
        step: optimizer steps done.
        model: has `save_pretrained`.
        tokenizer: has `save_pretrained`.
        ema: the moving average of the weights, if the run keeps one.
        state: tensors and plain values; `load_state` returns them. The key "format" is set here.

    Raises:
        StorageError: the disk is full, or the folder cannot be written; the checkpoints are as they were.
    """
    folder = run / f"checkpoint-{step}"
    # Asked before a byte is written: the room that is there may be needed for the rows of the run.
    check_room(folder, num_bytes(model, ema, state))
    with whole_folder(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        if ema is not None:
            save_model(ema, str(temporary / EMA))
        save_tensors({**state, "format": FORMAT}, temporary / STATE)
    write_atomic(run / LATEST, f"{folder.name}\n".encode())
    return folder


def find(run: Path, wanted: str) -> Path | None:
    """Returns the checkpoint folder that `--resume_from_checkpoint` names.

    Returns None where `latest` was asked for and the run was stopped before its first checkpoint.

    Raises:
        UserError: the folder is missing, or holds no state.pt.
    """
    if wanted != "latest":
        folder = Path(wanted)
        if not (folder / STATE).is_file():
            raise UserError(
                f"resume_from_checkpoint: expected a checkpoint folder with a {STATE}, got {wanted}"
            )
        return folder
    pointer = run / LATEST
    if not pointer.is_file():
        return None
    folder = run / pointer.read_text().strip()
    if not (folder / STATE).is_file():
        raise UserError(f"resume_from_checkpoint: {pointer} names {folder.name}, which is not there")
    return folder


def load_state(folder: Path) -> dict[str, Any]:
    """Reads the state that `save` was given, onto the CPU.

    Raises:
        UserError: the state was written in another format.
    """
    state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    # Format 1 had no key for its number.
    number = state.get("format", "1 (or none)") if isinstance(state, dict) else "none"
    if number != FORMAT:
        raise UserError(
            f"resume_from_checkpoint: {folder} has checkpoint format {number}, "
            f"this dupo reads format {FORMAT}: start the run anew"
        )
    return state


def save_plain(file: Path, state: dict[str, Any]) -> None:
    """Writes tensors and plain values into one file, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(file, buffer.getvalue())


def load_plain(file: Path) -> dict[str, Any]:
    """Reads what `save_plain` wrote, onto the CPU."""
    return torch.load(file, map_location="cpu", weights_only=True)


def load_ema(folder: Path, ema: nn.Module) -> None:
    """Loads the saved moving average into `ema`."""
    load_model(ema, str(folder / EMA))


def prune(run: Path, keep: int) -> None:
    """Deletes all but the newest `keep` checkpoints; checkpoint-0 stays."""
    # A resumed run, and runs with other rewards, start from the weights in checkpoint-0.
    for step in _steps(run)[:-keep]:
        if step > 0:
            shutil.rmtree(run / f"checkpoint-{step}")


def cut(run: Path, step: int) -> None:
    """Deletes the checkpoints after `step`, from which the run continues, and points `latest` at `step`."""
    # `latest` first: a kill in between must not leave a pointer to a deleted folder.
    write_atomic(run / LATEST, f"checkpoint-{step}\n".encode())
    for later in _steps(run):
        if later > step:
            shutil.rmtree(run / f"checkpoint-{later}")


def _steps(run: Path) -> list[int]:
    names = [folder.name.removeprefix("checkpoint-") for folder in run.glob("checkpoint-*")]
    # A user's checkpoint-mine and a killed writer's checkpoint-7.tmp are no steps.
    return sorted(int(name) for name in names if name.isdecimal())
