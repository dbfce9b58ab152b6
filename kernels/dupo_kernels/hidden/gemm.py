"""Matrix products with a choice of the type of the result, summed in float32 or better and rounded once.

Tensor cores take half inputs and sum in float32. cuBLAS can write that sum as it is, so logits from half
inputs are as exact as from inputs cast to float32, at the price of the half product.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

TILE_BYTES = 64 << 20  # of a cast operand, where no GEMM takes inputs and output of two types


def gemm(left: Tensor, right: Tensor, out: Tensor, add: bool = False) -> Tensor:
    """out = left @ right, or out += left @ right, rounded once, to the type of `out`."""
    with torch.autocast(left.device.type, enabled=False):  # the types are settled
        if left.dtype == out.dtype:
            return torch.addmm(out, left, right, out=out) if add else torch.mm(left, right, out=out)
        # out_dtype: cuBLAS takes two halves and writes float32
        if left.is_cuda:
            mixed: Any = {"out_dtype": out.dtype, "out": out}
            return torch.addmm(out, left, right, **mixed) if add else torch.mm(left, right, **mixed)
        return _gemm_in_tiles(left, right, out, add)


def _gemm_in_tiles(left: Tensor, right: Tensor, out: Tensor, add: bool) -> Tensor:
    # CPUs have no product of two types, and emulate products of halves 13 to 16 times slower than float32. A
    # product of two halves fits float32 exactly, so the tiles are cast; TILE_BYTES bounds the copies.
    step = max(1, TILE_BYTES // max(1, left.shape[1] * out.dtype.itemsize))
    for i in slices(0, out.shape[0], step):
        wide = left[i].to(out.dtype)
        for j in slices(0, out.shape[1], step):
            tile = wide @ right[:, j].to(out.dtype)
            out[i, j] = out[i, j] + tile if add else tile
    return out


def slices(start: int, stop: int, step: int) -> Iterator[slice]:
    """Slices of `step` elements that cover [start, stop); the last one may be shorter."""
    return (slice(n, min(n + step, stop)) for n in range(start, stop, step))
