"""Which tokens of a batch count, and to which sequence each token belongs.

Tokens are padded (B, T), where every row is a sequence, or packed (N,), where `cu_seqlens` (S + 1,) bounds
the sequences. Sums and means over sequences come back at every token, so callers need not know the layout.
The module does not know losses. Nothing here waits for the device unless a function says so.

Shape letters: B padded sequences, T their length, S packed sequences, N packed tokens. "Tokens" is (B, T) or
(N,).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from dupo_kernels._checks import (
    REAL,
    check_bounds,
    check_bounds_on_host,
    check_bounds_shape,
    check_count,
    check_mask,
    check_tensors,
)
from dupo_kernels._messages import refused


class Layout(NamedTuple):
    """Which tokens count, and to which sequence each token belongs.

    Attributes:
        active: tokens, bool: which tokens count.
        lengths: active tokens of the sequence of each token; (B, 1) or (N,).
        sequences: B or S, empty sequences included.
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
        """Whether sums over sequences mean anything: loose tokens (N,) without bounds have no sequences."""
        return self.owner is not None or self.active.dim() == 2

    def totals(self, values: Tensor) -> Tensor:
        """The sum over the active tokens of each sequence, (B,) or (S,); differentiable."""
        # where, not a product: inactive tokens may hold NaN
        values = values.where(self.active, 0)
        if self.cu_seqlens is None:
            return values.sum(-1)
        return segment_sums(values, self.cu_seqlens)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the active tokens of each token's sequence; the result broadcasts to the tokens."""
        totals = self.totals(values)
        return totals[..., None] if self.owner is None else totals[self.owner]

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the active tokens of each token's sequence; 0 for a sequence that has none."""
        return self.sum(values) / self.lengths.clamp(min=1)


def segment_sums(values_N: Tensor, offsets: Tensor) -> Tensor:
    """The sum of each segment, (S,), of the type of the values; differentiable, and the same bits each time.

    Args:
        offsets: (S + 1,) int64, where the segments begin and end.
    """
    # By segments: index_add_ would add in whatever order the threads come. One number after the other in
    # float32 would be off by 0.1 nats after 30,000 tokens.
    wide = values_N.to(counting_dtype(values_N.device))
    sums = torch.segment_reduce(wide, "sum", offsets=offsets, unsafe=True, initial=0)
    return sums.to(values_N.dtype)


def counting_dtype(device: torch.device) -> torch.dtype:
    """float64, which counts exactly up to 2**53; float32 (2**24) on Metal, which has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def padded_layout(mask: Tensor) -> Layout:
    """The layout of a mask (B, T), nonzero where a token counts. A mask (N,) is one sequence."""
    active = mask != 0
    return Layout(active, active.sum(-1, keepdim=True), mask.shape[0] if mask.dim() == 2 else 1)


def packed_layout(
    cu_seqlens: Tensor, num_tokens: int, mask: Tensor | None = None, check: bool = False
) -> Layout:
    """The layout of N = `num_tokens` packed tokens.

    Args:
        cu_seqlens: (S + 1,) integers; sequence s is cu_seqlens[s] to cu_seqlens[s + 1]. Tokens outside all
            sequences do not count.
        num_tokens: N.
        mask: (N,) or None; inside sequences, only tokens with a nonzero mask count.
        check: wait for bounds on a device.

    Raises:
        ValueError: cu_seqlens of another shape or type; no sequence for N > 0 tokens; bounds that do not rise
            from 0 or more to at most N. Without `check`, bounds on a device are asserted there, later.
    """
    check_bounds(cu_seqlens, num_tokens, check)
    sequences = cu_seqlens.numel() - 1
    bounds = cu_seqlens.long()
    token = torch.arange(num_tokens, device=cu_seqlens.device)
    owner = torch.searchsorted(bounds, token, right=True) - 1
    active = (owner >= 0) & (owner < sequences)
    owner = owner.clamp(0, max(sequences - 1, 0))  # a valid index also for tokens outside all sequences
    if mask is None:
        lengths = bounds.diff()[owner] if sequences else torch.zeros_like(owner)
        return Layout(active, lengths, sequences, owner, bounds)
    # Lengths are sums over the sequences, so the layout comes first.
    layout = Layout(active & (mask != 0), owner, sequences, owner, bounds)
    ones = torch.ones(num_tokens, dtype=counting_dtype(cu_seqlens.device), device=cu_seqlens.device)
    return layout._replace(lengths=layout.sum(ones).long())


def make_layout(
    mask: Tensor | None, cu_seqlens: Tensor | None, num_tokens: int | None = None, check: bool = False
) -> Layout:
    """The layout of a mask, of packed sequences, or of both.

    Args:
        mask: (B, T), or (N,) with cu_seqlens. One of mask and cu_seqlens must be there.
        cu_seqlens: (S + 1,) or None, see `packed_layout`.
        num_tokens: N. None: the size of the mask, else cu_seqlens[-1], which waits for the device.
        check: also read what tensors on a device hold.
    """
    check_tensors(REAL, mask=mask)
    check_mask("mask", mask, check)
    if cu_seqlens is None:
        if mask is None:
            raise ValueError("mask and cu_seqlens: expected one of them, got neither")
        return padded_layout(mask)
    check_bounds_shape(cu_seqlens)
    if mask is not None and mask.dim() != 1:
        raise refused("mask", "shape (N,) with cu_seqlens", mask.shape)
    if num_tokens is not None:
        check_count("num_tokens", num_tokens, at_least=0)
        if mask is not None and mask.shape[0] != num_tokens:
            raise refused("mask", f"shape {(num_tokens,)}", mask.shape)
    elif mask is not None:
        num_tokens = mask.shape[0]
    else:
        # A last bound below 0 is refused with the other bounds.
        num_tokens = max(int(cu_seqlens[-1]), 0)
    return packed_layout(cu_seqlens, num_tokens, mask, check)


def token_layout(
    tokens: Tensor, name: str, mask: Tensor | None, cu_seqlens: Tensor | None, check: bool = False
) -> Layout:
    """The layout of a tensor of tokens, called `name` in errors; without a mask every token counts."""
    _check_packed(tokens, name, cu_seqlens)
    if mask is None and cu_seqlens is None:
        mask = torch.ones_like(tokens, dtype=torch.bool)
    return make_layout(mask, cu_seqlens, tokens.shape[0] if tokens.dim() == 1 else None, check)


def check_layout(
    tokens: Tensor, name: str, mask: Tensor | None, cu_seqlens: Tensor | None, check: bool = False
) -> None:
    """What `token_layout` refuses, and nothing else: bounds on a device are not asserted without `check`."""
    _check_packed(tokens, name, cu_seqlens)
    check_tensors(REAL, mask=mask)
    check_mask("mask", mask, check)
    if cu_seqlens is not None:
        check_bounds_on_host(cu_seqlens, tokens.shape[0], check)


def _check_packed(tokens: Tensor, name: str, cu_seqlens: Tensor | None) -> None:
    if cu_seqlens is not None and tokens.dim() != 1:
        raise refused(name, "shape (N,) with cu_seqlens", tokens.shape)


def check_tokens(shape: torch.Size, name: str, **tensors: Tensor | None) -> None:
    """Raises ValueError unless every tensor that is there has `shape`, which is that of the tensor `name`."""
    for argument, tensor in tensors.items():
        if tensor is not None and tensor.shape != shape:
            raise refused(argument, f"the shape {tuple(shape)} of {name}", tensor.shape)


def in_bounds(tokens: Tensor, cu_seqlens: Tensor | None) -> Tensor:
    """Bool (N,): which of the packed tokens (N,) lie in a sequence; all of them without bounds."""
    if cu_seqlens is None:
        return torch.ones_like(tokens, dtype=torch.bool)
    return packed_layout(cu_seqlens, tokens.numel()).active


def advantages_per_token(advantages: Tensor, layout: Layout) -> Tensor:
    """Advantages of the shape of the tokens.

    Args:
        advantages: tokens, or one for each sequence: (B,) or (B, 1) padded, (S,) packed. Where N = S they are
            taken as per token.
        layout: of the tokens.

    Raises:
        ValueError: any other shape.
    """
    shape, is_packed = layout.active.shape, layout.owner is not None
    if not advantages_by_sequence(advantages, shape, layout.sequences if is_packed else None):
        return advantages
    return advantages[layout.owner] if is_packed else advantages.reshape(-1, 1).expand(shape)


def advantages_by_sequence(advantages: Tensor, tokens: torch.Size, sequences: int | None) -> bool:
    """Whether advantages are those of sequences and not of tokens; nothing is read.

    Args:
        tokens: the shape of the tokens.
        sequences: S of packed sequences; None without cu_seqlens.

    Raises:
        ValueError: the shape is neither.
    """
    # Shapes per token win: with as many sequences as tokens the two cannot be told apart.
    shape, got = tuple(tokens), tuple(advantages.shape)
    if got == shape:
        return False
    if sequences is not None and got == (sequences,):
        return True
    if sequences is None and len(shape) == 2 and got in ((shape[0],), (shape[0], 1)):
        return True
    if sequences is None:
        sequences = shape[0] if len(shape) == 2 else 1
    raise refused("advantages", f"shape {shape} (per token) or ({sequences},) (per sequence)", got)
