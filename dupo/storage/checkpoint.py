"""Checkpoints that a killed run continues from as if the run had never stopped.

    RUN/checkpoint-N/    weights and tokenizer in transformers' format, state.pt, ema.safetensors, SHA256SUMS
                         with adapters (LoRA): adapter_config.json and adapter_model.safetensors of peft
                         of several ranks: shards/ in place of ema.safetensors and the state of the optimizer
    RUN/checkpoint-0/    the weights before RL, never pruned; written only where teaching made these weights
    RUN/latest           the name of the newest complete checkpoint
    RUN/set-aside-N/     the run as it was before an older checkpoint was resumed

`save` writes a folder beside its place, syncs it, renames it, and moves `latest` last. So a reader finds the
old state or the new one, whenever the writer was killed. What is deleted is renamed first: half a folder
never bears the name of a checkpoint. No pickled code is loaded: weights are safetensors, state.pt is read
with `weights_only=True`, after the checksums of all files were compared.
"""

import hashlib
import io
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_model

from dupo.errors import UserError
from dupo.storage.checksums import broken_sums, write_sums
from dupo.storage.files import check_disk_space, retire, sync, whole_folder, write_atomic, writing
from dupo.storage.names import CONFIG, FORMAT, INPUTS, LATEST, METRICS, SAMPLES, TIMINGS
from dupo.storage.shards import SHARDS
from dupo.storage.tensors import num_bytes, save_tensors

STATE, EMA = "state.pt", "ema.safetensors"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
ROW_FILES = (METRICS, SAMPLES, TIMINGS)
# What a state holds, and what each value is. Raise FORMAT in names.py whenever one changes its meaning.
STATE_KEYS: dict[str, type] = {
    "step": int, "settings": dict, "inputs": dict, "rows": dict,
    "record": dict, "method": dict, "optimizer": dict, "signature": dict,
}  # fmt: skip
_NAME = re.compile(r"checkpoint-(0|[1-9][0-9]*)")
_LEFTOVER = re.compile(r"checkpoint-[0-9]+\.(tmp|gone|shards)")  # half written, half removed
_DIGEST = 32  # bytes of a sha256


def new_shards(run: Path, step: int, size: int) -> Path:
    """Makes an empty folder for the shards of `checkpoint-<step>`, which `save` moves into the checkpoint.

    Args:
        size: bytes of all shards.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    folder = run / f"checkpoint-{step}.shards"
    check_disk_space(run / f"checkpoint-{step}", size)
    with writing(folder):
        shutil.rmtree(folder, ignore_errors=True)  # of a save that was killed
        folder.mkdir()
    return folder


def save(
    run: Path,
    step: int,
    model: Any,
    tokenizer: Any,
    ema: Any,
    state: dict[str, Any],
    *,
    shards: Path | None = None,
) -> Path:
    """Writes `checkpoint-<step>`, points `latest` at it, and returns the folder.

    Args:
        run: the folder of the run.
        step: optimizer steps done.
        model: has `save_pretrained` and `state_dict`: a model, or its adapters.
        tokenizer: has `save_pretrained`.
        ema: the moving average of the weights, a model or its `Snapshot`; None: the run keeps none.
        state: tensors and plain values; `load_state` returns them. The key "format" is set here.
        shards: folder with the tensors of all ranks, which moves into the checkpoint.

    Raises:
        StorageError: the disk is full, or the folder cannot be written; the checkpoints are as they were.
    """
    folder = run / f"checkpoint-{step}"
    # Asked before a byte is written: the room that is there may be needed for the rows of the run.
    check_disk_space(folder, num_bytes(model, ema, state))
    with whole_folder(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        if shards is not None:
            shards.rename(temporary / SHARDS)
        if ema is not None:
            save_model(ema, str(temporary / EMA))
        save_tensors({**state, "format": FORMAT}, temporary / STATE)
        write_sums(temporary)
    point_latest(run, step)
    return folder


def point_latest(run: Path, step: int) -> None:
    """Makes `latest` name `checkpoint-<step>`, in one step."""
    write_atomic(run / LATEST, f"checkpoint-{step}\n".encode())


def step_of(folder: Path) -> int | None:
    """The step of a folder that bears the name of a checkpoint; None for any other name."""
    match = _NAME.fullmatch(folder.name)
    return int(match[1]) if match else None


def steps(run: Path) -> list[int]:
    """The steps that have a checkpoint, in order."""
    # A user's checkpoint-mine and a killed writer's checkpoint-7.tmp are no steps.
    names = (step_of(folder) for folder in run.glob("checkpoint-*") if folder.is_dir())
    return sorted(step for step in names if step is not None)


def latest(run: Path) -> Path | None:
    """The checkpoint that `latest` names; None where the run was stopped before its first checkpoint.

    Raises:
        UserError: `latest` is damaged, or names no checkpoint of this run.
    """
    pointer, saved = run / LATEST, steps(run)
    if not pointer.exists() and not pointer.is_symlink():
        # The first save may have been killed before it wrote `latest`: one checkpoint needs no pointer.
        if len(saved) > 1:
            raise UserError(f"{pointer} is gone")
        return run / f"checkpoint-{saved[0]}" if saved else None
    try:
        name = pointer.read_bytes().decode("utf-8", "replace").removesuffix("\n")
    except OSError as problem:
        raise UserError(f"{pointer} cannot be read: {problem.strerror}") from None
    # A name and nothing else: a path would lead out of the run.
    if step_of(Path(name)) is None or Path(name).name != name:
        raise UserError(f"{pointer} is damaged: expected the name of a checkpoint, got {name[:40]!r}")
    if not (run / name).is_dir():
        raise UserError(f"{pointer} names {name}, which is not there")
    return run / name


def read_checked(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """Compares all files of a checkpoint with their checksums and looks at its state.

    Returns:
        What the state holds beside tensors, and ""; or None, and what is wrong in a few words.
    """
    # Adapters have no config.json: the shape is that of the model beneath.
    is_adapter = (folder / "adapter_config.json").is_file()
    needed = ADAPTER_FILES if is_adapter else ("config.json",)
    if complaint := broken_sums(folder, STATE, *needed):
        return None, complaint
    try:
        # Mapped, so that tensors stay on the disk: the optimizer may need more memory than there is left.
        state = torch.load(folder / STATE, map_location="cpu", weights_only=True, mmap=True)
    except Exception as problem:  # torch raises ten kinds for a broken file, most of them undocumented
        return None, f"{STATE} cannot be read ({type(problem).__name__})"
    # Format 1 had no key for its number.
    number = state.get("format", "1 (or none)") if isinstance(state, dict) else "none"
    if number != FORMAT:
        return None, f"it has checkpoint format {number}, this dupo reads format {FORMAT}"
    wrong = [name for name, kind in STATE_KEYS.items() if type(state.get(name)) is not kind]
    if wrong:
        return None, f"{STATE} has no usable {wrong[0]}"
    if state["step"] != step_of(folder):
        return None, f"{STATE} is of step {state['step']}"
    return {name: state[name] for name in STATE_KEYS if name not in ("method", "optimizer")}, ""


def load_state(folder: Path) -> dict[str, Any]:
    """Reads the state that `save` was given, onto the CPU; `read_checked` must have accepted the folder."""
    return torch.load(folder / STATE, map_location="cpu", weights_only=True)


# --- the stage before a method ---


def save_stage(file: Path, inputs: Mapping[str, str], state: dict[str, Any]) -> None:
    """Writes tensors and plain values of a stage into one file, whole or not at all.

    Args:
        inputs: fingerprints of what the run reads that the file belongs to.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "inputs": dict(inputs), "state": state}, buffer)
    data = buffer.getvalue()
    # The checksum is the end of the file itself: two files could not be replaced in one step.
    write_atomic(file, data + hashlib.sha256(data).digest())


def load_stage(file: Path, inputs: Mapping[str, str]) -> dict[str, Any]:
    """Reads what `save_stage` wrote, onto the CPU.

    Raises:
        UserError: the file is damaged, or belongs to a run of other settings or inputs.
    """
    anew = "remove it to start the teaching anew"
    try:
        data = file.read_bytes()
    except OSError as problem:
        raise UserError(f"{file} cannot be read ({problem.strerror}): {anew}") from None
    data, digest = data[:-_DIGEST], data[-_DIGEST:]
    if hashlib.sha256(data).digest() != digest:
        raise UserError(f"{file} is not what was saved (its sha256 differs): {anew}")
    try:
        saved = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as problem:  # as in `read_checked`
        raise UserError(f"{file} cannot be read ({type(problem).__name__}): {anew}") from None
    if (
        not isinstance(saved, dict)
        or saved.get("format") != FORMAT
        or not isinstance(saved.get("state"), dict)
    ):
        raise UserError(f"{file} was written by another dupo: {anew}")
    if saved.get("inputs") != dict(inputs):
        raise UserError(f"{file} is of a run with other settings or other inputs: {anew}")
    return saved["state"]


# --- old and newer checkpoints ---


def prune(run: Path, keep: int) -> None:
    """Deletes all but the newest `keep` checkpoints, and what a kill left; checkpoint-0 stays."""
    # A resumed run, and runs with other rewards, start from the weights in checkpoint-0.
    for step in steps(run)[:-keep]:
        if step > 0:
            retire(run / f"checkpoint-{step}")
    # Those of a killed call as well: nobody else writes into the folder of a run.
    for leftover in run.glob("checkpoint-*"):
        if _LEFTOVER.fullmatch(leftover.name):
            shutil.rmtree(leftover, ignore_errors=True)


def set_aside(run: Path, step: int) -> Path | None:
    """Moves the checkpoints after `step` into `set-aside-<n>`, with the run as it was: settings and all rows.

    The folder is that of a run, which can be continued by itself. A call that was killed is completed by the
    next call.

    Returns:
        The folder; None where there is no newer checkpoint.
    """
    newer = [later for later in steps(run) if later > step]
    number = 1
    while (run / f"set-aside-{number}").exists():
        number += 1
    folder, temporary = run / f"set-aside-{number}", run / f"set-aside-{number}.tmp"
    if not newer and not any(steps(temporary)):
        # Copies of a killed call that had moved nothing.
        shutil.rmtree(temporary, ignore_errors=True)
        return None
    temporary.mkdir(exist_ok=True)
    # Rows are cut after this call, so even after a killed call those of the run are whole.
    for name in (CONFIG, INPUTS, *ROW_FILES):
        if (run / name).is_file():
            write_atomic(temporary / name, (run / name).read_bytes())
    # A set-aside run has its own weights before RL.
    if (run / "checkpoint-0").is_dir() and not (temporary / "checkpoint-0").exists():
        shutil.copytree(run / "checkpoint-0", temporary / "checkpoint-0.tmp", dirs_exist_ok=True)
        (temporary / "checkpoint-0.tmp").rename(temporary / "checkpoint-0")
    # `latest` before the moves: a kill in between must not leave a pointer to a folder that has moved.
    point_latest(run, step)
    for later in newer:
        (run / f"checkpoint-{later}").rename(temporary / f"checkpoint-{later}")
    point_latest(temporary, steps(temporary)[-1])
    temporary.rename(folder)
    sync(run)
    return folder
