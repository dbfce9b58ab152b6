"""Logits for tests of the loss head, and both passes through a function of logits."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo_kernels.logits.launch_table import WORD, Config
from tests.helpers.numerics import DEVICE

# Logits of two bytes in one tile of the kernels that walk; of four bytes, two tiles.
TILE = 32 * Config().warps * Config().steps * WORD // 2


class Result(NamedTuple):
    """What a function of logits returns, and the gradient under `upstream`."""

    logp: Tensor
    entropy: Tensor
    dlogits: Tensor


def draw(*shape: int, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """(logits, targets): a few targets are likely, as sampled tokens are, the rest are not."""
    generator = torch.Generator().manual_seed(math.prod(shape) + int(scale))
    logits = (torch.randn(shape, generator=generator) * scale).to(dtype)
    targets = torch.randint(shape[-1], shape[:-1], generator=generator)
    if targets.numel():
        targets.view(-1)[0] = logits.view(-1, shape[-1])[0].argmax()
    return logits.to(DEVICE), targets.to(DEVICE)


def upstream(targets: Tensor, first: int = 0) -> tuple[Tensor, Tensor]:
    """dloss / dlogp and dloss / dentropy of the rows from `first` on, of either sign, at most 1."""
    n = torch.arange(first, first + targets.numel(), dtype=torch.float64, device=targets.device)
    return torch.cos(1 + n).view(targets.shape), torch.sin(2 + n).view(targets.shape)


def both_ways(function: Any, logits: Tensor, targets: Tensor, first: int = 0, **options: Any) -> Result:
    """Both passes of token_logprobs or its reference, under the gradients of `upstream`."""
    logits = logits.detach().clone().requires_grad_()
    logp, entropy = function(logits, targets, entropy=True, **options)
    torch.autograd.backward((logp, entropy), [g.to(logp.dtype) for g in upstream(targets, first)])
    assert logits.grad is not None
    return Result(logp.detach(), entropy.detach(), logits.grad)
