"""The torch path of launch.py, for CPUs and for float64: the closed forms of logprobs.py on chunks of rows.

A chunk has a few temporaries of its size (C, V). SCRATCH_BYTES bounds them for every N, but a chunk has at
least one row. No pass over a chunk is a masked_fill or a where: those cost on a CPU what an exponential
costs, ten times a product.

Shape letters: N rows, C rows of a chunk, V vocabulary.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from dupo_kernels.logits.rows import FLOOR, LOG2E, Rows

SCRATCH_BYTES = 8 << 20  # 4 to 16 MiB are equally fast on two cores; 1 and 32 are slower
BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # integers of the size of a float


def forward(rows: Rows, logp: Tensor, entropy: Tensor | None, lse: Tensor, top: Tensor) -> None:
    """Writes logp, lse, the log-prob of the likeliest token and (unless None) entropy, each (N,)."""
    for chunk, scratch in blocks(rows.logits, 2, lse.dtype):
        entropy_C = None if entropy is None else entropy[chunk]
        _forward_chunk(rows.take(chunk), scratch, logp[chunk], entropy_C, lse[chunk], top[chunk])


def backward(
    rows: Rows, lse: Tensor, entropy: Tensor, dlogp: Tensor, dentropy: Tensor | None, dlogits: Tensor
) -> None:
    """Writes dlogits (N, V) from dlogp and dentropy, each (N,); lse and entropy are those of `forward`."""
    for chunk, scratch in blocks(rows.logits, 3, lse.dtype):
        # 1 / temperature enters by numbers of rows, and costs no pass.
        dlogp_C = dlogp[chunk] * rows.take(chunk).scale
        dentropy_C = None if dentropy is None else dentropy[chunk] * rows.take(chunk).scale
        _backward_chunk(
            rows.take(chunk), scratch, lse[chunk], entropy[chunk], dlogp_C, dentropy_C, dlogits[chunk]
        )


def blocks(
    logits: Tensor, temporaries: int, dtype: torch.dtype, scratch_bytes: int | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """The rows of each chunk, and memory for its temporaries, (temporaries, C, V).

    Args:
        scratch_bytes: of all temporaries at once, but for one row; None: SCRATCH_BYTES.
    """
    N, V = logits.shape
    most = SCRATCH_BYTES if scratch_bytes is None else scratch_bytes
    step = max(1, min(N, most // (temporaries * V * dtype.itemsize)))
    # All chunks share this memory: new pages of the system cost more than a pass over a chunk.
    scratch = logits.new_empty(temporaries, step, V, dtype=dtype)
    for start in range(0, N, step):
        chunk = slice(start, min(start + step, N))
        yield chunk, scratch[:, : chunk.stop - start]


def scaled(rows: Rows, z: Tensor, squashed: Tensor) -> Tensor:
    """z (C, V), written; with a softcap `squashed` (C, V) becomes tanh(logits / softcap).

    Who does not read `squashed` may give the memory of z for it.
    """
    scale = rows.scale
    # A number would leave the product of half logits in their own type: a column widens it.
    column = scale[:, None] if isinstance(scale, Tensor) else z.new_full((1, 1), scale)
    if not rows.softcap:
        return torch.mul(rows.logits, column, out=z)
    squashed.copy_(rows.logits).div_(rows.softcap).tanh_()
    return torch.mul(squashed, rows.softcap, out=z).mul_(column)


def exp(x: Tensor, out: Tensor) -> Tensor:
    """exp(x), written into `out`, which may be x."""
    # On CPUs that are not Intel's torch leaves exp to MKL, and exp takes three times as long as exp2. The
    # product rounds x, as in the kernels.
    return torch.mul(x, LOG2E, out=out).exp2_()


def clear_rows(dlogits: Tensor, has_gradient: Tensor) -> None:
    """Writes zeros over the rows of dlogits (C, V) where has_gradient (C,) is False, whatever they hold."""
    # Bits are kept by ones, which are -1, and cleared by zeros.
    bits = BITS[dlogits.dtype.itemsize]
    dlogits.view(bits).bitwise_and_(-has_gradient[:, None].to(bits))


def _forward_chunk(
    rows: Rows, scratch: Tensor, logp: Tensor, entropy: Tensor | None, lse: Tensor, top: Tensor
) -> None:
    gap = scaled(rows, scratch[0], scratch[1])
    peak = gap.amax(1)
    empty = peak == -torch.inf
    # -inf minus -inf would be NaN: a row of nothing but -inf has its peak at 0.
    peak.masked_fill_(empty, 0.0)
    gap.sub_(peak[:, None])
    valid = (rows.targets >= 0) & (rows.targets < gap.shape[1])
    target_gap = gap.gather(1, rows.targets.where(valid, 0)[:, None])[:, 0]
    # Without an entropy nobody reads the gaps again.
    exp_gap = exp(gap, gap if entropy is None else scratch[1])
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
    rows: Rows, scratch: Tensor, lse: Tensor, entropy: Tensor,
    dlogp: Tensor, dentropy: Tensor | None, dlogits: Tensor,
) -> None:  # fmt: skip
    # Where dlogits have the type of the sums they are their own temporary; they may be the logits as well.
    dz = dlogits if dlogits.dtype == scratch.dtype else scratch[0]
    log_p = scaled(rows, dz, scratch[1]).sub_(lse[:, None])
    has_gradient = dlogp != 0
    if dentropy is None:
        exp(log_p, log_p).mul_(-dlogp[:, None])
    else:
        has_gradient |= dentropy != 0
        p = exp(log_p, scratch[2])
        log_p.clamp_(min=FLOOR).add_(entropy[:, None])
        log_p.mul_(-dentropy[:, None]).sub_(dlogp[:, None]).mul_(p)
    valid = (rows.targets >= 0) & (rows.targets < dz.shape[1])
    dz.scatter_add_(1, rows.targets.where(valid, 0)[:, None], dlogp.where(valid, 0.0)[:, None])
    if rows.softcap:
        dz.mul_(scratch[1].square_().neg_().add_(1.0))
    if dz is not dlogits:
        dlogits.copy_(dz)
    # Rows without a gradient may hold NaN or infinity: exact zeros, not 0 times those.
    clear_rows(dlogits, has_gradient & (lse != -torch.inf))
