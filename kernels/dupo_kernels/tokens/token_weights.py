"""The weights of tokens inside a kernel: weights.py for those who may launch no kernel for a sum.

Shape letters: N tokens, S sequences. Loose tokens, which have no sequences, are counted in pieces of PIECE.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from dupo_kernels._triton import jit, tl
from dupo_kernels.tokens.token_inputs import TokenInputs

BLOCK = 1024
NUM_WARPS = 4
PIECE = 8192


class Weighing(NamedTuple):
    """What the weight of a token is made of: 1 / (divisor * num_items * length).

    Attributes:
        divisor: every factor that the host knows.
        num_items: one number on the device, at least 1 is assumed; None where it is counted, or in `divisor`.
        counts_items: the active tokens are counted.
        by_length: the length of the sequence, in active tokens, is a factor.
    """

    divisor: float
    num_items: Tensor | None
    counts_items: bool
    by_length: bool


@jit(do_not_specialize=["N"])
def _count(active_ptr, bounds_ptr, counts_ptr, length, N, BLOCK: tl.constexpr):
    """A program a sequence: its active tokens. Bounds are held to the tokens, whatever they are."""
    s = tl.program_id(0).to(tl.int64)
    if bounds_ptr is not None:
        start, stop = tl.load(bounds_ptr + s).to(tl.int64), tl.load(bounds_ptr + s + 1).to(tl.int64)
    else:
        start, stop = s * length, s * length + length
    # Broken bounds are found by `place`; here they must not lead out of the mask.
    start, stop = tl.maximum(start, 0), tl.minimum(stop, N)
    count = tl.zeros([BLOCK], tl.int32)
    for first in range(start, stop, BLOCK):
        token = first + tl.arange(0, BLOCK)
        active = tl.load(active_ptr + token, mask=token < stop, other=0) != 0
        count += tl.where(active, 1, 0)
    tl.store(counts_ptr + s, tl.sum(count, 0))


@jit
def _total(counts_ptr, num_counts, BLOCK: tl.constexpr):
    # Each program adds all counts again: fewer bytes than a launch costs time.
    total = tl.zeros([BLOCK], tl.int64)
    for first in range(0, num_counts, BLOCK):
        s = first + tl.arange(0, BLOCK)
        total += tl.load(counts_ptr + s, mask=s < num_counts, other=0).to(tl.int64)
    return tl.sum(total, 0)


@jit
def weights_of(
    active, sequence, is_readable, is_broken, inputs, counts_ptr, num_counts,
    divisor, num_items_ptr, COUNTS_ITEMS: tl.constexpr, BY_LENGTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """weights.py: 1 over the product of all factors, each of them at least 1."""
    product = tl.zeros([BLOCK], tl.float32) + divisor
    if num_items_ptr is not None:
        items = tl.load(num_items_ptr).to(tl.float32)
        # Not maximum, which drops NaN on a GPU.
        product *= tl.where(items < 1.0, 1.0, items)
    if COUNTS_ITEMS:
        if counts_ptr is not None:
            total = _total(counts_ptr, num_counts, BLOCK)
        else:
            last, first = tl.load(inputs.cu_seqlens + inputs.sequences), tl.load(inputs.cu_seqlens)
            total = last.to(tl.int64) - first.to(tl.int64)
        product *= tl.maximum(total, 1).to(tl.float32)
    if BY_LENGTH:
        if counts_ptr is not None:
            length = tl.load(counts_ptr + sequence, mask=is_readable, other=1).to(tl.int64)
        else:
            # Without a mask the bounds are the lengths, and nothing was counted.
            after = tl.load(inputs.cu_seqlens + sequence + 1, mask=is_readable, other=1)
            before = tl.load(inputs.cu_seqlens + sequence, mask=is_readable, other=0)
            length = after.to(tl.int64) - before.to(tl.int64)
        product *= tl.maximum(length, 1).to(tl.float32)
    return tl.where(is_broken, float("nan"), tl.where(active, 1.0 / product, 0.0))


def count_tokens(inputs: TokenInputs, N: int, weighing: Weighing) -> Tensor | None:
    """The active tokens of each sequence, one launch; None where no weight asks, or bounds say it all."""
    active = inputs.active
    if active is None or not (weighing.counts_items or weighing.by_length):
        return None
    # Padded and loose tokens are pieces of one length, so both need no bounds.
    num_counts = -(-N // inputs.length) if inputs.cu_seqlens is None else inputs.sequences
    counts = active.new_empty(num_counts, dtype=torch.int32)
    with torch.cuda.device_of(active):
        _count[(num_counts,)](
            active_ptr=active,
            bounds_ptr=inputs.cu_seqlens,
            counts_ptr=counts,
            length=inputs.length,
            N=N,
            BLOCK=BLOCK,
            num_warps=NUM_WARPS,
            enable_fp_fusion=True,
        )
    return counts
