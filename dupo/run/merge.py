"""Several models of one shape as one: weights tensor by tensor, everything else from the first.

A model may be larger than the memory: of each model one tensor is read at a time. Adapters become one adapter
of all their ranks, which is their weighted sum and nothing less.
"""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dupo.config.merge_options import SLERP, WARP
from dupo.errors import UserError, cut, in_one_line, quoted
from dupo.models.adapter_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from dupo.models.merging import Merging
from dupo.run.export import check_empty, check_size, copy_others
from dupo.storage.checksums import SUMS, broken_sums, write_sums
from dupo.storage.files import check_disk_space, whole_folder
from dupo.storage.weight_shards import TARGETS, SavedWeights, open_weights, write_shards

RECORD = "merge.json"  # in the folder: what it was made of
# What makes an adapter; of these all must be alike, while rank and alpha may differ.
_OF_ADAPTER = (
    "base_model_name_or_path",
    "target_modules",
    "use_dora",
    "fan_in_fan_out",
    "bias",
    "modules_to_save",
)


class MergedWeights(SavedWeights):
    """The weights of several models, merged when they are read."""

    def __init__(self, models: Sequence[SavedWeights], start: SavedWeights | None, merging: Merging) -> None:
        super().__init__(models[0].stem, models[0].files)
        self._models, self._start, self._merging = models, start, merging

    def tensor(self, name: str) -> Tensor:
        """The merged tensor; integers, which no mean is of, are those of the first model."""
        thetas = [model.tensor(name) for model in self._models]
        # Positions and other buffers are integers.
        if not thetas[0].is_floating_point():
            return thetas[0]
        return self._merging.of(thetas, None if self._start is None else self._start.tensor(name))


def merge(
    folders: Sequence[Path],
    start: Path | None,
    output: Path,
    merging: Merging,
    dtype: str,
    max_shard_size: str,
) -> Path:
    """Writes the merged model into a new folder, whole or not at all, and returns the folder.

    Args:
        folders: of models, or of adapters of one model.
        start: the model that all of them began from; None: not known.
        dtype: of the weights: `float32` or `bfloat16`.
        max_shard_size: of a file of weights, such as "5GB".

    Raises:
        UserError: folders that hold no model or other models, options that do not fit, an output that is
            not empty.
        StorageError: the disk is full, or the folder cannot be written.
    """
    check_size(max_shard_size)
    # All that can be refused is refused before a byte is written.
    named = [*folders, *([] if start is None else [start])]
    for folder in named:
        _check_sound(folder)
        if output.resolve().is_relative_to(folder.resolve()):
            raise UserError(
                f"output_dir: expected a folder outside of {cut(str(folder))}, got {cut(str(output))}"
            )
    check_empty(output)
    are_adapters = {(folder / ADAPTER_CONFIG).is_file() for folder in named}
    if len(are_adapters) > 1:
        raise UserError(f"expected models alone or adapters alone, got both: {_names(named)}")
    if are_adapters == {True}:
        return _merge_adapters(folders, output, merging, dtype)
    _check_vocabularies(named)
    with ExitStack() as opened:
        # Mapped files: many models may be open, and one tensor of each is in memory.
        models: list[SavedWeights] = [opened.enter_context(open_weights(folder)) for folder in folders]
        origin: SavedWeights | None = None
        if start is not None:
            origin = opened.enter_context(open_weights(start))
        others = models[1:] if origin is None else [*models[1:], origin]
        for folder, model in zip(named[1:], others, strict=True):
            _check_same_tensors(folders[0], models[0], folder, model)
        merged = MergedWeights(models, origin, merging)
        check_disk_space(output, sum(entry.num_bytes for entry in merged.planned(dtype).values()))
        with whole_folder(output) as temporary:
            copy_others(folders[0], temporary, dtype)
            write_shards(merged, temporary, dtype, max_shard_size)
            _finish(temporary, folders, start, merging)
    return output


def _check_sound(folder: Path) -> None:
    """Raises UserError where a folder holds no model, or other bytes than its checksums say."""
    is_model = (folder / "config.json").is_file() or (folder / ADAPTER_CONFIG).is_file()
    has_weights = any(folder.glob("*.safetensors")) if folder.is_dir() else False
    if not (is_model and has_weights):
        raise UserError(f"expected the folder of a model, with safetensors, got {cut(str(folder))}")
    # A checkpoint of a run has checksums; a folder of the Hub has none.
    if (folder / SUMS).is_file() and (complaint := broken_sums(folder)):
        raise UserError(f"{cut(str(folder))} cannot be merged: {complaint}")


def _check_vocabularies(folders: Sequence[Path]) -> None:
    """Raises UserError where two models read other tokens: their embeddings mean other words."""
    known: list[tuple[Path, Any]] = []
    for folder in folders:
        file = folder / "tokenizer.json"
        if not file.is_file():
            continue
        # The words alone: how a tokenizer pads may differ from copy to copy.
        try:
            vocabulary = json.loads(file.read_text(encoding="utf-8"))["model"]
        except (ValueError, KeyError, TypeError) as problem:
            raise UserError(f"{file}: expected a tokenizer, got {in_one_line(problem)}") from None
        known.append((folder, vocabulary))
    for folder, vocabulary in known[1:]:
        if vocabulary != known[0][1]:
            raise UserError(f"expected models with one vocabulary, got two: {_names([known[0][0], folder])}")


# Of the names and shapes alone: files are mapped, and no tensor is read for it.
def _check_same_tensors(first: Path, one: SavedWeights, second: Path, other: SavedWeights) -> None:
    """Raises UserError where names or shapes differ."""
    shapes = [{name: entry.shape for name, entry in w.planned("float32").items()} for w in (one, other)]
    if lacking := sorted(shapes[0].keys() ^ shapes[1].keys()):
        where = second if lacking[0] in shapes[0] else first
        raise UserError(f"{lacking[0]}: expected in {_names([first, second])}, got none in {cut(str(where))}")
    for name, shape in shapes[0].items():
        if shape != shapes[1][name]:
            got = f"{shapes[1][name]} in {cut(str(second))}"
            raise UserError(f"{name}: expected the shape {shape} of {cut(str(first))}, got {got}")


# --- adapters ---


def _merge_adapters(folders: Sequence[Path], output: Path, merging: Merging, dtype: str) -> Path:
    if merging.method in (SLERP, WARP):
        advice = "write whole models by `dupo export --merge_lora` first"
        raise UserError(f"merge_method: expected mean or ema for adapters, got {merging.method}; {advice}")
    settings = [json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8")) for folder in folders]
    _check_same_adapters(folders, settings)
    weights = [load_file(folder / ADAPTER_WEIGHTS) for folder in folders]
    names = {name for tensors in weights for name in tensors}
    for folder, tensors in zip(folders, weights, strict=True):
        if lacking := sorted(names - tensors.keys()):
            raise UserError(f"{lacking[0]}: expected in every adapter, got none in {cut(str(folder))}")
    # A mean of A and of B by themselves would be no mean of their products.
    factors = [share * _scale(own) for share, own in zip(merging.shares(len(folders)), settings, strict=True)]
    merged = {name: _joined(name, [tensors[name] for tensors in weights], factors) for name in sorted(names)}
    rank = sum(int(own["r"]) for own in settings)
    # The factors stand in B, so the scale of the new adapter is 1.
    changed = {"r": rank, "lora_alpha": rank, "use_rslora": False}
    with whole_folder(output) as temporary:
        copy_others(folders[0], temporary, dtype)
        text = json.dumps(settings[0] | changed, indent=2, ensure_ascii=False) + "\n"
        (temporary / ADAPTER_CONFIG).write_text(text, encoding="utf-8")
        cast = {name: tensor.to(TARGETS[dtype][1]).contiguous() for name, tensor in merged.items()}
        save_file(cast, temporary / ADAPTER_WEIGHTS, metadata={"format": "pt"})
        _finish(temporary, folders, None, merging)
    return output


def _check_same_adapters(folders: Sequence[Path], settings: Sequence[Mapping[str, Any]]) -> None:
    """Raises UserError where adapters belong to other models or layers, or are no plain LoRA."""
    for folder, own in zip(folders, settings, strict=True):
        if (
            own.get("peft_type") != "LORA"
            or own.get("rank_pattern")
            or own.get("alpha_pattern")
            or own.get("use_dora")
        ):
            raise UserError(f"{cut(str(folder))}: expected LoRA of one rank and alpha, got another adapter")
        for name in _OF_ADAPTER:
            first, this = (_plain(values.get(name)) for values in (settings[0], own))
            if first != this:
                raise UserError(
                    f"{name}: expected {quoted(first)} of {cut(str(folders[0]))}, got {quoted(this)}"
                )


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value


def _scale(settings: Mapping[str, Any]) -> float:
    rank = settings["r"]
    return settings["lora_alpha"] / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def _joined(name: str, tensors: Sequence[Tensor], factors: Sequence[float]) -> Tensor:
    """sum_k f_k B_k A_k as one product: the A below each other, the B, times their factors, side by side."""
    if ".lora_A." in name:
        return torch.cat([tensor.float() for tensor in tensors])
    if ".lora_B." in name:
        return torch.cat([f * tensor.float() for f, tensor in zip(factors, tensors, strict=True)], dim=1)
    raise UserError(f"{name}: expected lora_A or lora_B in an adapter, got another weight")


# --- the folder ---


def _finish(folder: Path, folders: Sequence[Path], start: Path | None, merging: Merging) -> None:
    """Writes what the folder was made of, and its checksums."""
    # Paths as they were typed: whoever reads them knows where they stood.
    record = {"models": [str(path) for path in folders], "start": None if start is None else str(start)}
    text = json.dumps(record | asdict(merging), indent=2, ensure_ascii=False) + "\n"
    (folder / RECORD).write_text(text, encoding="utf-8")
    write_sums(folder)


def _names(folders: Sequence[Path]) -> str:
    return ", ".join(cut(str(folder)) for folder in folders)
