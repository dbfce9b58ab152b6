"""A small linear head for tests: its sizes, a mask, and inputs from a fixed seed."""

import torch
from torch import Tensor

from tests.helpers.numerics import DEVICE

B, T, V, H = 3, 7, 101, 16
N = B * T
ROW = 104 * 8  # bytes of a row of float64 logits: 101 of them, in words of 8
MASK = torch.arange(T)[None] < torch.tensor([7, 0, 4])[:, None]


def head(dtype: torch.dtype = torch.float64, *tokens: int, V: int = V, H: int = H) -> dict[str, Tensor]:
    """hidden (*tokens, H), weight (V, H), bias (V,) and targets (*tokens); tokens are (B, T) unless named."""
    generator = torch.Generator().manual_seed(V)
    shape = tokens or (B, T)
    floats = {
        "hidden": torch.randn(*shape, H, generator=generator),
        "weight": torch.randn(V, H, generator=generator) * H**-0.5 * 4,
        "bias": torch.randn(V, generator=generator),
    }
    targets = torch.randint(V, shape, generator=generator)
    return {name: x.to(DEVICE, dtype) for name, x in floats.items()} | {"targets": targets.to(DEVICE)}
