"""Segments of rows on the device: the sequences of a chunk, without any other row.

sequences.py says what a segment is, and cuts chunks at their ends. The module does not know losses.

Shape letters: M rows (tokens that count), C rows of one chunk, R segments.
"""

from bisect import bisect_left
from typing import NamedTuple

import torch
from torch import Tensor

from dupo_kernels._copies import to_device
from dupo_kernels.tokens.layout import Layout


class Segments(NamedTuple):
    """The segments of M rows, on the device.

    Attributes:
        bounds: R + 1 numbers on the host; segment r is rows bounds[r] to bounds[r + 1].
        offsets: (R + 1,) int64, the bounds on the device.
        owner: (M,) int64, the segment of each row.
        lengths: (M,) int64, how many rows the segment of each row has.
    """

    bounds: list[int]
    offsets: Tensor
    owner: Tensor
    lengths: Tensor

    def which(self, rows: slice) -> slice:
        """Which of the R segments make up these rows; the rows must begin and end with a segment."""
        return slice(bisect_left(self.bounds, rows.start), bisect_left(self.bounds, rows.stop))

    def layout(self, rows: slice, active: Tensor) -> Layout:
        """The packed layout of a chunk of C rows, its segments as sequences.

        Args:
            rows: of the chunk, whole segments.
            active: (C,) bool, which of the rows count.
        """
        which = self.which(rows)
        offsets = self.offsets[which.start : which.stop + 1] - rows.start
        owner = self.owner[rows] - which.start
        return Layout(active, self.lengths[rows], which.stop - which.start, owner, offsets)


def segments_of(bounds: Tensor, device: torch.device) -> Segments:
    """The segments with these bounds, (R + 1,) int64 on the host; waits for nothing."""
    offsets = to_device(bounds, device)
    lengths, M = offsets.diff(), int(bounds.tolist()[-1])
    owner = torch.repeat_interleave(lengths, output_size=M)
    return Segments(bounds.tolist(), offsets, owner, lengths[owner])
