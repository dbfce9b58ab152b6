"""The torch path of logprob.py, for CPUs and for float64: the same closed forms on chunks of rows.

A chunk has a few temporaries of its size; SCRATCH_BYTES bounds them, whatever N is (one row is the least).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

SCRATCH_BYTES = 16 << 20  # 8 to 32 MiB are equally fast on two cores; 64 is slower
FLOOR = -1e30  # stands for -inf where -inf times a probability of 0 would give NaN


@dataclass(frozen=True, slots=True)
class Rows:
    """What both directions read.

    Attributes:
        logits: (N, V), contiguous along V.
        targets: (N,) int64.
        inv_temperature: (N,), or (1,) for all rows; in the type of the sums.
        softcap: 0 is none.
    """

    logits: Tensor
    targets: Tensor
    inv_temperature: Tensor
    softcap: float

    def part(self, at: slice) -> "Rows":
        shared = self.inv_temperature.numel() == 1
        inv_temperature = self.inv_temperature if shared else self.inv_temperature[at]
        return Rows(self.logits[at], self.targets[at], inv_temperature, self.softcap)


def forward(rows: Rows, logp: Tensor, entropy: Tensor | None, lse: Tensor, top: Tensor) -> None:
    """Writes logp, lse, the log-prob of the likeliest token and (unless None) entropy, each (N,)."""
    for at in _chunks(rows.logits, temporaries=2):
        _forward_chunk(rows.part(at), logp[at], None if entropy is None else entropy[at], lse[at], top[at])


def backward(rows: Rows, lse: Tensor, entropy: Tensor, a: Tensor, b: Tensor | None, out: Tensor) -> None:
    """Writes dlogits into `out` (N, V); a = dloss / dlogp and b = dloss / dentropy, each (N,)."""
    for at in _chunks(rows.logits, temporaries=3):
        _backward_chunk(rows.part(at), lse[at], entropy[at], a[at], None if b is None else b[at], out[at])


def _chunks(logits: Tensor, temporaries: int) -> Iterator[slice]:
    N, V = logits.shape
    row_bytes = temporaries * V * max(4, logits.dtype.itemsize)
    step = max(1, SCRATCH_BYTES // row_bytes)
    return (slice(n, min(n + step, N)) for n in range(0, N, step))


def _scaled(rows: Rows, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """(z, tanh(logits / softcap) or None), both new tensors."""
    z = rows.logits.to(dtype, copy=True)
    squashed = None
    if rows.softcap:
        squashed = z.div_(rows.softcap).tanh_()
        z = squashed * rows.softcap
    return z.mul_(rows.inv_temperature[:, None]), squashed


def _forward_chunk(rows: Rows, logp: Tensor, entropy: Tensor | None, lse: Tensor, top: Tensor) -> None:
    gap, _ = _scaled(rows, lse.dtype)
    peak = gap.amax(1)
    empty = peak == -torch.inf
    peak.masked_fill_(empty, 0.0)
    gap.sub_(peak[:, None])
    valid = (rows.targets >= 0) & (rows.targets < gap.shape[1])
    chosen = gap.gather(1, rows.targets.where(valid, 0)[:, None])[:, 0]
    terms = gap.exp()
    total = terms.sum(1)
    log_sum = total.log()
    logp.copy_((chosen - log_sum).masked_fill_(empty, -torch.inf).masked_fill_(~valid, torch.nan))
    lse.copy_(peak + log_sum)
    top.copy_(-log_sum.masked_fill(empty, 0.0))
    if entropy is not None:
        mean_gap = terms.mul_(gap.clamp_(min=FLOOR)).sum(1).div_(total)
        entropy.copy_((log_sum - mean_gap).masked_fill_(empty, 0.0))


def _backward_chunk(
    rows: Rows, lse: Tensor, entropy: Tensor, a: Tensor, b: Tensor | None, out: Tensor
) -> None:
    log_p, squashed = _scaled(rows, lse.dtype)
    log_p.sub_(lse[:, None])
    dz = log_p.exp()
    live = a != 0
    if b is None:
        dz.mul_(-a[:, None])
    else:
        live |= b != 0
        log_p.clamp_(min=FLOOR).add_(entropy[:, None])
        dz.mul_(log_p.mul_(-b[:, None]).sub_(a[:, None]))
    valid = (rows.targets >= 0) & (rows.targets < dz.shape[1])
    dz.scatter_add_(1, rows.targets.where(valid, 0)[:, None], a.where(valid, 0.0)[:, None])
    dz.mul_(rows.inv_temperature[:, None])
    if squashed is not None:
        dz.mul_(squashed.square_().neg_().add_(1.0))
    live &= lse != -torch.inf
    out.copy_(dz.masked_fill_(~live[:, None], 0.0))
