"""Weights in files, and the checksum that tells which weights they are."""

import ast
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dupo.engines import weight_files
from dupo.engines.weight_files import Checksum, read_weights, write_weights
from tests.helpers.project import ROOT


def weights() -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(0)
    embedding = torch.randn(5, 3, generator=draws)
    scalar, counts = torch.tensor(1.5), torch.arange(3)
    return {"z.embedding": embedding, "head": embedding, "scale": scalar, "counts": counts}


def checksum_of(of: Mapping[str, Tensor]) -> str:
    checksum = Checksum()
    for name, weight in of.items():
        checksum.add(name, weight)
    return checksum.text()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("shard", "num_files"), [(1, 4), (100, 2), (1 << 30, 1)])
def test_what_is_written_is_read(
    dtype: torch.dtype, shard: int, num_files: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_files, "SHARD_BYTES", shard * dtype.itemsize // 4 or 1)
    written = write_weights(tmp_path, weights().items(), dtype)
    checksum = Checksum()
    read = dict(read_weights(tmp_path, checksum))
    assert checksum.text() == written and len(written) == 16
    assert len(list(tmp_path.iterdir())) == num_files
    assert read.keys() == weights().keys() and read["counts"].dtype == torch.int64
    for name, weight in weights().items():
        expected = weight.to(dtype) if weight.is_floating_point() else weight
        assert torch.equal(read[name], expected) and read[name].dtype == expected.dtype


CHANGES: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "a value": lambda of: of["head"].mul_(1.001),
    "the last bit of one value": lambda of: of["z.embedding"].view(torch.int32)[4, 2].add_(1),
    "a scalar": lambda of: of["scale"].add_(1),
    "a tensor less": lambda of: of.pop("counts"),
    "another name": lambda of: of.update(tail=of.pop("head")),
    "another shape": lambda of: of.update(counts=of["counts"][None]),
    "another type": lambda of: of.update(counts=of["counts"].to(torch.int32)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_has_another_checksum(name: str) -> None:
    changed = {key: value.clone() for key, value in weights().items()}
    assert checksum_of(changed) == checksum_of(dict(reversed(changed.items()))) == checksum_of(weights())
    CHANGES[name](changed)
    assert checksum_of(changed) != checksum_of(weights())


def test_a_folder_without_weights_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no weights"):
        list(read_weights(tmp_path, Checksum()))


def test_weights_that_are_not_all_read_have_another_checksum(tmp_path: Path) -> None:
    written, checksum = write_weights(tmp_path, weights().items(), torch.float32), Checksum()
    reading = read_weights(tmp_path, checksum)
    for _ in range(3):
        next(reading)
    assert checksum.text() != written


@pytest.mark.parametrize("name", ["vllm_extension", "weight_files"])
def test_what_the_server_imports_needs_torch_and_safetensors_alone(name: str) -> None:
    tree = ast.parse((ROOT / "dupo/engines" / f"{name}.py").read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    others = {module for module in imported if module.split(".")[0] not in sys.stdlib_module_names}
    assert others <= {"torch", "safetensors", "safetensors.torch", "dupo.engines.weight_files"}
