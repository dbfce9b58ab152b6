"""How much each token counts: loss = sum(per_token_loss * weights).

    grpo, sapo                1 / (tokens of its sequence * sequences)  mean of the means of sequences
    dapo, bnpo, cispo, vespo  1 / tokens                                mean over tokens
    dr_grpo                   1 / (sequences * max_completion_length)   sum over a constant
    luspo                     1 / sequences                             mean of the sums of sequences

What counts the batch in each denominator (sequences, tokens, sequences, sequences) is `num_items`. It
is passed in, for the whole optimizer step, so that the sum over any split into micro-batches is the
loss of the whole. Names and meanings are TRL 1.16's. Nothing here waits for the device.

Shape letters: B padded sequences, T their length, S packed sequences, N packed tokens.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from dupo_kernels.tokens.surrogates import check_choice


class Layout(NamedTuple):
    """Which tokens count, and to which sequence each belongs.

    Attributes:
        active: bool, of the tokens' shape: (B, T), or (N,) when packed.
        lengths: active tokens of the sequence of each token; (B, 1) or (N,).
        sequences: B or S, empty ones included.
        owner: (N,) int64, the sequence of each token; None when padded.
        cu_seqlens: (S + 1,) int64; None when padded.
    """

    active: Tensor
    lengths: Tensor
    sequences: int
    owner: Tensor | None = None
    cu_seqlens: Tensor | None = None

    @property
    def knows_sequences(self) -> bool:
        return self.owner is not None or self.active.dim() == 2

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the sequence of each token, inactive ones left out; it broadcasts to the tokens."""
        return self._sum(values.where(self.active, 0))

    def mean(self, values: Tensor) -> Tensor:
        return self.sum(values) / self.lengths.clamp(min=1)

    def _sum(self, values: Tensor) -> Tensor:
        if self.owner is None or self.cu_seqlens is None:
            return values.sum(-1, keepdim=True)
        # By segments: index_add_ would add in whatever order the threads come (no two runs the same bits).
        found = torch.segment_reduce(values, "sum", offsets=self.cu_seqlens, unsafe=True, initial=0)
        return found[self.owner]


def padded_layout(mask: Tensor) -> Layout:
    """`mask` (B, T): nonzero counts. A mask (N,) is one sequence."""
    active = mask != 0
    return Layout(active, active.sum(-1, keepdim=True), mask.shape[0] if mask.dim() == 2 else 1)


def packed_layout(cu_seqlens: Tensor, num_tokens: int, mask: Tensor | None = None) -> Layout:
    """`cu_seqlens` (S + 1,): sequence s is cu_seqlens[s] to cu_seqlens[s + 1]; no other token counts, and of
    those in a sequence, with a `mask` (N,), only where it is nonzero."""
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
    bounds = cu_seqlens.long()
    valid = (bounds[0] >= 0) & (bounds[-1] <= num_tokens) & (bounds.diff() >= 0).all()
    torch._assert_async(valid, "cu_seqlens must rise, from 0 or more to at most the number of tokens")  # type: ignore
    token = torch.arange(num_tokens, device=cu_seqlens.device)
    owner = torch.searchsorted(bounds, token, right=True) - 1
    active = (owner >= 0) & (owner < sequences)
    owner = owner.clamp(0, max(sequences - 1, 0))
    if mask is None:
        lengths = bounds.diff()[owner] if sequences else torch.zeros_like(owner)
        return Layout(active, lengths, sequences, owner, bounds)
    layout = Layout(active & (mask != 0), owner, sequences, owner, bounds)
    ones = torch.ones(num_tokens, dtype=torch.float64, device=cu_seqlens.device)
    return layout._replace(lengths=layout.sum(ones).long())


class _Rule(NamedTuple):
    """weight = 1 / (own(layout, max_completion_length) * num_items)."""

    num_items: Callable[[Layout], Tensor | int]  # counted from the layout when the caller passes None
    own: Callable[[Layout, int], Tensor | int]
    needs_sequences: bool = True
    needs_max_length: bool = False


_BY_TOKEN = _Rule(lambda at: at.active.sum(), lambda at, _: 1, needs_sequences=False)
_BY_SEQUENCE = _Rule(lambda at: at.sequences, lambda at, _: at.lengths.clamp(min=1))

LOSS_TYPES: dict[str, _Rule] = {
    "grpo": _BY_SEQUENCE,
    "bnpo": _BY_TOKEN,
    "dr_grpo": _Rule(lambda at: at.sequences, lambda at, length: length, needs_max_length=True),
    "dapo": _BY_TOKEN,
    "cispo": _BY_TOKEN,
    "sapo": _BY_SEQUENCE,
    "luspo": _Rule(lambda at: at.sequences, lambda at, _: 1),
    "vespo": _BY_TOKEN,
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
    if rule.needs_sequences and not layout.knows_sequences:
        raise ValueError(
            f"cu_seqlens must be given, or tokens of shape (B, T), for loss_type={loss_type!r}: it counts "
            f"sequences; got tokens of shape {tuple(layout.active.shape)}"
        )
    if isinstance(num_items, Tensor) and num_items.numel() != 1:
        raise ValueError(f"num_items must be one number, got a tensor of shape {tuple(num_items.shape)}")
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
        loss_type: one of the module docstring.
        mask: (B, T), nonzero where a token counts; where no sequence is counted, any shape.
        cu_seqlens: (S + 1,) int32 or int64, the bounds of packed sequences. Every token inside them counts,
            or, with a mask (N,), those of the mask.
        num_items: what the whole optimizer step holds, over all micro-batches (and processes, if
            gradients are summed over them): active tokens, or sequences, by loss type; 1 if less. A
            number, or a tensor of one element. None: counted here. Sequences with no active token are
            counted, as in TRL; their weights are 0.
        max_completion_length: tokens; dr_grpo only.
        num_tokens: N of the packed batch. None: that of the mask, or read from cu_seqlens[-1], which waits
            for the device.
        dtype: of the result.

    Returns:
        (B, T) or (N,); zero where a token does not count.

    Raises:
        ValueError: unknown loss_type; neither mask nor cu_seqlens; dr_grpo without
            max_completion_length; num_items not positive; a mask (N,) where sequences are counted.
    """
    check_loss_type(loss_type, max_completion_length)
    if mask is None and cu_seqlens is None:
        raise ValueError("mask or cu_seqlens must be given, got neither")
    layout = make_layout(mask, cu_seqlens, num_tokens)
    return weigh(layout, loss_type, num_items, max_completion_length, dtype)


def make_layout(mask: Tensor | None, cu_seqlens: Tensor | None, num_tokens: int | None = None) -> Layout:
    """From whichever of the two is given."""
    if cu_seqlens is None:
        assert mask is not None
        return padded_layout(mask)
    if mask is not None and mask.dim() != 1:
        raise ValueError(f"mask must be (N,) with cu_seqlens, got {tuple(mask.shape)}")
    if num_tokens is None:
        num_tokens = int(cu_seqlens[-1]) if mask is None else mask.shape[0]
    return packed_layout(cu_seqlens, num_tokens, mask)


def advantages_per_token(advantages: Tensor, layout: Layout) -> Tensor:
    shape, got = layout.active.shape, tuple(advantages.shape)
    if got == tuple(shape):
        return advantages
    if layout.owner is not None and got == (layout.sequences,):
        return advantages[layout.owner]
    if layout.owner is None and len(shape) == 2 and got in ((shape[0],), (shape[0], 1)):
        return advantages.reshape(-1, 1).expand(shape)
    per_sequence = f"({layout.sequences},)"
    raise ValueError(f"advantages must be per token {tuple(shape)} or per sequence {per_sequence}, got {got}")


def counts_tokens(loss_type: str) -> bool:
    """Whether the loss type is a mean over tokens; else over sequences."""
    return not LOSS_TYPES[loss_type].needs_sequences
