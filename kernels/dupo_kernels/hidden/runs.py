"""Runs of rows on the device: the sequences of a chunk, without any other row.

sequences.py says what a run is, and cuts chunks at the ends of runs. The module does not know losses.

Shape letters: M rows (tokens that count), C rows of one chunk, R runs.
"""

from bisect import bisect_left
from typing import NamedTuple

import torch
from torch import Tensor

from dupo_kernels._copies import to_device
from dupo_kernels.tokens.layout import Layout


class Runs(NamedTuple):
    """The runs of M rows, on the device.

    Attributes:
        bounds: R + 1, on the host.
        offsets: (R + 1,) int64, the same on the device.
        owner: (M,) int64, the run of each row.
        lengths: (M,) int64, rows of the run of each row.
    """

    bounds: list[int]
    offsets: Tensor
    owner: Tensor
    lengths: Tensor

    def which(self, rows: slice) -> slice:
        """The runs that are these rows, which begin and end with a run."""
        return slice(bisect_left(self.bounds, rows.start), bisect_left(self.bounds, rows.stop))

    def layout(self, rows: slice, active: Tensor) -> Layout:
        """The layout of a chunk of C rows, packed; no other row enters.

        Args:
            active: (C,) bool, which of the rows count.
        """
        runs = self.which(rows)
        offsets = self.offsets[runs.start : runs.stop + 1] - rows.start
        return Layout(
            active, self.lengths[rows], runs.stop - runs.start, self.owner[rows] - runs.start, offsets
        )


def runs_of(bounds: Tensor, device: torch.device) -> Runs:
    """The runs with these R + 1 bounds, which are on the host."""
    offsets = to_device(bounds, device)
    lengths, M = offsets.diff(), int(bounds.tolist()[-1])
    owner = torch.repeat_interleave(lengths, output_size=M)
    return Runs(bounds.tolist(), offsets, owner, lengths[owner])
