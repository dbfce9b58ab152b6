"""Both directions of rows of logits that have K targets each: log-probabilities of one softmax.

    logp_k = z_{y_k} - lse        dz_v = sum_k dlogp_k (1[v = y_k] - p_v) - dentropy p_v (log p_v + H)

The row itself is left to logits/launch.py, with one target forward and none backward; here the numbers at the
targets are put in. A target that stands in a row twice has both derivatives. Targets outside [0, V) give NaN.

Shape letters: N rows, K targets of each, V vocabulary.
"""

import torch
from torch import Tensor

from dupo_kernels.logits.launch import logprobs_backward, logprobs_forward
from dupo_kernels.logits.rows import FLOOR, Rows, RowStatistics, sum_dtype


def forward(rows: Rows, with_entropy: bool) -> RowStatistics:
    """The statistics of each row, as `logprobs_forward`; targets and logp are (N, K)."""
    u, place, is_valid = _at_targets(rows)
    # The kernel takes the likeliest of the targets: no log-probability of the others cancels beside its own.
    lowest = torch.finfo(u.dtype).min
    likeliest = u.clamp(min=lowest).masked_fill(~is_valid, -torch.inf).argmax(1, keepdim=True)
    target = torch.where(is_valid, place, -1).gather(1, likeliest)[:, 0]
    statistics = logprobs_forward(rows._replace(targets=target), with_entropy)
    top_u = u.gather(1, likeliest)
    # -inf minus -inf would be NaN.
    drop = ((u - top_u) * _factor(rows)).masked_fill(u == top_u, 0.0)
    logp = (statistics.logp[:, None] + drop).masked_fill(~is_valid, torch.nan)
    return statistics._replace(logp=logp)


def backward(
    rows: Rows, lse: Tensor, entropy: Tensor, dlogp: Tensor, dentropy: Tensor | None, dlogits: Tensor
) -> None:
    """Writes dlogits (N, V), as `logprobs_backward`; targets and dlogp are (N, K)."""
    # The kernel may write over the logits.
    u, place, is_valid = _at_targets(rows)
    dlogp = dlogp.to(lse.dtype)
    total = dlogp.sum(1)
    nowhere = torch.full_like(lse, -1, dtype=torch.int64)
    logprobs_backward(rows._replace(targets=nowhere), lse, entropy, total, dentropy, dlogits)
    # Equal targets get equal sums, so that whichever of them is written last writes the same bits.
    own = dlogp.where(is_valid, 0.0)
    at_target = torch.zeros_like(own)
    for k in range(place.shape[1]):
        at_target += own[:, k, None].where(place == place[:, k, None], 0.0)
    log_p = u * _factor(rows) - lse[:, None]
    p = log_p.exp()
    dz = at_target - total[:, None] * p
    has_gradient = (dlogp != 0).any(1)
    if dentropy is not None:
        dentropy = dentropy.to(lse.dtype)
        dz -= dentropy[:, None] * p * (log_p.clamp(min=FLOOR) + entropy[:, None])
        has_gradient |= dentropy != 0
    dz = dz * _column(rows.scale, dz)
    if rows.softcap:
        dz = dz * (1.0 - u.square())
    # Exact zeros, as in the rest of the row.
    dz = dz.where((has_gradient & (lse != -torch.inf))[:, None], 0.0)
    # Written, not added: a sum with the rounded rest of the row would be rounded twice.
    dlogits.scatter_(1, place, dz.to(dlogits.dtype))


def _at_targets(rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """(u, place, whether it is a token) of each target, (N, K); place is 0 for what is none.

    u is the logit, with a softcap tanh(logit / softcap), in the type of the sums.
    """
    is_valid = (rows.targets >= 0) & (rows.targets < rows.logits.shape[1])
    place = rows.targets.where(is_valid, 0)
    u = rows.logits.gather(1, place).to(sum_dtype(rows.logits))
    return torch.tanh(u / rows.softcap) if rows.softcap else u, place, is_valid


def _factor(rows: Rows) -> Tensor:
    """What turns differences of u into those of z, (N, 1) or (1, 1)."""
    column = _column(rows.scale, rows.logits)
    return column * rows.softcap if rows.softcap else column


def _column(scale: Tensor | float, like: Tensor) -> Tensor:
    return (
        scale[:, None] if isinstance(scale, Tensor) else like.new_full((1, 1), scale, dtype=sum_dtype(like))
    )
