"""Causal attention as it is defined: one sequence and one head at a time, no packing, no kernel.

Shape letters: T tokens of all sequences, K heads, D head dimension.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def naive_attention(
    q_TKD: Tensor,
    k_TKD: Tensor,
    v_TKD: Tensor,
    lengths: Sequence[int],
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    sinks_K: Tensor | None = None,
) -> Tensor:
    """The truth in float64, with gradients.

    Args:
        window: how many keys a token sees, its own among them.
    """
    outputs = []
    bounds = zip(*(x.double().split(list(lengths)) for x in (q_TKD, k_TKD, v_TKD)), strict=True)
    for q, k, v in bounds:
        groups = q.shape[1] // k.shape[1]
        heads = []
        for head in range(q.shape[1]):
            scores = q[:, head] @ k[:, head // groups].T * scale
            if softcap is not None:
                scores = softcap * torch.tanh(scores / softcap)
            back = torch.arange(len(q))[:, None] - torch.arange(len(q))  # how far back a key stands
            is_seen = (back >= 0) & (back < (len(q) if window is None else window))
            shares = scores.exp() * is_seen
            whole = shares.sum(-1, keepdim=True)
            if sinks_K is not None:
                whole = whole + sinks_K[head].double().exp()
            heads.append(shares / whole @ v[:, head // groups])
        outputs.append(torch.stack(heads, 1))
    return torch.cat(outputs)
