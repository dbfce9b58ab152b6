"""Packing and padding of token ids: the plain Python twin of csrc/packing.cpp, same arguments and results.

The twin defines every result, serves where the extension was not built, and is what the tests compare with.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dupo.text.assembly import INT32_MAX, Int32, Int64

Bool = npt.NDArray[np.bool_]


class Ids(NamedTuple):
    """Token ids of S sequences, end to end.

    Attributes:
        ids: (N,) int64.
        cu_seqlens: (S + 1,) int32, where each sequence starts and the last one ends.
    """

    ids: Int64
    cu_seqlens: Int32

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> "Ids":
        """The same as lists. Raises ValueError for more than 2**31 - 1 tokens."""
        bounds = np.cumsum([0, *map(len, sequences)])
        if bounds[-1] > INT32_MAX:
            raise ValueError(
                f"sequences: expected at most {INT32_MAX} tokens (cu_seqlens are int32), got {bounds[-1]}"
            )
        ids = np.fromiter(chain.from_iterable(sequences), np.int64, int(bounds[-1]))
        return cls(ids, bounds.astype(np.int32))

    def lists(self) -> list[list[int]]:
        """One list of ids for each sequence."""
        ids = self.ids.tolist()
        return [ids[start:end] for start, end in pairwise(self.cu_seqlens.tolist())]


def pack(lengths: Int64, token_budget: int) -> tuple[Int64, Int64]:
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


def _pairs(*args: Int64 | Int32) -> list[tuple[list[int], list[int]]]:
    """Each prompt and its completion, from prompt ids, their bounds, completion ids, their bounds."""
    sides = []
    for ids, bounds in (args[:2], args[2:]):
        if not bounds.size or bounds[0] != 0 or bounds[-1] != ids.size or (np.diff(bounds) < 0).any():
            raise ValueError("cu_seqlens: expected 0, ascending, up to the number of ids")
        sides.append(Ids(*(np.asarray(ids, np.int64), np.asarray(bounds, np.int32))).lists())
    return list(zip(*sides, strict=True))


def packed(
    prompt_ids: Int64,
    prompt_bounds: Int32,
    completion_ids: Int64,
    completion_bounds: Int32,
    threads: int,
) -> tuple[Int64, Int64, Int32, int, Bool, Int32]:
    pairs = _pairs(prompt_ids, prompt_bounds, completion_ids, completion_bounds)
    input_ids, cu_seqlens = Ids.of([prompt + completion for prompt, completion in pairs])
    lengths = np.diff(cu_seqlens)
    owner = np.repeat(np.arange(lengths.size, dtype=np.int32), lengths)
    position_ids = np.arange(owner.size, dtype=np.int64) - cu_seqlens[owner]
    sampled = np.array([flag for p, c in pairs for flag in [False] * len(p) + [True] * len(c)], bool)
    return input_ids, position_ids, cu_seqlens, int(lengths.max(initial=0)), sampled, owner


def padded(
    prompt_ids: Int64,
    prompt_bounds: Int32,
    completion_ids: Int64,
    completion_bounds: Int32,
    pad_id: int,
    left: bool,
    threads: int,
) -> tuple[Int64, Int64, Int64, Bool]:
    pairs = _pairs(prompt_ids, prompt_bounds, completion_ids, completion_bounds)
    width = max((len(p) + len(c) for p, c in pairs), default=0)

    def rows(filled: list[list[int]], fill: int) -> Int64:
        out = np.full((len(pairs), width), fill, np.int64)
        for row, values in zip(out, filled, strict=True):
            start = width - len(values) if left else 0
            row[start : start + len(values)] = values
        return out

    attention_mask = rows([[1] * (len(p) + len(c)) for p, c in pairs], 0)
    position_ids = (attention_mask.cumsum(-1) - 1).clip(min=0)
    sampled = rows([[0] * len(p) + [1] * len(c) for p, c in pairs], 0).astype(bool)
    return rows([p + c for p, c in pairs], pad_id), attention_mask, position_ids, sampled
