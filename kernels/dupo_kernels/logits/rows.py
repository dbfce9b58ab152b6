"""The rows of logits that the kernels read, and what they say of each row.

Shape letters: N rows (one for each token), V vocabulary.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

FLOOR = -1e30  # stands for -inf where -inf times a probability of 0 would give NaN


class Rows(NamedTuple):
    """What both directions read.

    Attributes:
        logits: (N, V) fp16, bf16, fp32 or fp64, contiguous along V.
        targets: (N,) int64.
        inv_temperature: (N,), or (1,) for all rows, in the type of the sums; None where a number is for all.
        softcap: in units of logits; 0 means none.
        inv_temperature_of_all: that number, which costs no launch; read where inv_temperature is None.
    """

    logits: Tensor
    targets: Tensor
    inv_temperature: Tensor | None
    softcap: float
    inv_temperature_of_all: float = 1.0

    @property
    def scale(self) -> Tensor | float:
        """1 / temperature as kernels take it: the tensor, or the number."""
        return self.inv_temperature_of_all if self.inv_temperature is None else self.inv_temperature

    def scale_arguments(self) -> dict[str, Any]:
        """1 / temperature as arguments of a kernel, which reads it by `read_scale` of row_maths.py."""
        scale = self.inv_temperature
        return {
            "inv_temperature_ptr": None if scale is None else scale.contiguous(),
            "inv_temperature_of_all": self.inv_temperature_of_all,
            "stride_t": int(scale is not None and scale.numel() > 1),
        }

    def take(self, rows: slice) -> "Rows":
        """The rows of a slice; no copy."""
        inv_temperature = self.inv_temperature
        # One temperature for all rows is one element, not N copies.
        if inv_temperature is not None and inv_temperature.numel() > 1:
            inv_temperature = inv_temperature[rows]
        taken = self._replace(logits=self.logits[rows], targets=self.targets[rows])
        return taken._replace(inv_temperature=inv_temperature)


class RowStatistics(NamedTuple):
    """What the forward pass computes of each row, (N,) each, nats, in the type of the sums.

    Attributes:
        logp: log-probability of the target.
        entropy: of the distribution; (0,) if not asked for.
        lse: log of the sum of exponentials.
        top: log-probability of the likeliest token; `logp == top` tells whether it was chosen.
    """

    logp: Tensor
    entropy: Tensor
    lse: Tensor
    top: Tensor

    def take(self, rows: slice) -> "RowStatistics":
        """The statistics of a slice of rows; no copy."""
        return RowStatistics(*(column[rows] for column in self))


def new_statistics(logits: Tensor, N: int, with_entropy: bool) -> RowStatistics:
    """Memory for the statistics of N rows, not filled."""
    sizes = N, N if with_entropy else 0, N, N
    return RowStatistics(*(logits.new_empty(size, dtype=sum_dtype(logits)) for size in sizes))


def sum_dtype(logits: Tensor) -> torch.dtype:
    """The type in which sums over the vocabulary are taken: fp32, or fp64 for fp64 logits."""
    return torch.promote_types(logits.dtype, torch.float32)


def narrowed(logits_NV: Tensor, dtype: torch.dtype) -> Tensor:
    """Memory for dlogits of `dtype` in that of the logits; the logits themselves in their own type.

    A narrow row is the upper half of its wide row: who writes it from the last column on overwrites only
    logits of the same or later columns.
    """
    if logits_NV.dtype == dtype:
        return logits_NV
    N, V = logits_NV.shape
    stride = logits_NV.stride(0)
    # Whole rows with their padding: only those can be viewed in another type.
    return logits_NV.as_strided((N, stride), (stride, 1)).view(dtype)[:, -stride:][:, :V]
