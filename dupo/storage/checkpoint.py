"""Checkpoints that a killed run continues from as if nothing had happened.

    RUN/checkpoint-N/    weights and tokenizer in transformers' format, state.pt, ema.safetensors
    RUN/checkpoint-0/    the same before RL, kept for good; only where a warm-up made the weights
    RUN/latest           the name of the newest complete checkpoint

A folder is written beside its place, synced, then renamed; `latest` moves last. So a reader finds either the
old state or the new one, whenever the writer was killed. No pickled code: safetensors and `weights_only`.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from dupo.errors import UserError
from dupo.storage.files import write_atomic
from dupo.storage.names import LATEST

STATE, EMA = "state.pt", "ema.safetensors"


def save(
    run: Path, step: int, model: Any, tokenizer: Any, ema: nn.Module | None, state: dict[str, Any]
) -> Path:
    """Writes `checkpoint-<step>` and points `latest` at it. `state` holds tensors and plain values."""
    folder = run / f"checkpoint-{step}"
    temporary = run / f"{folder.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    if ema is not None:
        save_model(ema, str(temporary / EMA))
    torch.save(state, temporary / STATE)
    for file in [*temporary.rglob("*"), temporary]:
        _sync(file)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    _sync(run)
    write_atomic(run / LATEST, f"{folder.name}\n".encode())
    return folder


def find(run: Path, wanted: str) -> Path | None:
    """The checkpoint that `--resume_from_checkpoint` means; None where `latest` was asked for and the run
    was stopped before its first one."""
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
    return torch.load(folder / STATE, map_location="cpu", weights_only=True)


def load_ema(folder: Path, ema: nn.Module) -> None:
    load_model(ema, str(folder / EMA))


def prune(run: Path, keep: int) -> None:
    """Deletes all but the newest `keep` checkpoints; checkpoint-0 stays."""
    for step in _steps(run)[:-keep]:
        if step > 0:
            shutil.rmtree(run / f"checkpoint-{step}")


def cut(run: Path, step: int) -> None:
    """Forgets the checkpoints after `step`: the run goes on from there, and they are of another future."""
    write_atomic(run / LATEST, f"checkpoint-{step}\n".encode())
    for later in _steps(run):
        if later > step:
            shutil.rmtree(run / f"checkpoint-{later}")


def _steps(run: Path) -> list[int]:
    names = [folder.name.removeprefix("checkpoint-") for folder in run.glob("checkpoint-*")]
    return sorted(int(name) for name in names if name.isdecimal())


def _sync(path: Path) -> None:
    if path.is_dir() and os.name != "posix":  # Windows cannot open a folder
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
