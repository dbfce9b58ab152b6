"""A checkpoint as a folder of its own, for programs that know nothing of dupo.

The folder holds what transformers reads: weights in safetensors, config, generation settings, tokenizer, and
SHA256SUMS of all files. What only a run that goes on reads (optimizer, rows, average) stays in the run.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from dupo.config.layers import read_config
from dupo.errors import UserError, cut, in_one_line, quoted
from dupo.models.adapter_files import ADAPTER_CONFIG, FIRST_CHECKPOINT, adapter_folder
from dupo.models.tokenizers import load_tokenizer
from dupo.run.weights import write_merged
from dupo.storage.checkpoint import ADAPTER_FILES, EMA, STATE, latest, steps
from dupo.storage.checksums import SUMS, broken_sums, write_sums
from dupo.storage.files import check_disk_space, whole_folder
from dupo.storage.names import CONFIG, check_format, program_of
from dupo.storage.shards import SHARDS
from dupo.storage.weight_shards import is_weight_file, open_weights, write_shards

KEPT_IN_RUN = {STATE, EMA, SUMS, SHARDS}  # files, and the folder of what ranks keep
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:KB|MB|GB|TB)", re.IGNORECASE)


class Form(NamedTuple):
    """What an exported folder holds.

    Attributes:
        merge_lora: the whole model, with the adapter merged into its weights.
        dtype: of the weights: `float32`, as they were saved, or `bfloat16`.
        max_shard_size: of a file of weights, such as "5GB".
    """

    merge_lora: bool
    dtype: str
    max_shard_size: str


def export(run: Path, number: int | None, folder: Path, form: Form) -> Path:
    """Writes a checkpoint of a run as a model folder, whole or not at all, and returns the folder.

    Args:
        run: the folder of the run; it stays as it is.
        number: of the checkpoint; None: the newest.
        folder: is made; an empty one may be there.

    Raises:
        UserError: there is no such checkpoint, its files or those beneath its adapter are not those that
            were saved, or the folder holds something.
        StorageError: the disk is full, or the folder cannot be written.
    """
    check_size(form.max_shard_size)
    checkpoint = _sound_checkpoint(run, number)
    is_adapter = (checkpoint / ADAPTER_CONFIG).is_file()
    if form.merge_lora and not is_adapter:
        raise UserError(f"merge_lora: expected a run of adapters, got {checkpoint}, a whole model")
    # A checkpoint-9 of the user would be pruned or resumed, and merged/ is removed at the next resume.
    if folder.resolve().is_relative_to(run.resolve()):
        raise UserError(
            f"output_dir: expected a folder outside of the run {cut(str(run))}, got {cut(str(folder))}"
        )
    check_empty(folder)
    if form.merge_lora:
        options = read_config(run / CONFIG).model.for_model(str(checkpoint))
        tokenizer = load_tokenizer(options, None)
        return write_merged(options, folder, tokenizer, form.dtype, form.max_shard_size)
    # Opened before the folder is made: a run that prunes the checkpoint meanwhile takes no open file away.
    with open_weights(checkpoint) as weights:
        check_disk_space(folder, sum(entry.num_bytes for entry in weights.planned(form.dtype).values()))
        with whole_folder(folder) as temporary:
            copy_others(checkpoint, temporary, form.dtype)
            write_shards(weights, temporary, form.dtype, form.max_shard_size)
            write_sums(temporary)
    return folder


def check_size(text: str) -> None:
    """Raises UserError where a text is no size of files."""
    match = _SIZE.fullmatch(text)
    if match is None or float(match[1]) == 0:
        raise UserError(f"max_shard_size: expected a size such as 5GB or 500MB, got {quoted(text)}")


def _sound_checkpoint(run: Path, number: int | None) -> Path:
    """The checkpoint that was asked for, compared with its checksums."""
    if program_of(run) != "train":
        raise UserError(f"expected the folder of a run of dupo.train, got {cut(str(run))}")
    check_format(run)
    saved = steps(run)
    if number is not None and number not in saved:
        there = ", ".join(map(str, saved)) or "no checkpoint yet"
        raise UserError(f"checkpoint: expected one that {run} has ({there}), got {number}")
    checkpoint = latest(run) if number is None else run / f"checkpoint-{number}"
    if checkpoint is None:
        raise UserError(f"expected a run with a checkpoint, got {run}, which was stopped before its first")
    is_adapter = (checkpoint / ADAPTER_CONFIG).is_file()
    # The state of the optimizer may be of another format or of another torch: only its bytes are compared.
    complaint = broken_sums(checkpoint, *(ADAPTER_FILES if is_adapter else ("config.json",)))
    # Of a taught model: the run has the weights beneath the adapter as well, with their checksums.
    if not complaint and is_adapter and (base := _base_in_run(checkpoint)):
        complaint = (problem := broken_sums(base)) and f"{base.name} beneath it: {problem}"
    if complaint:
        raise UserError(f"{checkpoint} cannot be exported: {complaint}")
    return checkpoint


def _base_in_run(checkpoint: Path) -> Path | None:
    """The checkpoint of the run that an adapter belongs to; None where its base lies elsewhere."""
    adapter = adapter_folder("export", str(checkpoint))
    base = None if adapter is None else Path(adapter.base)
    return base if base is not None and base.name == FIRST_CHECKPOINT and base.is_dir() else None


def check_empty(folder: Path) -> None:
    """Raises UserError where a folder that is to be written holds something, or cannot be made."""
    try:
        is_free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
        parent = folder.resolve().parent
    except (OSError, ValueError) as problem:
        raise UserError(f"output_dir {quoted(str(folder))} cannot be read: {in_one_line(problem)}") from None
    if not is_free:
        raise UserError(
            f"output_dir {cut(str(folder))} is not empty: nothing is overwritten, give another folder"
        )
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UserError(f"output_dir {cut(str(folder))} cannot be written: {problem.strerror}") from None


def copy_others(checkpoint: Path, folder: Path, dtype: str) -> None:
    """Copies everything but the weights and what the run alone reads."""
    for file in sorted(checkpoint.rglob("*")):
        name = file.relative_to(checkpoint)
        if file.is_file() and name.parts[0] not in KEPT_IN_RUN and not is_weight_file(file.name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / name)
    if (folder / "config.json").is_file():
        _change(folder / "config.json", lambda settings: _with_dtype(settings, dtype))
    if base := (folder / ADAPTER_CONFIG).is_file() and _base_in_run(checkpoint):
        # The run may have been moved since its adapter was written.
        named = {"base_model_name_or_path": str(base.resolve())}
        _change(folder / ADAPTER_CONFIG, lambda settings: settings | named)


def _change(file: Path, change: Any) -> None:
    settings = json.loads(file.read_text(encoding="utf-8"))
    if (changed := change(settings)) != settings:
        file.write_text(json.dumps(changed, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _with_dtype(settings: dict[str, Any], dtype: str) -> dict[str, Any]:
    """A config that tells the type of its weights: `from_pretrained` loads them as what it says."""
    # Configs of several parts (text, vision) name a type in each.
    changed = {name: _with_dtype(v, dtype) if isinstance(v, dict) else v for name, v in settings.items()}
    return changed | {name: dtype for name in ("dtype", "torch_dtype") if isinstance(changed.get(name), str)}
