"""Which operations of a step wait for the device; a CUDA graph can hold none of them."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# What waits for the device, or has a shape that only the device knows.
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_consecutive", "unique_dim"}
WAITING |= {"equal", "bincount", "repeat_interleave"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
COPYING = {"_to_copy": 0, "copy_": 1}  # number of the argument that is copied; it may be on another device


class Watch(TorchDispatchMode):
    """Notes which operations wait for the device.

    Attributes:
        waits: their names.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        result = func(*args, **(kwargs or {}))
        # A mask as an index is turned into numbers within the operation.
        indices = args[1] if name in INDEXING else []
        is_mask = any(index is not None and index.dtype == torch.bool for index in indices)
        is_copy = name in COPYING and result.device.type != args[COPYING[name]].device.type
        if name in WAITING or is_mask or is_copy:
            self.waits.add(name)
        return result
