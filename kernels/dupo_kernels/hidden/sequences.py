"""Chunks that end where sequences end, so that a loss of sequences needs the logits of one chunk alone.

A run is a sequence as rows show it: neighbours among the rows that belong to one sequence. Tokens outside all
sequences are runs too, which do not count. The host must know where runs end, or nothing can be cut without a
wait for the device. The module does not know losses.

Shape letters: N tokens, M rows (tokens that count), B padded sequences, T their length, S packed sequences, R
runs.
"""

from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor


class HostBounds(NamedTuple):
    """Where the sequences of N tokens end, as the host knows it.

    Attributes:
        N: tokens.
        length: T of tokens (B, T); 0 where they are packed.
        cu_seqlens: (S + 1,) on the host, the bounds of packed sequences; None where they are padded.
    """

    N: int
    length: int
    cu_seqlens: Tensor | None

    def owners(self, row_index: Tensor | None) -> Tensor:
        """(M,) int64 on the host: the sequence of each row, or -1 outside all of them.

        Args:
            row_index: (M,) on the host; None for all N in order.
        """
        token = torch.arange(self.N) if row_index is None else row_index.long()
        if self.cu_seqlens is None:
            return token // self.length
        bounds = self.cu_seqlens.long()
        owner = torch.searchsorted(bounds, token, right=True) - 1
        return owner.where(owner < bounds.numel() - 1, -1)


def run_bounds(bounds: HostBounds, row_index: Tensor | None, limit: int) -> list[int] | None:
    """The R + 1 bounds of the runs within the rows; None if the rows of a sequence are no neighbours.

    Args:
        bounds: of the sequences.
        row_index: (M,) on the host; None for all N in order.
        limit: the largest number of rows of a run outside all sequences, which may be cut anywhere.
    """
    owners, counts = torch.unique_consecutive(bounds.owners(row_index), return_counts=True)
    sequences = [owner for owner in owners.tolist() if owner >= 0]
    if len(set(sequences)) < len(sequences):
        return None
    lengths = []
    for owner, count in zip(owners.tolist(), counts.tolist(), strict=True):
        step = count if owner >= 0 else limit
        lengths += [min(step, count - done) for done in range(0, count, step)]
    return [0, *accumulate(lengths)]


def cut_at_ends(bounds: list[int], size: int, largest: int) -> list[int]:
    """The ends of chunks that are made of whole runs; none if a run has more than `largest` rows.

    Args:
        bounds: R + 1, of the runs.
        size: rows of a chunk at most, or as many as the longest run has.
    """
    longest = max(end - start for start, end in pairwise(bounds))
    if longest > largest:
        return []
    ends, start, limit = list[int](), 0, max(size, longest)
    # Greedy: a run that does not fit any more begins the next chunk.
    for end, following in zip(bounds[1:], [*bounds[2:], None], strict=True):
        if following is None or following - start > limit:
            ends.append(end)
            start = end
    return ends
