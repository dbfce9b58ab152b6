"""The divergence of two heads by its definition and autograd: what divergence.py is tested against.

Every logit exists at once. Shape letters: V vocabulary. "Tokens" is (N,) or (B, T).
"""

from typing import Any

import torch
from torch import Tensor


def linear_divergence_ref(
    hidden: Tensor,
    weight: Tensor,
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    *,
    beta: float,
    temperature: float | Tensor = 1.0,
    weights: Tensor | None = None,
    mask: Tensor | None = None,
    rows: Tensor | None = None,
    bias: Tensor | None = None,
    teacher_bias: Tensor | None = None,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    teacher_logit_scale: float = 1.0,
    teacher_softcap: float | None = None,
) -> Tensor:
    """The loss of `linear_divergence` by its definition and autograd; fp64 inputs give the truth.

    Arguments are those of `linear_divergence`.
    """
    p = _probabilities(hidden, weight, bias, logit_scale, softcap, temperature)
    q = _probabilities(
        teacher_hidden, teacher_weight, teacher_bias, teacher_logit_scale, teacher_softcap, temperature
    ).detach()
    if beta == 0:
        divergence = _kl(q, p)
    elif beta == 1:
        divergence = _kl(p, q)
    else:
        m = (1 - beta) * p + beta * q
        divergence = beta * _kl(q, m) + (1 - beta) * _kl(p, m)
    counts = torch.ones_like(divergence, dtype=torch.bool) if mask is None else mask != 0
    if rows is not None:
        # A list of rows says the same as a mask.
        counts = torch.zeros_like(divergence, dtype=torch.bool).flatten()
        counts = counts.index_fill(0, rows.long(), True).view(divergence.shape)
    weights = counts.to(p.dtype) / max(int(counts.sum()), 1) if weights is None else weights
    return (divergence[counts] * weights[counts]).sum()


def _probabilities(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, scale: float, softcap: Any, temperature: Any
) -> Tensor:
    wide = torch.promote_types(hidden.dtype, torch.float32)
    z = hidden.to(wide) @ weight.to(wide).t()
    z = scale * (z if bias is None else z + bias)
    z = z if softcap is None else softcap * torch.tanh(z / softcap)
    if isinstance(temperature, Tensor):
        temperature = temperature.to(z).expand(z.shape[:-1])[..., None]
    return (z / temperature).softmax(-1)


def _kl(p: Tensor, r: Tensor) -> Tensor:
    """KL(p || r) of each token; 0 log 0 is 0."""
    # Autograd multiplies the derivative of what `where` drops by 0: a logarithm of 0 would make NaN there.
    return torch.where(p == 0, 0.0, p * (p.where(p > 0, 1.0) / r.where(p > 0, 1.0)).log()).sum(-1)
