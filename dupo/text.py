"""Packing: which sequences share a micro-batch, and how they lie in it. The only face of `dupo._C`.

    pack              lengths, token budget -> micro-batches (best-fit decreasing)
    layout            lengths -> position ids, bounds, owner of every token
    pack_completions  prompt and completion lengths -> the rows that carry the loss

Each function has a plain Python twin (`_*_py`) of the same result. The twin defines it, serves where the
extension was not built, and is what the tests compare the extension with. Token ids and models are not
known here.

Shape letters: S sequences, N tokens of all of them, M tokens that were sampled.
"""

import warnings
from bisect import bisect_left, insort
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import numpy.typing as npt

BUILT: bool = find_spec("dupo._C") is not None
if BUILT:
    from dupo import _C
else:
    warnings.warn(
        "dupo._C is not built: packing runs in plain Python, with the same results but slower. "
        "To build it, run `pip install -e .` in the repository where a C++17 compiler is installed.",
        stacklevel=2,
    )

Lengths = Sequence[int] | npt.NDArray[np.integer]
Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]

INT32_MAX = 2**31 - 1  # cu_seqlens are int32: the attention kernels that read them ask for it


def pack(lengths: Lengths, token_budget: int) -> list[Int64]:
    """Splits sequences into few micro-batches of at most `token_budget` tokens: best-fit decreasing.

    Longest first (equal lengths: lowest index first), each into the micro-batch whose remaining room is the
    smallest that still holds it (equal room: the one opened first). At most 11/9 of the optimum + 4
    (Johnson et al., 1974). The result depends on the arguments only.

    Args:
        lengths: (S,) integers >= 1, tokens of each sequence.
        token_budget: tokens a micro-batch may hold, 1 to 2**31 - 1.

    Returns:
        One int64 array of ascending sequence indices per micro-batch, ordered by their first index. Every
        sequence is in exactly one. Empty for no sequences.

    Raises:
        ValueError: a length below 1 or above the budget, or a budget out of range.
    """
    values = _checked("lengths", lengths, least=1)
    if not 1 <= token_budget <= INT32_MAX:
        raise ValueError(
            f"token_budget: expected 1 to {INT32_MAX} tokens (cu_seqlens are int32), got {token_budget}"
        )
    too_long = np.flatnonzero(values > token_budget)
    if too_long.size:
        first = too_long[0]
        raise ValueError(
            f"sequence {first} has {values[first]} tokens, more than token_budget {token_budget}"
        )
    indices, offsets = _C.pack(values, token_budget) if BUILT else _pack_py(values, token_budget)
    bounds = offsets.tolist()
    return [indices[start:end] for start, end in pairwise(bounds)]


def layout(lengths: Lengths) -> tuple[Int64, Int32, Int32]:
    """Where each token stands when sequences are laid end to end.

    Args:
        lengths: (S,) integers >= 1, tokens of each sequence, N in all.

    Returns:
        position_ids: (N,) int64, from 0 in every sequence.
        cu_seqlens: (S + 1,) int32, where each sequence starts and the last one ends.
        owner: (N,) int32, which sequence a token belongs to.

    Raises:
        ValueError: a length below 1, or N above 2**31 - 1.
    """
    values = _checked("lengths", lengths, least=1)
    _check_total(values)
    return _C.layout(values) if BUILT else _layout_py(values)


def pack_completions(prompt_lengths: Lengths, completion_lengths: Lengths) -> tuple[Int64, Int32]:
    """The rows of a packed batch whose output predicts a sampled token.

    Each sequence is its prompt followed by its completion, laid end to end as `layout` does. Row r predicts
    token r + 1, so these are the last row of the prompt and all but the last row of the completion.

    Args:
        prompt_lengths: (S,) integers >= 1: the first sampled token is predicted from a prompt row.
        completion_lengths: (S,) integers >= 0, M in all.

    Returns:
        loss_rows: (M,) int64, ascending.
        completion_cu_seqlens: (S + 1,) int32, the bounds of each sequence within the M sampled tokens.

    Raises:
        ValueError: an empty prompt, a negative length, unequal sizes, or more than 2**31 - 1 tokens.
    """
    prompts = _checked("prompt_lengths", prompt_lengths, least=1)
    completions = _checked("completion_lengths", completion_lengths, least=0)
    if prompts.size != completions.size:
        raise ValueError(
            f"completion_lengths: expected one for each of the {prompts.size} prompts, got {completions.size}"
        )
    _check_total(prompts, completions)
    return _C.loss_rows(prompts, completions) if BUILT else _loss_rows_py(prompts, completions)


# --- checks ---


def _checked(name: str, lengths: Lengths, least: int) -> Int64:
    """The lengths as a contiguous int64 array, the caller's own memory where it is one already."""
    values = np.asarray(lengths)
    if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
        raise ValueError(
            f"{name}: expected a flat list of integers, got {values.dtype} of shape {values.shape}"
        )
    values = np.ascontiguousarray(values, dtype=np.int64)
    too_short = np.flatnonzero(values < least)
    if too_short.size:
        first = too_short[0]
        raise ValueError(f"{name}[{first}]: expected at least {least} token(s), got {values[first]}")
    return values


def _check_total(*parts: Int64) -> None:
    """Each length is looked at as well as the sum: a sum of huge values may wrap around in int64."""
    largest = max((int(part.max(initial=0)) for part in parts), default=0)
    total = sum(int(part.sum()) for part in parts)
    if largest > INT32_MAX or total > INT32_MAX:
        raise ValueError(
            f"lengths: expected at most {INT32_MAX} tokens in all (cu_seqlens are int32), "
            f"got {max(largest, total)}"
        )


# --- plain Python twins: same arguments and results as the functions of dupo._C ---


def _pack_py(lengths: Int64, token_budget: int) -> tuple[Int64, Int64]:
    sizes: list[int] = lengths.tolist()
    bins: list[list[int]] = []
    open_bins: list[tuple[int, int]] = []  # (room left, bin), sorted
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        best = bisect_left(open_bins, (sizes[index], 0))
        if best == len(open_bins):
            bins.append([])
            room, number = token_budget, len(bins) - 1
        else:
            room, number = open_bins.pop(best)
        bins[number].append(index)
        if room > sizes[index]:
            insort(open_bins, (room - sizes[index], number))
    bins = sorted(sorted(members) for members in bins)
    indices = np.array([index for members in bins for index in members], dtype=np.int64)
    return indices, np.cumsum([0, *map(len, bins)], dtype=np.int64)


def _layout_py(lengths: Int64) -> tuple[Int64, Int32, Int32]:
    cu_seqlens = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    owner = np.repeat(np.arange(lengths.size, dtype=np.int32), lengths)
    position_ids = np.arange(owner.size, dtype=np.int64) - cu_seqlens[owner]
    return position_ids, cu_seqlens, owner


def _loss_rows_py(prompts: Int64, completions: Int64) -> tuple[Int64, Int32]:
    place, cu_seqlens, owner = _layout_py(completions)
    starts = np.cumsum(prompts + completions) - completions  # row of the first completion token
    return place + starts[owner] - 1, cu_seqlens
