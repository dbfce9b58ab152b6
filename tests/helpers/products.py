"""Which products are dispatched, and what cuBLAS makes of them: for tests on a CPU."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._library.custom_ops import OPDEFS
from torch.utils._python_dispatch import TorchDispatchMode

from dupo_kernels.hidden import gemm as gemm_module

PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "addmv", "mv", "matmul", "linear")


class Products(TorchDispatchMode):
    """Records the types of all products: (name, operands, result)."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, torch.dtype, torch.dtype]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with self:  # a mode does not see into an op of ours
            if func.namespace == "dupo_kernels":
                return OPDEFS[func._schema.name]._init_fn(*args, **kwargs)
        if func.overloadpacket.__name__.rstrip("_") not in PRODUCTS:
            return func(*args, **kwargs)
        result = self.product(func, args, kwargs)
        tensors = [x for x in args if isinstance(x, Tensor)]
        self.seen.append((func.__name__, tensors[-1].dtype, result.dtype))
        return result

    def product(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        return func(*args, **kwargs)


class CudaProducts(Products):
    """CPU tensors stand for CUDA tensors in products of halves.

    As in cuBLAS, mm and addmm write float32 where they are told to (`out_dtype`); a result in a half type is
    a sum of PARTS parts, rounded after every addition (split-K, which torch allows by default).

    Args:
        refuses_float32_sums: as torch 2.9, where both matrices of a sum had to have one type.
    """

    PARTS = 16

    def __init__(self, refuses_float32_sums: bool = False) -> None:
        super().__init__()
        self.refuses_float32_sums = refuses_float32_sums
        self.patches: list[pytest.MonkeyPatch] = []  # the mode is entered again inside itself

    def __enter__(self) -> Any:
        self.patches.append(pytest.MonkeyPatch())
        self.patches[-1].setattr(gemm_module, "writes_float32", lambda device_type: True)
        self.patches[-1].setattr(gemm_module, "multiplies_halves", lambda device_type, dtype: True)
        return super().__enter__()

    def __exit__(self, *reason: Any) -> None:
        super().__exit__(*reason)
        self.patches.pop().undo()

    def product(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        overload, out = func._overloadname, kwargs.get("out")
        *first, left, right = [x for x in args if isinstance(x, Tensor)]
        if left.dtype.itemsize >= 4:
            return func(*args, **kwargs)
        assert left.dtype == right.dtype and overload in ("out", "dtype", "dtype_out"), (func, left.dtype)
        wide = left.float() @ right.float()
        if overload.startswith("dtype"):
            out_dtype = args[-1]
            assert out_dtype == torch.float32, "cuBLAS writes float32 or the type of the operands"
            assert out is None or out.dtype == out_dtype
            if first and self.refuses_float32_sums and first[0].dtype != left.dtype:
                raise RuntimeError("self and mat2 must have the same dtype, but got Float and BFloat16")
            assert not first or first[0].dtype in (left.dtype, out_dtype)
        else:
            assert out is not None and out.dtype == left.dtype
            wide = self.split(left, right)
        result = first[0] + wide if first else wide
        return result if out is None else out.copy_(result)

    def split(self, left: Tensor, right: Tensor) -> Tensor:
        parts = zip(left.chunk(self.PARTS, 1), right.chunk(self.PARTS, 0), strict=True)
        total = torch.zeros(left.shape[0], right.shape[1], dtype=left.dtype)
        for left_part, right_part in parts:
            total += (left_part.float() @ right_part.float()).to(left.dtype)
        return total
