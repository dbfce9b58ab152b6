"""Where a model computes, and in which precision."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from dupo.errors import UserError


def pick_device(wanted: str) -> torch.device:
    """The device that `--device` names; `auto` takes a CUDA GPU where there is one.

    Raises:
        UserError: a GPU was asked for and torch can use none.
    """
    usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    # Nobody has tried Metal yet, so a GPU of Apple is taken only where the user asks for it.
    name = wanted if wanted != "auto" else "cuda" if usable["cuda"] else "cpu"
    if not usable[name]:
        kind = {"cuda": "a CUDA GPU", "mps": "a GPU of Apple (Metal)"}[name]
        raise UserError(f"device: expected {kind}, got none that torch can use (try --device cpu)")
    return torch.device(name)


def float64(values: Tensor) -> Tensor:
    """The values in float64, on their device; on the CPU if the device is Metal, which has no float64."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def compute_dtype(device: torch.device, dtype: str) -> torch.dtype:
    """The precision of matrix products of `--compute_dtype`; weights that are trained are float32."""
    if dtype == "auto":  # a CPU computes no faster in bfloat16 unless it has instructions for it
        mixed = device.type == "cuda" and torch.cuda.is_bf16_supported()
    else:
        mixed = dtype == "bfloat16"
    return torch.bfloat16 if mixed else torch.float32


@contextmanager
def autocast(device: torch.device, dtype: str) -> Iterator[None]:
    """bfloat16 arithmetic over float32 weights where `compute_dtype` says so; elsewhere no change.

    Args:
        dtype: `--compute_dtype`.
    """
    mixed = compute_dtype(device, dtype) is torch.bfloat16
    # The cache of cast weights lives as long as the context, so an optimizer step must come after it.
    with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
        yield
