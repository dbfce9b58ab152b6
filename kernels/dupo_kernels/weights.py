"""How much each token counts: loss = sum(per_token_loss * weights).

    grpo     1 / (tokens of its sequence * sequences)      mean over sequences of the mean over tokens
    dapo     1 / tokens                                    mean over tokens
    dr_grpo  1 / (sequences * max_completion_length)       sum over a constant

What counts the batch in each denominator (sequences, tokens, sequences) is `num_items`. It is passed
in, for the whole optimizer step, so that the sum over any split into micro-batches is the loss of
the whole. Names and meanings are TRL 1.16's. Nothing here waits for the device.

Shape letters: B padded sequences, T their length, S packed sequences, N packed tokens.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .objective import check_choice


class Layout(NamedTuple):
    """Which tokens count, and to which sequence each belongs.

    Attributes:
        active: bool, of the tokens' shape: (B, T), or (N,) when packed.
        lengths: active tokens of the sequence of each token; (B, 1) or (N,).
        sequences: B or S, empty ones included.
        owner: (N,) int64, the sequence of each token; None when padded.
    """

    active: Tensor
    lengths: Tensor
    sequences: int
    owner: Tensor | None


def padded_layout(mask: Tensor) -> Layout:
    """`mask` (B, T): nonzero counts. A mask (N,) is one sequence."""
    active = mask != 0
    return Layout(active, active.sum(-1, keepdim=True), mask.shape[0] if mask.dim() == 2 else 1, None)


def packed_layout(cu_seqlens: Tensor, num_tokens: int) -> Layout:
    """`cu_seqlens` (S + 1,): sequence s is cu_seqlens[s] to cu_seqlens[s + 1]; no other token counts."""
    if cu_seqlens.dim() != 1 or cu_seqlens.numel() == 0 or cu_seqlens.is_floating_point():
        shape = tuple(cu_seqlens.shape)
        raise ValueError(
            f"cu_seqlens must be integers of shape (S + 1,), got {cu_seqlens.dtype} of shape {shape}"
        )
    sequences = cu_seqlens.numel() - 1
    if num_tokens and not sequences:
        raise ValueError(
            f"cu_seqlens must bound a sequence, as there are {num_tokens} tokens; got one element"
        )
    token = torch.arange(num_tokens, device=cu_seqlens.device)
    owner = torch.searchsorted(cu_seqlens.long(), token, right=True) - 1
    active = (owner >= 0) & (owner < sequences)
    owner = owner.clamp(0, max(sequences - 1, 0))
    lengths = cu_seqlens.diff()[owner] if sequences else torch.zeros_like(owner)
    return Layout(active, lengths, sequences, owner)


class _Rule(NamedTuple):
    """weight = 1 / (own(layout, max_completion_length) * num_items)."""

    num_items: Callable[[Layout], Tensor | int]  # counted from the layout when the caller passes None
    own: Callable[[Layout, int], Tensor | int]
    needs_sequences: bool = True
    needs_max_length: bool = False


LOSS_TYPES: dict[str, _Rule] = {
    "grpo": _Rule(lambda at: at.sequences, lambda at, _: at.lengths.clamp(min=1)),
    "dapo": _Rule(lambda at: at.active.sum(), lambda at, _: 1, needs_sequences=False),
    "dr_grpo": _Rule(lambda at: at.sequences, lambda at, length: length, needs_max_length=True),
}


def check_loss_type(loss_type: str, max_completion_length: int | None) -> None:
    check_choice("loss_type", loss_type, dict(LOSS_TYPES))
    if LOSS_TYPES[loss_type].needs_max_length and (
        max_completion_length is None or max_completion_length <= 0
    ):
        raise ValueError(
            f"max_completion_length must be a positive number of tokens for loss_type={loss_type!r}, "
            f"got {max_completion_length}"
        )


def weigh(
    layout: Layout,
    loss_type: str,
    num_items: Tensor | float | None,
    max_completion_length: int | None,
    dtype: torch.dtype,
) -> Tensor:
    """token_weights for a layout that is already made."""
    rule = LOSS_TYPES[loss_type]
    if rule.needs_sequences and layout.owner is None and layout.active.dim() != 2:
        raise ValueError(
            f"cu_seqlens must be given, or tokens of shape (B, T), for loss_type={loss_type!r}: it counts "
            f"sequences; got tokens of shape {tuple(layout.active.shape)}"
        )
    if not isinstance(num_items, Tensor) and num_items is not None and num_items <= 0:
        raise ValueError(f"num_items must be positive, got {num_items}")
    items = rule.num_items(layout) if num_items is None else num_items
    items = items.to(dtype).clamp(min=1) if isinstance(items, Tensor) else max(items, 1)
    return layout.active.to(dtype) / (rule.own(layout, max_completion_length or 1) * items)


def token_weights(
    loss_type: str,
    mask: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    *,
    num_items: Tensor | float | None = None,
    max_completion_length: int | None = None,
    num_tokens: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The weight of each token, so that loss = sum(per_token_loss * weights).

    Args:
        loss_type: grpo, dapo or dr_grpo (module docstring).
        mask: (B, T), nonzero where a token counts; for dapo any shape. This or `cu_seqlens`.
        cu_seqlens: (S + 1,) int32 or int64, the bounds of packed sequences; every token inside them counts.
        num_items: what the whole optimizer step holds, over all micro-batches (and processes, if
            gradients are summed over them): active tokens for dapo, sequences for grpo and dr_grpo;
            1 if less. A number, or a tensor of one element. None: counted here. Sequences with no
            active token are counted, as in TRL; their weights are 0.
        max_completion_length: tokens; dr_grpo only.
        num_tokens: N of the packed batch. None: read from cu_seqlens[-1], which waits for the device.
        dtype: of the result.

    Returns:
        (B, T) or (N,); zero where a token does not count.

    Raises:
        ValueError: unknown loss_type; neither or both of mask and cu_seqlens; dr_grpo without
            max_completion_length; num_items not positive; a mask (N,) where sequences are counted.
    """
    check_loss_type(loss_type, max_completion_length)
    if mask is not None and cu_seqlens is None:
        layout = padded_layout(mask)
    elif cu_seqlens is not None and mask is None:
        layout = packed_layout(cu_seqlens, int(cu_seqlens[-1]) if num_tokens is None else num_tokens)
    else:
        got = "neither" if mask is None else "both"
        raise ValueError(f"exactly one of mask and cu_seqlens must be given, got {got}")
    return weigh(layout, loss_type, num_items, max_completion_length, dtype)
