"""A driver of Triton for a GPU that is not there: what is launched is compiled for the GPU, and not run."""

from typing import Any

import torch
from triton.backends.compiler import GPUTarget


class NamedGpu:
    """Names a GPU, and has none."""

    def __init__(self, architecture: int) -> None:
        self.architecture = architecture

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: Any = None) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.architecture, 32)

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")
