"""Log-probability and entropy by their definitions: what both paths of logprobs.py are tested against."""

import torch
from torch import Tensor

from dupo_kernels.logits.rows import sum_dtype


def token_logprobs_ref(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    softcap: float | None = None,
    entropy: bool = False,
    inplace_backward: bool = False,
    check: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """`token_logprobs` by its definition and autograd, never in place; fp64 logits give the truth.

    Arguments and results are those of `token_logprobs`; inplace_backward and check have no effect.
    """
    z = logits.to(sum_dtype(logits))
    if softcap is not None:
        z = softcap * torch.tanh(z / softcap)
    if isinstance(temperature, Tensor):
        temperature = temperature.to(z).expand(targets.shape)[..., None]
    z = z / temperature
    # log_softmax of a row of -inf is NaN; such a row has no distribution, and its values are set by hand.
    empty = (z == -torch.inf).all(-1)
    log_p = z.masked_fill(empty[..., None], 0.0).log_softmax(-1)
    # gather would fail on a label such as -100
    valid = (targets >= 0) & (targets < z.shape[-1])
    target_logp = log_p.gather(-1, targets.where(valid, 0)[..., None]).squeeze(-1)
    logp = target_logp.masked_fill(empty, -torch.inf).masked_fill(~valid, torch.nan)
    if not entropy:
        return logp, None
    finite = log_p.masked_fill(log_p == -torch.inf, 0.0)  # p log p is 0 there, and so is its derivative
    return logp, -(log_p.exp() * finite).sum(-1).masked_fill(empty, 0.0)
