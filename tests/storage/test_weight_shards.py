"""Weights that are written anew: the numbers of safetensors and of torch, whatever the type and the shard."""

import json
import re
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dupo.storage.weight_shards import open_weights, write_shards

TENSORS = {
    "odd": torch.arange(15, dtype=torch.float32).reshape(3, 5) / 7,
    "half": torch.linspace(-1, 1, 6).half(),
    "brain": torch.linspace(-3, 3, 7).bfloat16(),
    "double": torch.tensor([1 / 3], dtype=torch.float64),
    "scale": torch.tensor(0.1),
    "empty": torch.zeros(0, 4),
    "ids": torch.arange(5),
    "bytes": torch.tensor([1, 2, 3], dtype=torch.uint8),
    "mask": torch.tensor([True, False, True]),
}


def rewritten(source: Path, target: Path, dtype: str, size: str) -> list[str]:
    target.mkdir()
    with open_weights(source) as weights:
        write_shards(weights, target, dtype, size)
    return sorted(file.name for file in target.iterdir())


def cast(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_one_file_holds_what_was_saved(dtype: str, tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "model.safetensors")
    assert rewritten(tmp_path, tmp_path / "out", dtype, "1MB") == ["model.safetensors"]
    loaded = load_file(tmp_path / "out/model.safetensors")
    assert loaded.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        expected = cast(tensor, getattr(torch, dtype))
        assert loaded[name].dtype == expected.dtype and torch.equal(loaded[name], expected), name


def test_shards_keep_to_their_size_and_are_read_again(tmp_path: Path) -> None:
    tensors = {f"layer.{n}": torch.full((100, n + 1), float(n)) for n in range(9)}
    save_file(tensors, tmp_path / "model.safetensors")
    names = rewritten(tmp_path, tmp_path / "out", "float32", "4KB")
    index = json.loads((tmp_path / "out/model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == tensors.keys()
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in tensors.values())
    assert {*index["weight_map"].values(), "model.safetensors.index.json"} == set(names)
    shards = {file: load_file(tmp_path / "out" / file) for file in set(index["weight_map"].values())}
    for shard in shards.values():
        assert sum(tensor.nbytes for tensor in shard.values()) <= 4000
    assert all(torch.equal(shards[index["weight_map"][name]][name], tensors[name]) for name in tensors)
    # Shards are a source as well.
    assert rewritten(tmp_path / "out", tmp_path / "again", "float32", "1GB") == ["model.safetensors"]
    again = load_file(tmp_path / "again/model.safetensors")
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)


def test_an_adapter_stays_one_file(tmp_path: Path) -> None:
    save_file({"a": torch.ones(50, 50), "b": torch.ones(50, 50)}, tmp_path / "adapter_model.safetensors")
    assert rewritten(tmp_path, tmp_path / "out", "float32", "1KB") == ["adapter_model.safetensors"]


def anonymous_bytes() -> int:
    """Memory of this process that is no page of a file."""
    match = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
    assert match
    return int(match[1]) * 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_the_model_is_never_in_memory(tmp_path: Path) -> None:
    tensors = {f"w{n}": torch.randn(1000, 2500) for n in range(20)}  # 10 MB each
    save_file(tensors, tmp_path / "model.safetensors")
    size = tensors["w0"].nbytes
    del tensors
    before, peak, is_over = anonymous_bytes(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not is_over.wait(0.001):
            peak = max(peak, anonymous_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    rewritten(tmp_path, tmp_path / "out", "bfloat16", "50MB")
    is_over.set()
    watcher.join()
    assert peak - before < 3 * size
