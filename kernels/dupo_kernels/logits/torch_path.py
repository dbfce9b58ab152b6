"""The torch path of launch.py, for CPUs and for float64: the closed forms of logprobs.py on chunks of rows.

A chunk has a few temporaries of its size (C, V). SCRATCH_BYTES bounds them for every N, but a chunk has at
least one row.

Shape letters: N rows, C rows of a chunk, V vocabulary.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from dupo_kernels.logits.rows import FLOOR, Rows

SCRATCH_BYTES = 16 << 20  # 8 to 32 MiB are equally fast on two cores; 64 is slower


def forward(rows: Rows, logp: Tensor, entropy: Tensor | None, lse: Tensor, top: Tensor) -> None:
    """Writes logp, lse, the log-prob of the likeliest token and (unless None) entropy, each (N,)."""
    for chunk in _chunks(rows.logits, temporaries=2):
        entropy_C = None if entropy is None else entropy[chunk]
        _forward_chunk(rows.take(chunk), logp[chunk], entropy_C, lse[chunk], top[chunk])


def backward(
    rows: Rows, lse: Tensor, entropy: Tensor, dlogp: Tensor, dentropy: Tensor | None, dlogits: Tensor
) -> None:
    """Writes dlogits (N, V) from dlogp and dentropy, each (N,); lse and entropy are those of `forward`."""
    for chunk in _chunks(rows.logits, temporaries=3):
        dentropy_C = None if dentropy is None else dentropy[chunk]
        _backward_chunk(
            rows.take(chunk), lse[chunk], entropy[chunk], dlogp[chunk], dentropy_C, dlogits[chunk]
        )


def _chunks(logits: Tensor, temporaries: int) -> Iterator[slice]:
    N, V = logits.shape
    # Temporaries are of the type of the sums, at least four bytes wide.
    row_bytes = temporaries * V * max(4, logits.dtype.itemsize)
    step = max(1, SCRATCH_BYTES // row_bytes)
    return (slice(n, min(n + step, N)) for n in range(0, N, step))


def _scaled(rows: Rows, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """(z, tanh(logits / softcap) or None), both new tensors (C, V)."""
    # copy, also where the type is right: all that follows is in place, and the logits are not ours
    z = rows.logits.to(dtype, copy=True)
    squashed = None
    if rows.softcap:
        squashed = z.div_(rows.softcap).tanh_()
        z = squashed * rows.softcap
    return z.mul_(_column(rows.scale)), squashed


def _column(scale: Tensor | float) -> Tensor | float:
    return scale[:, None] if isinstance(scale, Tensor) else scale


def _forward_chunk(rows: Rows, logp: Tensor, entropy: Tensor | None, lse: Tensor, top: Tensor) -> None:
    gap, _ = _scaled(rows, lse.dtype)
    peak = gap.amax(1)
    empty = peak == -torch.inf
    # -inf minus -inf would be NaN: a row of nothing but -inf has its peak at 0.
    peak.masked_fill_(empty, 0.0)
    gap.sub_(peak[:, None])
    valid = (rows.targets >= 0) & (rows.targets < gap.shape[1])
    target_gap = gap.gather(1, rows.targets.where(valid, 0)[:, None])[:, 0]
    exp_gap = gap.exp()
    total = exp_gap.sum(1)
    log_sum = total.log()
    logp.copy_((target_gap - log_sum).masked_fill_(empty, -torch.inf).masked_fill_(~valid, torch.nan))
    lse.copy_(peak + log_sum)
    top.copy_(-log_sum.masked_fill(empty, 0.0))
    if entropy is not None:
        # FLOOR instead of -inf: its product with a probability of 0 is 0.
        mean_gap = exp_gap.mul_(gap.clamp_(min=FLOOR)).sum(1).div_(total)
        entropy.copy_((log_sum - mean_gap).masked_fill_(empty, 0.0))


def _backward_chunk(
    rows: Rows, lse: Tensor, entropy: Tensor, dlogp: Tensor, dentropy: Tensor | None, dlogits: Tensor
) -> None:
    log_p, squashed = _scaled(rows, lse.dtype)
    log_p.sub_(lse[:, None])
    dz = log_p.exp()
    has_gradient = dlogp != 0
    # In place, over p and log p: a chunk may hold no more than three temporaries.
    if dentropy is None:
        dz.mul_(-dlogp[:, None])
    else:
        has_gradient |= dentropy != 0
        log_p.clamp_(min=FLOOR).add_(entropy[:, None])
        dz.mul_(log_p.mul_(-dentropy[:, None]).sub_(dlogp[:, None]))
    valid = (rows.targets >= 0) & (rows.targets < dz.shape[1])
    dz.scatter_add_(1, rows.targets.where(valid, 0)[:, None], dlogp.where(valid, 0.0)[:, None])
    dz.mul_(_column(rows.scale))
    if squashed is not None:
        dz.mul_(squashed.square_().neg_().add_(1.0))
    # Rows without a gradient may hold NaN or infinity: exact zeros, not 0 times those.
    has_gradient &= lse != -torch.inf
    dlogits.copy_(dz.masked_fill_(~has_gradient[:, None], 0.0))
