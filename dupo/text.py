"""Packing: which sequences share a micro-batch, and how they lie in it. The only face of `dupo._C`.

    pack              lengths, token budget -> micro-batches (best-fit decreasing)
    layout            lengths -> position ids, bounds, owner of every token
    pack_completions  prompt and completion lengths -> the rows that carry the loss
    find_numbers      texts -> their numbers, and why some may not be hidden
    hide_numbers      texts -> each with one of its numbers hidden, in turn

Each function has a plain Python twin (`_*_py`) of the same result. The twin defines it, serves where the
extension was not built, and is what the tests compare the extension with. Token ids and models are not
known here.

Shape letters: S sequences, N tokens of all of them, M tokens that were sampled.
"""

import warnings
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from fractions import Fraction
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from dupo import numbers
from dupo.numbers import REASONS, ROLES, Hidden, Number

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

MOST_HIDDEN = 256  # numbers of one text: what has more is a table, not a problem
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


def find_numbers(texts: Sequence[str], *, threads: int = 1) -> list[list[Number]]:
    """The numbers of each text from left to right, each with the reason why it may not be hidden, if any.

    The rules are those of `dupo.numbers`; docs/duals.md has a table of them. The result does not depend on
    `threads`, how many share the work.

    Raises:
        ValueError: half a surrogate pair in a text (it has no UTF-8), or threads below 1.
    """
    _check_threads(threads)
    if not BUILT:
        return [numbers.find_numbers(_checked_text(texts, i)) for i in range(len(texts))]
    found = _utf8(_C.find_numbers, texts, threads)
    return [_numbers(text, rows) for text, rows in zip(texts, found, strict=True)]


def hide_numbers(
    texts: Sequence[str], seeds: Sequence[int], *, most: int = MOST_HIDDEN, threads: int = 1
) -> list[list[Hidden]]:
    """The numbers of a text that may be hidden, each hidden in turn wherever it stands (DuPO, appendix A).

    Args:
        texts: T texts.
        seeds: T integers of 64 bits without sign, one a text. They alone decide the names of the variables,
            and which numbers are hidden where there are more than `most`.
        most: hidden numbers a text, 1 to 256: each is a copy of the text.
        threads: how many share the work; the result does not depend on it.

    Returns:
        For each text one `Hidden` for each different number, in the order in which they first stand there.

    Raises:
        ValueError: half a surrogate pair in a text, or an argument out of range.
    """
    _check_threads(threads)
    if len(seeds) != len(texts) or not all(0 <= seed < 2**64 for seed in seeds):
        raise ValueError(f"seeds: expected {len(texts)} integers from 0 to 2**64 - 1, one a text")
    if not 1 <= most <= MOST_HIDDEN:
        raise ValueError(f"most: expected 1 to {MOST_HIDDEN}, got {most}")
    if not BUILT:
        return [numbers.hide_numbers(_checked_text(texts, i), seed, most) for i, seed in enumerate(seeds)]
    found = _utf8(_C.hide_numbers, texts, np.array(seeds, dtype=np.uint64), most, threads)
    return [
        [Hidden(known, variable, tuple(_numbers(text, rows))) for known, variable, rows in hidden]
        for text, hidden in zip(texts, found, strict=True)
    ]


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


def _check_threads(threads: int) -> None:
    if threads < 1:
        raise ValueError(f"threads: expected at least 1, got {threads}")


def _checked_text(texts: Sequence[str], index: int) -> str:
    try:
        texts[index].encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"texts[{index}]: expected text, got half a surrogate pair at character {error.start}"
        ) from None
    return texts[index]


def _utf8(call: Callable[..., list[Any]], texts: Sequence[str], *args: object) -> list[Any]:
    """What the extension says of texts; only where it cannot read one is it asked which."""
    try:
        return call(list(texts), *args)
    except UnicodeEncodeError:
        for index in range(len(texts)):
            _checked_text(texts, index)
        raise


def _numbers(text: str, rows: list[tuple[int, int, int, int, int, int]]) -> list[Number]:
    return [
        Number(start, end, text[start:end], Fraction(above, below), ROLES[role], _SKIP[skip])
        for start, end, above, below, role, skip in rows
    ]


_SKIP: tuple[str | None, ...] = (*REASONS, None)


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
