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


@contextmanager
def autocast(device: torch.device, dtype: str) -> Iterator[None]:
    """bfloat16 arithmetic over float32 weights on a GPU that supports bfloat16; elsewhere no change.

    Args:
        dtype: `--dtype`; only "auto" mixes precisions.
    """
    # Weights that were asked for in bfloat16 compute in bfloat16 without autocast.
    mixed = device.type == "cuda" and dtype == "auto" and torch.cuda.is_bf16_supported()
    with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
        yield
