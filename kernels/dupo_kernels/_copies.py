"""Copies from the host to a device that nobody waits for."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; the copy is ordered before the kernels that read it."""
    # CUDA makes the host wait for copies of more than 64 KB all the same, unless their memory is pinned.
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
