"""Matrix products with a choice of the type of the result, summed in float32 or better and rounded once.

Tensor cores take half inputs and sum in float32. cuBLAS can write that sum as it is, so logits from half
inputs are as exact as from inputs cast to float32, at the price of the half product.

CPUs have no product of two types. A CPU without instructions for a half type emulates its products, 6 to 50
times slower than those of float32. In both cases tiles of the operands are cast: a product of two halves fits
float32 exactly, and the casts cost a few percent of the product.

Shape letters: C rows and R columns of the result, K terms of each sum.
"""

import platform
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor

TILE = 1 << 20  # elements of a cast tile: 4 MiB, which a cache holds
AMX_TERMS = 32  # bf16 elements in a row of an AMX tile
WIDE = 1 << 25  # elements that exist in float32 before they are cast: 128 MiB


def gemm(left: Tensor, right: Tensor, out: Tensor, *, add: bool = False, long_sums: bool = False) -> Tensor:
    """out = left @ right, or out += left @ right, rounded once, to the type of `out`.

    Args:
        left, right: (C, K) and (K, R), of one type.
        out: (C, R), written; of the type of the operands, or float32 for halves.
        add: adds to what `out` holds.
        long_sums: K is long and C R small, so a library may cut each sum into parts.
    """
    device_type, dtype = left.device.type, left.dtype
    is_half = dtype.itemsize < 4
    with torch.autocast(device_type, enabled=False):  # the types are settled
        if dtype != out.dtype or (is_half and not multiplies_halves(device_type, dtype)):
            if not writes_float32(device_type):
                return _gemm_in_tiles(left, right, out, add)
            # torch 2.9 refuses this addmm: there the sum had to be of the type of the operands.
            mixed: Any = {"out_dtype": out.dtype, "out": out}
            return torch.addmm(out, left, right, **mixed) if add else torch.mm(left, right, **mixed)
        if is_half and long_sums and not add and writes_float32(device_type):
            return _gemm_rounded_last(left, right, out)
        if _reads_behind_rows(left):
            left = torch.nn.functional.pad(left, (0, -left.shape[1] % AMX_TERMS))[:, : left.shape[1]]
        return torch.addmm(out, left, right, out=out) if add else torch.mm(left, right, out=out)


def _gemm_rounded_last(left: Tensor, right: Tensor, out: Tensor) -> Tensor:
    # cuBLAS adds the parts of a cut sum in the type of the result, and rounds each addition: so the result is
    # float32 first. A slice of rows is long enough for a product of full speed.
    wide: Any = {"out_dtype": torch.float32}
    for rows in slices(0, out.shape[0], max(1, WIDE // max(1, out.shape[1]))):
        out[rows] = torch.mm(left[rows], right, **wide)
    return out


def _reads_behind_rows(left: Tensor) -> bool:
    # oneDNN (3.12, in torch 2.13) fills the tiles of AMX with what lies behind a row of `left` and multiplies
    # that by zero (its issue 5717): NaN where that memory holds NaN or infinity. A copy has zeros there.
    is_amx_product = left.device.type == "cpu" and left.dtype == torch.bfloat16 and _cpu_has("amx_bf16")
    return is_amx_product and left.stride(1) == 1 and left.shape[1] % AMX_TERMS != 0


def sum_dtype_of(result: Tensor) -> torch.dtype:
    """The type in which sums of products are best kept until one cast at the end; `result` has their shape.

    Where that is float32, a product needs no cast of its own: a launch less for each.
    """
    # A compiled graph serves every size, so its types must not depend on one.
    if torch.compiler.is_compiling() or result.numel() > WIDE or not writes_float32(result.device.type):
        return result.dtype
    return torch.promote_types(result.dtype, torch.float32)


def _gemm_in_tiles(left: Tensor, right: Tensor, out: Tensor, add: bool) -> Tensor:
    (C, K), R = left.shape, right.shape[1]
    c, k, r = _tile_sizes(C, K, R)
    # The memory of three tiles serves them all; a result in float32 is summed where it lies.
    sizes = c * k, k * r, 0 if out.dtype == torch.float32 else c * r
    left_memory, right_memory, sum_memory = (out.new_empty(n, dtype=torch.float32) for n in sizes)
    for rows in slices(0, C, c):
        for columns in slices(0, R, r):
            tile = out[rows, columns]
            total = tile if out.dtype == torch.float32 else _tile_like(tile, sum_memory)
            if add and total is not tile:
                total.copy_(tile)
            for terms in slices(0, max(K, 1), k):  # sums of nothing (K = 0) are zeros, which mm writes
                wide_left = _tile_like(left[rows, terms], left_memory).copy_(left[rows, terms])
                wide_right = _tile_like(right[terms, columns], right_memory).copy_(right[terms, columns])
                if add or terms.start:
                    total.addmm_(wide_left, wide_right)
                else:
                    torch.mm(wide_left, wide_right, out=total)
            if total is not tile:
                tile.copy_(total)
    return out


def _tile_sizes(*sizes: int) -> list[int]:
    # The longest side is halved until any two sides make a tile of at most TILE elements.
    tile = [max(size, 1) for size in sizes]
    while sorted(tile)[-1] * sorted(tile)[-2] > TILE:
        longest = tile.index(max(tile))
        tile[longest] = -(-tile[longest] // 2)
    return tile


def _tile_like(tile: Tensor, memory: Tensor) -> Tensor:
    # In the order of the tile, so that the cast reads and writes along rows.
    memory = memory[: tile.numel()]
    return memory.view(tile.shape) if tile.stride(1) == 1 else memory.view(tile.shape[::-1]).t()


@cache
def multiplies_halves(device_type: str, dtype: torch.dtype) -> bool:
    """Whether a device has instructions for products of a half type; asked once in a process.

    A capability and not a measurement, so that every run on a machine gives the same bits.
    """
    if device_type != "cpu":
        return True
    name = {torch.bfloat16: "bf16", torch.float16: "fp16"}[dtype]
    # oneDNN says which types it serves, and knows what ONEDNN_MAX_CPU_ISA forbids. On x86 it also serves bf16
    # without instructions for it, where float32 is 2.6 times faster: there the CPU must have them.
    is_served = getattr(torch.ops.mkldnn, f"_is_mkldnn_{name}_supported", lambda: False)()
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    return is_served and (not is_x86 or any(_cpu_has(f"{unit}_{name}") for unit in ("avx512", "amx")))


def _cpu_has(instructions: str) -> bool:
    if hasattr(torch.cpu, "get_capabilities"):
        return bool(torch.cpu.get_capabilities().get(instructions, False))
    # torch below 2.12 has a function for each set of instructions that it knows.
    return getattr(torch.cpu, f"_is_{instructions}_supported", lambda: False)()


@cache
def writes_float32(device_type: str) -> bool:
    """Whether products of halves can be written in float32 on a device; asked once in a process.

    CUDA has such products. Of other devices torch's table of kernels is asked, which starts nothing and waits
    for nothing. ROCm is "cuda" to torch, and XPU has them since torch 2.11; neither was tested.
    """
    if device_type == "cuda":
        return True
    has_kernel = getattr(torch._C, "_dispatch_has_kernel_for_dispatch_key", None)
    key_of = getattr(torch._C, "_dispatch_key_for_device", None)
    if has_kernel is None or key_of is None:
        return False
    return all(has_kernel(f"aten::{name}.dtype_out", key_of(device_type)) for name in ("mm", "addmm"))


def slices(start: int, stop: int, step: int) -> Iterator[slice]:
    """Slices of `step` elements that cover [start, stop); the last one may be shorter."""
    return (slice(n, min(n + step, stop)) for n in range(start, stop, step))
