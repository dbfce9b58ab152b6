"""Gradients that were made in the forward pass, times the gradient that the backward pass brings.

That gradient lies on the device, and is 1 in nearly every run: loss.backward() brings ones, and a loss
scaler brings the factor that was taken in already. So a kernel looks at it first: where it is 1, nothing is
read or written. The host cannot look without waiting.
"""

import torch
from torch import Tensor

from dupo_kernels._triton import jit, runs_on_triton, tl

BLOCK = 4096
NUM_WARPS = 8
# Enough to fill a GPU; few enough that programs which find nothing to do are gone at once.
MOST_PROGRAMS = 2048


@jit(do_not_specialize=["divisor", "rows"])
def _scale(
    gradient_ptr, out_ptr, upstream_ptr, divisor, stride, out_stride, rows, columns,
    IN_PLACE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """out = gradient * upstream / divisor, block by block."""
    upstream = tl.load(upstream_ptr).to(tl.float32)
    blocks_in_row = (tl.zeros([], tl.int64) + columns + (BLOCK - 1)) // BLOCK
    blocks = blocks_in_row * rows
    if IN_PLACE:
        blocks = tl.where(upstream == divisor, 0, blocks)
    for block in range(tl.program_id(0).to(tl.int64), blocks, tl.num_programs(0).to(tl.int64)):
        row = block // blocks_in_row
        column = block % blocks_in_row * BLOCK + tl.arange(0, BLOCK)
        within = column < columns
        gradient = tl.load(gradient_ptr + row * stride + column, mask=within, other=0.0).to(tl.float32)
        gradient *= upstream / divisor
        out = gradient.to(out_ptr.dtype.element_ty)
        tl.store(out_ptr + row * out_stride + column, out, mask=within)


def scaled(gradient: Tensor, upstream: Tensor, divisor: float, dtype: torch.dtype) -> Tensor:
    """gradient * upstream / divisor in `dtype`: in its own memory where the type is the same. One launch.

    Args:
        gradient: contiguous, or (N, V) with rows apart; consumed.
        upstream: (), on the same device. Where it equals `divisor` and the type is the same, the kernel
            neither reads nor writes the gradient.
        divisor: what the gradient was multiplied by before it was rounded; 1 for nothing.
        dtype: of the result.
    """
    # A compiler plans memory by itself, and a write to a saved tensor would stand in its way.
    if torch.compiler.is_compiling():
        return (gradient * (upstream / divisor)).to(dtype)
    in_place = gradient.dtype == dtype
    # A fake tensor is no memory that a kernel could read.
    if not (runs_on_triton(gradient) and type(gradient) in (Tensor, torch.nn.Parameter)):
        factor = upstream if divisor == 1 else upstream / divisor
        out = gradient if in_place else torch.empty_like(gradient, dtype=dtype)
        return torch.mul(gradient, factor, out=out)
    return scale_by_kernel(gradient, upstream, divisor, dtype)


def scale_by_kernel(gradient: Tensor, upstream: Tensor, divisor: float, dtype: torch.dtype) -> Tensor:
    """`scaled` where kernels run."""
    in_place = gradient.dtype == dtype
    out = gradient if in_place else torch.empty_like(gradient, dtype=dtype)
    # Rows that follow each other are one row.
    whole = gradient.is_contiguous()
    rows, columns = (1, gradient.numel()) if whole else gradient.shape
    if gradient.numel() == 0:  # an empty grid is an error on CUDA
        return out
    with torch.cuda.device_of(gradient):
        _scale[(min(-(-columns // BLOCK) * rows, MOST_PROGRAMS),)](
            gradient_ptr=gradient,
            out_ptr=out,
            upstream_ptr=upstream,
            divisor=float(divisor),
            stride=0 if whole else gradient.stride(0),
            out_stride=0 if whole else out.stride(0),
            rows=rows,
            columns=columns,
            IN_PLACE=in_place,
            BLOCK=BLOCK,
            num_warps=NUM_WARPS,
            enable_fp_fusion=True,
        )
    return out
