"""Weights of a model folder, written anew into files of a size and type of one's choice, tensor by tensor.

    model.safetensors                       all tensors, where they fit into one file
    model-00001-of-00003.safetensors ...    else the shards, and
    model.safetensors.index.json            which of them holds which tensor

One tensor is in memory at a time, so that a model may be larger than the memory. Names of files are those of
transformers and peft. A file is the length of its header (8 bytes, little-endian), the header (JSON: name ->
type, shape and place of the bytes), and the bytes (https://huggingface.co/docs/safetensors).
"""

import json
import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from safetensors import safe_open
from torch import Tensor

INDEX_END = ".safetensors.index.json"
# What the header of a file calls the types that weights can be cast between, and bytes of a number.
FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
TARGETS = {"float32": ("F32", torch.float32), "bfloat16": ("BF16", torch.bfloat16)}


class _Entry(NamedTuple):
    """A tensor as it will be written: its type in the header, its shape and its bytes."""

    type: str
    shape: list[int]
    num_bytes: int


class SavedWeights:
    """The tensors of a model folder by name; made by `open_weights`.

    Attributes:
        stem: how the names of the files start: `model` or `adapter_model`.
        files: name of a tensor -> the opened file that holds the tensor.
    """

    def __init__(self, stem: str, files: Mapping[str, Any]) -> None:
        self.stem, self.files = stem, files

    def planned(self, dtype: str) -> dict[str, _Entry]:
        """What each tensor becomes: numbers with a fraction are cast to `dtype`, others stay as they are."""
        return {name: self._entry(name, dtype) for name in self.files}

    def _entry(self, name: str, dtype: str) -> _Entry:
        saved = self.files[name].get_slice(name)
        kind, shape = saved.get_dtype(), saved.get_shape()
        if kind in FLOATS:
            kind = TARGETS[dtype][0]
            return _Entry(kind, shape, math.prod(shape) * FLOATS[kind])
        return _Entry(kind, shape, self.files[name].get_tensor(name).nbytes)

    def tensor(self, name: str) -> Tensor:
        """A tensor as it was saved."""
        return self.files[name].get_tensor(name)

    def read(self, name: str, dtype: str) -> memoryview:
        """The bytes of a tensor in the type that `planned` tells."""
        tensor: Any = self.tensor(name)
        if tensor.is_floating_point() and self.files[name].get_slice(name).get_dtype() in FLOATS:
            tensor = tensor.to(TARGETS[dtype][1])
        return memoryview(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())


@contextmanager
def open_weights(folder: Path) -> Iterator[SavedWeights]:
    """Opens the weights of a model, or of an adapter, that a folder holds."""
    with ExitStack() as closing:
        stem = "adapter_model" if (folder / "adapter_model.safetensors").is_file() else "model"
        index = folder / f"{stem}{INDEX_END}"
        names = {f"{stem}.safetensors"}
        if index.is_file():
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        files: dict[str, Any] = {}
        for name in sorted(names):
            # Mapped: a tensor is read from the disk when its bytes are asked for.
            opened = closing.enter_context(safe_open(folder / name, framework="pt"))
            files |= dict.fromkeys(opened.keys(), opened)
        yield SavedWeights(stem, files)


def is_weight_file(name: str) -> bool:
    """Whether a file of a model folder holds weights, or tells where they are."""
    return name.endswith((".safetensors", INDEX_END))


def write_shards(weights: SavedWeights, folder: Path, dtype: str, max_shard_size: str) -> None:
    """Writes weights into files of a folder.

    Args:
        folder: is there.
        dtype: `float32` or `bfloat16`.
        max_shard_size: of a file, as transformers writes sizes: "5GB". A larger tensor has a file of its own.

    Raises:
        ValueError: the size is none.
        OSError: the disk is full, or a file cannot be written.
    """
    entries = weights.planned(dtype)
    # peft reads an adapter from one file alone.
    is_adapter = weights.stem != "model"
    split = split_state_dict_into_shards_factory(
        entries,
        get_storage_size=lambda entry: entry.num_bytes,
        filename_pattern=weights.stem + "{suffix}.safetensors",
        max_shard_size=sum(entry.num_bytes for entry in entries.values()) if is_adapter else max_shard_size,
    )
    for file, names in split.filename_to_tensors.items():
        _write_file(folder / file, {name: entries[name] for name in names}, weights, dtype)
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        (folder / f"{weights.stem}{INDEX_END}").write_text(text, encoding="utf-8")


def _write_file(file: Path, entries: Mapping[str, _Entry], weights: SavedWeights, dtype: str) -> None:
    # Larger numbers first, so that every tensor of a mapped file stands at a multiple of its type.
    ordered = sorted(entries, key=lambda name: (-_number_bytes(entries[name]), name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name in ordered:
        kind, shape, size = entries[name]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the bytes behind the header start at a multiple of 8
    with file.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name in ordered:
            out.write(weights.read(name, dtype))


def _number_bytes(entry: _Entry) -> int:
    count = math.prod(entry.shape)
    return entry.num_bytes // count if count else 0
