"""Weights of a model in a folder that two processes read, and a checksum that tells which weights they are.

    weights-00000.safetensors   the first weights, of `SHARD_BYTES` or one tensor more
    weights-00001.safetensors   the next

Imported by the worker of a vLLM server too, so this file needs torch and safetensors alone.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

HEAD = "lm_head"  # in transformers and in vLLM
SHARD_BYTES = 1 << 30  # of host memory beside the model, while the weights are written


class Checksum:
    """Tells weights that are old, incomplete or mixed up; no guard against forgery.

    The bytes of a tensor are summed as integers of 64 bits, at the speed of the memory.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, name: str, tensor: Tensor) -> None:
        """Takes one more tensor; the order does not count."""
        bytes_N = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        num_whole = len(bytes_N) // 8 * 8
        total = int(bytes_N[:num_whole].view(torch.int64).sum()) + int(bytes_N[num_whole:].sum())
        self._lines.append(f"{name} {tensor.dtype} {tuple(tensor.shape)} {total}")

    def text(self) -> str:
        """16 hex digits."""
        # Sorted: a server may hand tensors on in another order than they were written in.
        lines = "\n".join(sorted(self._lines))
        return hashlib.blake2b(lines.encode(), digest_size=8).hexdigest()


def write_weights(folder: Path, weights: Iterable[tuple[str, Tensor]], dtype: torch.dtype) -> str:
    """Writes weights into an empty folder.

    Args:
        dtype: that floating-point weights have in the files.

    Returns:
        The checksum of what was written.
    """
    checksum, shard, size, number = Checksum(), dict[str, Tensor](), 0, 0
    for name, weight in weights:
        # A copy: a tied head shares the memory of the embedding, and safetensors refuses shared memory.
        stored = weight.detach().to("cpu", dtype if weight.is_floating_point() else None, copy=True)
        shard[name] = stored.contiguous()
        checksum.add(name, stored)
        size += stored.numel() * stored.element_size()
        if size >= SHARD_BYTES:
            save_file(shard, folder / f"weights-{number:05d}.safetensors")
            shard, size, number = {}, 0, number + 1
    if shard:
        save_file(shard, folder / f"weights-{number:05d}.safetensors")
    return checksum.text()


def without_head(weights: Iterable[tuple[str, Tensor]], has_head: bool) -> Iterator[tuple[str, Tensor]]:
    """The weights that a model of vLLM knows: without those of a head where it makes none.

    transformers names a head that is tied to the embedding under both names. Most classes of vLLM take the
    second name, and on a CPU they need it; those that use the embedding itself refuse it.

    Args:
        has_head: what `makes_head` says of the model.
    """
    return ((name, weight) for name, weight in weights if has_head or not name.startswith(f"{HEAD}."))


def makes_head(model: nn.Module) -> bool:
    """Whether a model of vLLM has a head, be it the embedding under another name."""
    modules = model.named_modules(remove_duplicate=False)
    return any(name.rpartition(".")[2] == HEAD for name, _ in modules)


def read_weights(folder: Path, checksum: Checksum) -> Iterator[tuple[str, Tensor]]:
    """The weights of a folder, one after the other, each added to `checksum` as the caller takes the next.

    Raises:
        FileNotFoundError: the folder holds no weights.
    """
    files = sorted(folder.glob("weights-*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no weights")
    for file in files:
        with safe_open(file, framework="pt") as opened:
            for name in opened.offset_keys():
                tensor = opened.get_tensor(name)
                checksum.add(name, tensor)
                yield name, tensor
