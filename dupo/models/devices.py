"""Where a model computes, and in which precision."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dupo.errors import UserError


def pick_device(wanted: str) -> torch.device:
    """The device that `--device` names; `auto` takes a GPU where there is one.

    Raises:
        UserError: a GPU was asked for and torch can use none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("device: expected a CUDA GPU, got none that torch can use (try --device cpu)")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


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
