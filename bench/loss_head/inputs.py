"""Inputs of the benchmarks: the same numbers for every variant, and what a trainer would hand over.

Targets of a head are drawn from the distribution that they are scored under, and old log-probabilities lie
near the new ones, as after a few optimizer steps; logits have the spread that a trained model's have.

Shape letters: N tokens, V vocabulary, H hidden.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dupo_kernels import token_weights

LOGIT_STD, RATIO_STD = 4.0, 0.1
CHUNK_ELEMENTS = 1 << 27  # of plain logits at once

Shape = tuple[int, int, int]  # N, V, H


@dataclass(frozen=True)
class Head:
    """Inputs of a linear head.

    Attributes:
        leaves: hidden (N, H) and weight (V, H), which want a gradient.
        sequence: tokens of each sequence; advantages are the same within one.
        slopes: (N,) dlogp and dentropy, what a loss that is not known here hands back.
    """

    leaves: tuple[Tensor, Tensor]
    targets: Tensor
    sequence: int
    old: Tensor
    advantages: Tensor
    weights: Tensor
    slopes: tuple[Tensor, Tensor]

    @property
    def plain(self) -> tuple[Tensor, Tensor]:
        """hidden and weight without autograd."""
        return self.leaves[0].detach(), self.leaves[1].detach()

    @property
    def shape(self) -> Shape:
        return self.targets.numel(), *self.leaves[1].shape


@dataclass(frozen=True)
class Logits:
    """Inputs of the logits path: a leaf (N, V) that wants a gradient; the rest is (N,)."""

    leaves: tuple[Tensor]
    targets: Tensor
    slopes: tuple[Tensor, Tensor]


def make_head(shape: Shape, dtype: torch.dtype, device: torch.device) -> Head:
    N, V, H = shape
    random = torch.Generator(device).manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, device=device, generator=random)

    hidden = normal(N, H).to(dtype)
    weight = normal(V, H).mul_(LOGIT_STD / H**0.5).to(dtype)
    targets = torch.empty(N, dtype=torch.int64, device=device)
    logp = torch.empty(N, device=device)
    step = max(1, CHUNK_ELEMENTS // V)
    for i in range(0, N, step):
        log_p = (hidden[i : i + step] @ weight.t()).float().log_softmax(-1)
        noise = torch.empty_like(log_p).exponential_(generator=random)
        targets[i : i + step] = (log_p - noise.log_()).argmax(-1)  # Gumbel: a draw from p
        logp[i : i + step] = log_p.gather(1, targets[i : i + step, None])[:, 0]
    sequence = min(1024, N // 4)
    return Head(
        (hidden.requires_grad_(), weight.requires_grad_()),
        targets,
        sequence,
        old=logp + RATIO_STD * normal(N),
        advantages=normal(N // sequence).repeat_interleave(sequence),
        weights=token_weights("dapo", torch.ones(N, device=device)),
        slopes=(normal(N) / N, normal(N) / N),
    )


def make_logits(shape: Shape, dtype: torch.dtype, device: torch.device) -> Logits:
    N, V, _ = shape
    random = torch.Generator(device).manual_seed(0)
    logits = torch.empty(N, V, dtype=dtype, device=device)
    step = max(1, CHUNK_ELEMENTS // V)
    for i in range(0, N, step):
        logits[i : i + step] = LOGIT_STD * torch.randn(min(step, N - i), V, device=device, generator=random)
    dlogp, dentropy = torch.randn(2, N, device=device, generator=random)
    targets = torch.randint(V, (N,), device=device, generator=random)
    return Logits((logits.requires_grad_(),), targets, (dlogp, dentropy))
