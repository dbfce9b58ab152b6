"""Packing and padding of token ids: the plain Python twin of csrc/batches_packing.cpp.

Every function has the arguments and the results of the function of the same name in `dupo._C`.
"""

from bisect import bisect_left, insort

import numpy as np

from dupo.text.ids import Bool, Ids, Int32, Int64


def pack(lengths: Int64, token_budget: int) -> tuple[Int64, Int64]:
    """Best-fit decreasing; see `dupo.text.pack`.

    Returns:
        indices: (S,) int64, sequence indices, bin after bin.
        offsets: bin b holds `indices[offsets[b]:offsets[b + 1]]`.
    """
    sizes: list[int] = lengths.tolist()
    bins: list[list[int]] = []
    # Sorted by room, then by age: the first entry with enough room is the best fit.
    open_bins: list[tuple[int, int]] = []  # (room, bin)
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


def packed(
    prompt_ids: Int64,
    prompt_bounds: Int32,
    completion_ids: Int64,
    completion_bounds: Int32,
    threads: int,
) -> tuple[Int64, Int64, Int32, int, Bool]:
    """Returns the fields of `dupo.text.Packed`, in order."""
    pairs = _pairs(prompt_ids, prompt_bounds, completion_ids, completion_bounds)
    input_ids, cu_seqlens = Ids.of([prompt + completion for prompt, completion in pairs])
    lengths = np.diff(cu_seqlens)
    position_ids = np.arange(input_ids.size, dtype=np.int64) - np.repeat(cu_seqlens[:-1], lengths)
    loss_mask = np.array([flag for p, c in pairs for flag in [False] * len(p) + [True] * len(c)], bool)
    return input_ids, position_ids, cu_seqlens, int(lengths.max(initial=0)), loss_mask


def padded(
    prompt_ids: Int64,
    prompt_bounds: Int32,
    completion_ids: Int64,
    completion_bounds: Int32,
    pad_id: int,
    left: bool,
    threads: int,
) -> tuple[Int64, Int64, Int64, Bool]:
    """Returns the fields of `dupo.text.Padded`, in order."""
    pairs = _pairs(prompt_ids, prompt_bounds, completion_ids, completion_bounds)
    width = max((len(p) + len(c) for p, c in pairs), default=0)

    def rows(sequences: list[list[int]], fill: int) -> Int64:
        out = np.full((len(pairs), width), fill, np.int64)
        for row, values in zip(out, sequences, strict=True):
            start = width - len(values) if left else 0
            row[start : start + len(values)] = values
        return out

    attention_mask = rows([[1] * (len(p) + len(c)) for p, c in pairs], 0)
    # The running count gives padding on the right the position of the last token, on the left -1: 0.
    position_ids = (attention_mask.cumsum(-1) - 1).clip(min=0)
    loss_mask = rows([[0] * len(p) + [1] * len(c) for p, c in pairs], 0).astype(bool)
    return rows([p + c for p, c in pairs], pad_id), attention_mask, position_ids, loss_mask


def _pairs(*args: Int64 | Int32) -> list[tuple[list[int], list[int]]]:
    """Pairs prompts with completions. args: prompt ids, their bounds, completion ids, their bounds."""
    # The core checks its bounds too: the twin must refuse what the core refuses.
    sides = []
    for ids, bounds in (args[:2], args[2:]):
        if not bounds.size or bounds[0] != 0 or bounds[-1] != ids.size or (np.diff(bounds) < 0).any():
            raise ValueError("cu_seqlens: expected 0, ascending, up to the number of ids")
        sides.append(Ids(np.asarray(ids, np.int64), np.asarray(bounds, np.int32)).lists())
    return list(zip(*sides, strict=True))
