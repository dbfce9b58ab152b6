"""What kernels read of each token beside its log-probability, and where its sequence lies.

Bounds are searched inside the kernel: advantages of sequences cost no launch. Losses are unknown here.

Shape letters: N tokens, M rows that a kernel works on, S sequences.
"""

from typing import NamedTuple

from torch import Tensor

from dupo_kernels._triton import jit, tl

# Bounds that are compared at once.
BOUNDS = tl.constexpr(256)


class TokenInputs(NamedTuple):
    """What a kernel reads of each token, beside its log-probability; None for what is not there.

    Every tensor is contiguous and of any real type; kernels compute in float32. A token that is not active is
    never read, so its values may be NaN.

    Attributes:
        weights: (N,), of each token in the loss (`token_weights`); None where the kernel makes them.
        advantages: (N,), or one for each sequence, see `length` and `cu_seqlens`.
        index: (M,) int64, the token of each row; None where row n is token n and N = M.
        active: (N,) nonzero where a token counts; None where every token counts.
        old_logprobs, ref_logprobs, sampling_logprobs: (N,), see `policy_loss`.
        importance_sampling_ratio: (N,), the mismatch weights where they are known beforehand.
        cu_seqlens: (S + 1,) bounds of packed sequences, or None. Tokens outside the bounds do not count; the
            loss of bounds that do not rise from 0 or more to at most N is NaN.
        sequences, num_tokens: S and N with cu_seqlens.
        length: tokens of a sequence where every sequence has as many (padded).
    """

    weights: Tensor | None
    advantages: Tensor
    index: Tensor | None = None
    active: Tensor | None = None
    old_logprobs: Tensor | None = None
    ref_logprobs: Tensor | None = None
    sampling_logprobs: Tensor | None = None
    importance_sampling_ratio: Tensor | None = None
    cu_seqlens: Tensor | None = None
    sequences: int = 0
    num_tokens: int = 0
    length: int = 1

    def take(self, rows: slice) -> "TokenInputs":
        """The inputs of a slice of rows; no copy. Without an index, they must not know sequences."""
        if self.index is not None:
            return self._replace(index=self.index[rows])
        # A slice counts its tokens from 0, and bounds count from the first token of all.
        assert self.cu_seqlens is None and self.length == 1
        named = self._asdict().items()
        return self._replace(**{name: x[rows] for name, x in named if isinstance(x, Tensor)})


# --- inside kernels --------------------------------------------------------------------------------


@jit
def token_of(row, within, inputs):
    """The token of each row that exists."""
    if inputs.index is not None:
        return tl.load(inputs.index + row, mask=within, other=0)
    else:
        return row


@jit
def read(pointer, token, active):
    """The values of the active tokens; 0 for the others."""
    return tl.load(pointer + token, mask=active, other=0).to(tl.float32)


@jit
def _search(token, inputs):
    """(sequence of each token, whether it lies in one, whether the bounds are none) of cu_seqlens."""
    # With bounds that do not rise, the search ends somewhere: nothing may be read by its result.
    sequences, bounds = inputs.sequences, inputs.cu_seqlens
    falls = tl.zeros([BOUNDS], tl.int32)
    for start in range(0, sequences, BOUNDS):
        s = start + tl.arange(0, BOUNDS)
        low = tl.load(bounds + s, mask=s < sequences, other=0).to(tl.int64)
        high = tl.load(bounds + s + 1, mask=s < sequences, other=0).to(tl.int64)
        falls = tl.where(low > high, 1, falls)
    first, last = tl.load(bounds).to(tl.int64), tl.load(bounds + sequences).to(tl.int64)
    are_bounds = (tl.max(falls, 0) == 0) & (first >= 0) & (last <= inputs.num_tokens)
    # The number of bounds at or below the token, by halving: as many steps as S + 1 has binary digits.
    left = tl.zeros_like(token)
    right = left + sequences + 1
    remaining = tl.zeros([], tl.int64) + sequences + 1
    while remaining > 0:
        middle = (left + right) // 2
        bound = tl.load(bounds + middle, mask=left < right, other=0).to(tl.int64)
        is_above = (left < right) & (bound <= token)
        left = tl.where(is_above, middle + 1, left)
        right = tl.where(is_above, right, middle)
        remaining = remaining // 2
    # For each token, as the interpreter takes no mask that is combined with a single number.
    is_broken = tl.where(are_bounds, token != token, token == token)
    return left - 1, (left > 0) & (left <= sequences), is_broken


@jit
def place(token, within, inputs):
    """(which tokens count, the sequence of each, which sequences may be read, whether weights are NaN)."""
    active = within
    if inputs.active is not None:
        active = within & (tl.load(inputs.active + token, mask=within, other=0) != 0)
    if inputs.cu_seqlens is not None:
        sequence, is_inside, is_broken = _search(token, inputs)
        # Broken bounds give every token that the mask lets count a weight of NaN: no plausible number.
        active = active & (is_inside | is_broken)
        return active, sequence, active & (is_broken == 0), is_broken
    else:
        return active, token // inputs.length, active, token != token


@jit
def advantage_of(token, sequence, is_readable, inputs, kinds: tl.constexpr):
    """The advantage of each token, or that of its sequence."""
    if kinds.by_sequence:
        return read(inputs.advantages, sequence, is_readable)
    else:
        return read(inputs.advantages, token, is_readable)
