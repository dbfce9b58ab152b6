"""What is reported of a batch, reduced from tokens to scalars without waiting for the device.

Reads tensors of tokens, (B, T) or (N,), and the mask of active tokens of the same shape.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from dupo_kernels.tokens.infinities import INFINITY
from dupo_kernels.tokens.layout import counting_dtype


def reduce_stats(stats: Mapping[str, Tensor], active: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
    """Scalars on the device: the extreme for names in /max and /min, the mean for all others.

    Args:
        stats: tensors that broadcast to the tokens.
        active: tokens, bool; all other tokens are left out.
        dtype: of the scalars.

    Returns:
        The scalars by the same names, and "tokens", the number of active tokens. 0 where no token is active.
    """
    tokens = active.sum().to(dtype)
    # Means need the number of tokens to be averaged again over micro-batches, so it is part of the result.
    scalars = {"tokens": tokens}
    for name, values in stats.items():
        values = values.to(dtype).expand(active.shape)
        if name.endswith(("/max", "/min")):
            signed = values if name.endswith("/max") else -values
            # amax refuses an empty tensor: one -inf more changes no maximum.
            candidates = [signed.masked_fill(~active, -INFINITY).flatten(), signed.new_full((1,), -INFINITY)]
            largest = torch.cat(candidates).amax().masked_fill(tokens == 0, 0.0)
            scalars[name] = largest if name.endswith("/max") else -largest
        else:
            scalars[name] = values.where(active, 0).sum() / tokens.clamp(min=1)
    return scalars


def active_quantile(values: Tensor, active: Tensor, share: float) -> Tensor:
    """torch.quantile of the active values, a scalar on the device; infinity if no token is active."""
    # Selecting the active values would wait for their number: inactive ones are sorted to the end instead.
    ordered = values.masked_fill(~active, INFINITY).flatten().sort().values
    if ordered.numel() == 0:
        return values.new_full((), INFINITY)
    place = (active.sum() - 1).clamp(min=0).to(counting_dtype(values.device)) * share
    # gather, as ordered[i] with i on the device would wait for it
    below, above = ordered.gather(0, torch.stack([place.floor(), place.ceil()]).long())
    # lerp between two infinities would be NaN
    return torch.where(above == below, below, torch.lerp(below, above, place.frac().to(values.dtype)))
