"""Inputs of the benchmarks: equal numbers for every variant, as a trainer would hand them over.

Targets of a head are drawn from the distribution under which they are scored. Old log-probabilities lie near
the new log-probabilities, as after a few optimizer steps. Logits spread as the logits of a trained model do.

Shape letters: N tokens, V vocabulary, H hidden size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.loss_head.measurement import Shape
from dupo_kernels import token_weights

LOGIT_STD, RATIO_STD = 4.0, 0.1
CHUNK_ELEMENTS = 1 << 27  # logits that exist at once while targets are drawn


@dataclass(frozen=True)
class HeadInputs:
    """Inputs of a linear head.

    Attributes:
        leaves: hidden_NH and weight_VH, which want a gradient.
        targets: (N,) int64.
        sequence_length: tokens of each sequence.
        old_logprobs: (N,) nats.
        advantages: (N,), equal within a sequence.
        weights: (N,) of `token_weights`.
        slopes: (N,) dlogp and dentropy, as an unknown loss would hand them back.
    """

    leaves: tuple[Tensor, Tensor]
    targets: Tensor
    sequence_length: int
    old_logprobs: Tensor
    advantages: Tensor
    weights: Tensor
    slopes: tuple[Tensor, Tensor]

    @property
    def plain(self) -> tuple[Tensor, Tensor]:
        """hidden_NH and weight_VH without autograd."""
        return self.leaves[0].detach(), self.leaves[1].detach()

    @property
    def shape(self) -> Shape:
        """(N, V, H)."""
        V, H = self.leaves[1].shape
        return self.targets.numel(), V, H

    @property
    def per_token(self) -> dict[str, Tensor]:
        """What a policy objective reads of each token, by argument name."""
        return {"advantages": self.advantages, "old_logprobs": self.old_logprobs}


@dataclass(frozen=True)
class LogitsInputs:
    """Inputs of the logits path.

    Attributes:
        leaves: logits_NV, which want a gradient.
        targets: (N,) int64.
        slopes: (N,) dlogp and dentropy.
    """

    leaves: tuple[Tensor]
    targets: Tensor
    slopes: tuple[Tensor, Tensor]


def make_head(shape: Shape, dtype: torch.dtype, device: torch.device) -> HeadInputs:
    """Draws the inputs of a linear head from seed 0."""
    N, V, H = shape
    random = torch.Generator(device).manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, device=device, generator=random)

    # With weights of this size the logits have a standard deviation of LOGIT_STD.
    hidden_NH = normal(N, H).to(dtype)
    weight_VH = normal(V, H).mul_(LOGIT_STD / H**0.5).to(dtype)
    targets = torch.empty(N, dtype=torch.int64, device=device)
    logp = torch.empty(N, device=device)
    step = max(1, CHUNK_ELEMENTS // V)
    for i in range(0, N, step):
        log_p = (hidden_NH[i : i + step] @ weight_VH.t()).float().log_softmax(-1)
        # The argmax of log p + Gumbel noise is a draw from p.
        noise = torch.empty_like(log_p).exponential_(generator=random)
        targets[i : i + step] = (log_p - noise.log_()).argmax(-1)
        logp[i : i + step] = log_p.gather(1, targets[i : i + step, None])[:, 0]
    # At least four sequences, so that advantages differ at the tiniest shape.
    sequence_length = min(1024, N // 4)
    return HeadInputs(
        (hidden_NH.requires_grad_(), weight_VH.requires_grad_()),
        targets,
        sequence_length,
        old_logprobs=logp + RATIO_STD * normal(N),
        advantages=normal(N // sequence_length).repeat_interleave(sequence_length),
        weights=token_weights("dapo", torch.ones(N, device=device)),
        slopes=(normal(N) / N, normal(N) / N),
    )


def make_logits(shape: Shape, dtype: torch.dtype, device: torch.device) -> LogitsInputs:
    """Draws the inputs of the logits path from seed 0."""
    N, V, _ = shape
    random = torch.Generator(device).manual_seed(0)
    logits_NV = torch.empty(N, V, dtype=dtype, device=device)
    step = max(1, CHUNK_ELEMENTS // V)
    for i in range(0, N, step):
        rows = min(step, N - i)
        logits_NV[i : i + step] = LOGIT_STD * torch.randn(rows, V, device=device, generator=random)
    dlogp, dentropy = torch.randn(2, N, device=device, generator=random)
    targets = torch.randint(V, (N,), device=device, generator=random)
    return LogitsInputs((logits_NV.requires_grad_(),), targets, (dlogp, dentropy))
