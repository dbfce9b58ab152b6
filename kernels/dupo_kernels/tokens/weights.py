"""How much each token counts: loss = sum(per_token_loss * weights).

    grpo, sapo                1 / (tokens of its sequence * sequences)  mean of the means of sequences
    dapo, bnpo, cispo, vespo  1 / tokens                                mean over tokens
    dr_grpo                   1 / (sequences * max_completion_length)   sum over a constant
    luspo                     1 / sequences                             mean of the sums of sequences

The number of sequences or tokens in each denominator is `num_items`. Callers pass it for the whole optimizer
step, so that the sum over any split into micro-batches is the loss of the whole. Names and meanings are TRL
1.16's. The module does not know the losses that it weighs. Nothing here waits for the device.

Shape letters: B padded sequences, T their length, S packed sequences, N packed tokens.
"""

from typing import Any

import torch
from torch import Tensor

from dupo_kernels._checks import MOST, NUMBERS, check_flags, check_tensors, check_values, may_read
from dupo_kernels._messages import is_number, refused
from dupo_kernels.tokens.choices import LOSS_TYPES, check_choice
from dupo_kernels.tokens.layout import Layout, make_layout


def counts_tokens(loss_type: str) -> bool:
    """Whether `num_items` of this loss type counts active tokens; otherwise it counts sequences.

    Raises:
        ValueError: unknown loss_type.
    """
    check_choice("loss_type", loss_type, LOSS_TYPES)
    return LOSS_TYPES[loss_type].counts_tokens


def token_weights(
    loss_type: str,
    mask: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    *,
    num_items: Tensor | float | None = None,
    max_completion_length: int | None = None,
    num_tokens: int | None = None,
    dtype: torch.dtype = torch.float32,
    check: bool = False,
) -> Tensor:
    """The weight of each token, so that loss = sum(per_token_loss * weights).

    Args:
        loss_type: grpo, bnpo, dr_grpo, dapo, cispo, sapo, luspo or vespo; see the module docstring.
        mask: (B, T), nonzero where a token counts; for a loss type that counts tokens, any shape.
        cu_seqlens: (S + 1,) int32 or int64, the bounds of packed sequences. Every token inside them counts,
            or, with a mask (N,), those of the mask.
        num_items: active tokens or sequences (see `counts_tokens`) of the whole optimizer step, over all
            micro-batches, and over all processes if gradients are summed over them; at least 1 is assumed. A
            number, positive and finite, or a tensor of one element, which may be 0. None: counted here.
            Sequences with no active token are counted, as in TRL; their weights are 0.
        max_completion_length: tokens, positive and finite; dr_grpo only.
        num_tokens: N of the packed batch. None: the size of the mask, else cu_seqlens[-1], which waits for
            the device.
        dtype: of the result, float32 or float64. In half precision a count of 65,520 tokens is infinite or
            rounded, and so are the weights.
        check: also check what tensors on a device hold (cu_seqlens, num_items, a mask of floats), which waits
            for the device. Tensors on the CPU are checked always, and no tensor is inside torch.compile.

    Returns:
        (B, T) or (N,); zero where a token does not count.

    Raises:
        ValueError: unknown loss_type; neither mask nor cu_seqlens; dr_grpo without
            max_completion_length; num_items not positive or not finite; a mask (N,) where sequences are
            counted; a mask of NaN; bounds that do not rise; types, shapes or devices that do not match.
    """
    check_loss_type(loss_type, max_completion_length)
    check_flags(check=check)
    # `in` would compare an array element by element.
    if not isinstance(dtype, torch.dtype) or dtype not in (torch.float32, torch.float64):
        raise refused("dtype", "torch.float32 or torch.float64", dtype)
    layout = make_layout(mask, cu_seqlens, num_tokens, check)
    check_num_items(num_items, check)
    return layout_weights(layout, loss_type, num_items, max_completion_length, dtype)


def check_loss_type(loss_type: str, max_completion_length: Any) -> None:
    """Raises ValueError for an unknown loss type, or where max_completion_length is needed and missing."""
    check_choice("loss_type", loss_type, LOSS_TYPES)
    if max_completion_length is not None:
        _check_amount("max_completion_length", max_completion_length)
    elif LOSS_TYPES[loss_type].divisor == "max_completion_length":
        raise refused("max_completion_length", f"a number of tokens for loss_type={loss_type!r}", None)


def _check_amount(name: str, value: Any) -> None:
    # NaN is between no two numbers.
    if not is_number(value) or not 0 < value <= MOST:
        raise refused(name, "a positive number of at most 2**62", value)


def check_num_items(num_items: Any, check: bool) -> None:
    """Raises ValueError unless num_items is None, a positive number or a tensor of one element.

    Args:
        check: also read a tensor that is on a device.
    """
    if num_items is None:
        return
    if not isinstance(num_items, Tensor):
        _check_amount("num_items", num_items)
        return
    check_tensors(NUMBERS, num_items=num_items)
    if num_items.numel() != 1 or num_items.is_meta:
        raise refused("num_items", "one number", num_items)
    # A tensor is the count of a batch, and a batch may have no tokens.
    if may_read(num_items, check):
        items = (
            num_items.float()
        )  # in half precision the largest number is infinity, and infinity is at most that
        is_valid = (items >= 0) & (items <= MOST)
        check_values("num_items", "a number from 0 to 2**62", num_items, is_valid)


def layout_weights(
    layout: Layout,
    loss_type: str,
    num_items: Tensor | float | None,
    max_completion_length: int | None,
    dtype: torch.dtype,
) -> Tensor:
    """`token_weights` of a layout; `check_loss_type` and `check_num_items` must have passed.

    Raises:
        ValueError: tokens without sequences where sequences are counted.
    """
    by_token = counts_tokens(loss_type)
    check_sequences_known(loss_type, layout.active.shape, layout.knows_sequences)
    counted = layout.active.sum() if by_token else layout.sequences
    items = counted if num_items is None else num_items
    # A batch without active tokens has weight 0 everywhere, not 0 / 0.
    if isinstance(items, Tensor):
        # One element of any shape is one number: it must not add dimensions to the weights.
        items = items.reshape(()).to(layout.active.device, dtype).clamp(min=1)
    else:
        items = max(items, 1)
    return layout.active.to(dtype) / (_divisor(layout, loss_type, max_completion_length) * items)


def check_sequences_known(loss_type: str, tokens: torch.Size, knows_sequences: bool) -> None:
    """Raises ValueError for tokens (their shape) without sequences where sequences are counted."""
    if not counts_tokens(loss_type) and not knows_sequences:
        raise ValueError(
            f"cu_seqlens: expected bounds, or tokens of shape (B, T), for loss_type={loss_type!r}, which "
            f"counts sequences, got tokens of shape {tuple(tokens)}"
        )


def _divisor(layout: Layout, loss_type: str, max_completion_length: int | None) -> Tensor | int:
    # A sequence without active tokens has no weights to divide, but a length of 0.
    divisor = LOSS_TYPES[loss_type].divisor
    if divisor == "length":
        return layout.lengths.clamp(min=1)
    return (max_completion_length or 1) if divisor == "max_completion_length" else 1
