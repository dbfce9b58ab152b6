"""The weights of tokens inside a kernel: weight = 1 / (divisor * num_items * length of the sequence).

The formula is that of weights.py, with one launch for all counts. A loss type has some of the factors. Loose
tokens, which have no sequences, are counted in pieces of PIECE tokens, each in the place of a sequence.

Shape letters: N tokens, S sequences.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from dupo_kernels._triton import jit, tl
from dupo_kernels.tokens.token_inputs import TokenInputs

BLOCK = 1024
NUM_WARPS = 4
PIECE = 8192  # tokens that one program counts, where there are no sequences


class Weighing(NamedTuple):
    """The factors that divide the weight of a token; all but `divisor` are known on the device alone.

    Attributes:
        divisor: the product of the factors that the host knows.
        num_items: one number on the device, taken as at least 1; None: counted, or in `divisor`.
        counts_items: the number of all active tokens is a factor.
        by_length: the number of active tokens of the sequence is a factor.
    """

    divisor: float
    num_items: Tensor | None
    counts_items: bool
    by_length: bool


@jit(do_not_specialize=["N"])
def _count(active_ptr, bounds_ptr, counts_ptr, length, N, BLOCK: tl.constexpr):
    """Writes counts (S,) int32, the active tokens of each sequence; a program a sequence."""
    s = tl.program_id(0).to(tl.int64)
    if bounds_ptr is not None:
        start, stop = tl.load(bounds_ptr + s).to(tl.int64), tl.load(bounds_ptr + s + 1).to(tl.int64)
    else:
        start, stop = s * length, s * length + length
    # `locate` reports broken bounds; here they must only not lead out of the mask.
    start, stop = tl.maximum(start, 0), tl.minimum(stop, N)
    count = tl.zeros([BLOCK], tl.int32)
    for first in range(start, stop, BLOCK):
        token = first + tl.arange(0, BLOCK)
        active = tl.load(active_ptr + token, mask=token < stop, other=0) != 0
        count += tl.where(active, 1, 0)
    tl.store(counts_ptr + s, tl.sum(count, 0))


@jit
def _total(counts_ptr, num_counts, BLOCK: tl.constexpr):
    """The sum of all counts, int64."""
    # Each program adds all counts again, which takes less time than a launch.
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
    """The weight of each token, (BLOCK,); 0 where the token is not active, NaN where bounds are broken.

    The arguments are what `locate` and `count_tokens` return, and the fields of a `Weighing`.
    """
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
    """The active tokens of each sequence, (S,) int32, in one launch; None where no weight reads a count."""
    active = inputs.active
    # Without a mask the bounds say how long the sequences are.
    if active is None or not (weighing.counts_items or weighing.by_length):
        return None
    # Padded sequences and the pieces of loose tokens have one length, so they need no bounds.
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
