"""What a user's objective sees of a chunk: tensors in a shape of its own, 0 where a token does not count.

Rows are tokens in another order, and without those that do not count. The module does not know objectives.

Shape letters: N tokens, C rows of one chunk, B padded sequences, b of them in one chunk, T their length.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo_kernels.hidden.chunks import scatter_rows
from dupo_kernels.hidden.runs import Runs


class View(NamedTuple):
    """What a user's code sees of a chunk.

    Attributes:
        shape: of the tensors that the code gets.
        active: bool, flat, which of their elements count.
        place: (C,) where the rows stand in them; None for all, in order.
        tokens: which of the N tokens they are.
    """

    shape: Any
    active: Tensor
    place: Tensor | None
    tokens: Tensor | slice

    def from_rows(self, values_C: Tensor) -> Tensor:
        """Values of the rows as the code sees them."""
        values = scatter_rows(values_C, self.active.numel(), self.place)
        return values.where(self.active, 0).view(self.shape)

    def from_tokens(self, values_N: Tensor) -> Tensor:
        """Values of all tokens as the code sees them."""
        return values_N[self.tokens].where(self.active, 0).view(self.shape)

    def to_rows(self, values: Tensor) -> Tensor:
        """What the code says of each token, flat, for the rows."""
        return values if self.place is None else values[self.place]


def view_of_sequences(runs: Runs, rows: slice, row_index: Tensor | None, active_M: Tensor, T: int) -> View:
    """The view (b, T) of the sequences of a chunk, whatever the order of the rows.

    Args:
        runs: of all rows; those of the chunk are whole.
        rows: of the chunk.
        row_index: (M,) the token of each row; None for all N in order.
        active_M: bool, which rows count.
    """
    tokens_of_all = torch.arange(active_M.numel(), device=active_M.device) if row_index is None else row_index
    token = tokens_of_all[rows]
    which = runs.which(rows)
    # The first row of a run tells its sequence; a row knows its place by the place of its token.
    first = runs.offsets[which.start : which.stop] - rows.start
    sequence_b = token[first] // T
    place_C = (runs.owner[rows] - which.start) * T + token % T
    columns = torch.arange(T, device=token.device)
    shown = (sequence_b[:, None] * T + columns).flatten()
    active = scatter_rows(active_M[rows], shown.numel(), place_C)
    return View([which.stop - which.start, T], active, place_C, shown)
