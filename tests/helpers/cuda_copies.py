"""Copies from the host to a CUDA device, as they are asked for on a machine without one."""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class CudaCopies(TorchFunctionMode):
    """Stands for CUDA while it is active: a copy to it stays on the host.

    Attributes:
        copies: of each copy from the host, whether its source was pinned and whether the host went on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[tuple[bool, bool]] = []
        self.pinned: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.pin_memory:
            self.pinned.append(args[0].clone())
            return self.pinned[-1]
        if func is Tensor.to and torch.device("cuda") in [*args[1:], *kwargs.values()]:
            assert all(not isinstance(x, torch.dtype) or x == args[0].dtype for x in args[1:]), (
                "a copy that also casts goes through memory that is not pinned"
            )
            is_pinned = any(args[0] is pinned for pinned in self.pinned)
            self.copies.append((is_pinned, kwargs.get("non_blocking", False)))
            return args[0].clone()
        return func(*args, **kwargs)
