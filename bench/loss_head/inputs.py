"""Inputs of the benchmarks: equal numbers for every variant, as a trainer would hand them over.

Targets of a head are drawn from the distribution under which they are scored. Old log-probabilities lie near
the new log-probabilities, as after a few optimizer steps. Logits spread as the logits of a trained model do.

Shape letters: N tokens, V vocabulary, H hidden size.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bench.loss_head.measurement import Shape
from dupo_kernels import PolicyObjective, token_weights

LOGIT_STD, RATIO_STD = 4.0, 0.1
CHUNK_ELEMENTS = 1 << 27  # logits that exist at once while targets are drawn


class Setting(NamedTuple):
    """What inputs and loss are like.

    Attributes:
        softcap: in units of logits; 0 for none.
        active: share of each sequence that counts; the rest is a prompt, and stands first.
        level: "token", or "sequence" for the ratio of GSPO.
    """

    softcap: float = 0.0
    active: float = 1.0
    level: str = "token"

    @property
    def words(self) -> list[str]:
        """What differs from the ordinary, in words."""
        words = [f"softcap={self.softcap:g}"] if self.softcap else []
        return [*words, f"{self.active:.0%} of the tokens"] if self.active < 1 else words


ORDINARY = Setting()


@dataclass(frozen=True)
class HeadInputs:
    """Inputs of a linear head.

    Attributes:
        setting: what inputs and loss are like.
        leaves: hidden_NH and weight_VH, which want a gradient.
        targets: (N,) int64.
        sequence_length: tokens of each sequence.
        old_logprobs: (N,) nats.
        advantages: (N,), equal within a sequence.
        ref_logprobs: (N,) nats.
        weights: (N,) of `token_weights`.
        rows: (M,) the tokens that count, on the host; None where every token counts.
        slopes: (N,) dlogp and dentropy, as an unknown loss would hand them back.
    """

    setting: Setting
    leaves: tuple[Tensor, Tensor]
    targets: Tensor
    sequence_length: int
    old_logprobs: Tensor
    advantages: Tensor
    ref_logprobs: Tensor
    weights: Tensor
    rows: Tensor | None
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
    def hidden_that_counts(self) -> Tensor:
        """The rows of hidden that count, (M, H), without autograd."""
        hidden_NH = self.plain[0]
        return hidden_NH if self.rows is None else hidden_NH[self.rows.to(hidden_NH.device)]


@dataclass(frozen=True)
class LogitsInputs:
    """Inputs of the logits path.

    Attributes:
        setting: what the inputs are like; every token counts.
        leaves: logits_NV, which want a gradient.
        targets: (N,) int64.
        old_logprobs, ref_logprobs, advantages, weights: as for a head.
        slopes: (N,) dlogp and dentropy.
    """

    setting: Setting
    leaves: tuple[Tensor]
    targets: Tensor
    sequence_length: int
    old_logprobs: Tensor
    advantages: Tensor
    ref_logprobs: Tensor
    weights: Tensor
    slopes: tuple[Tensor, Tensor]


def per_token(inputs: HeadInputs | LogitsInputs, objective: PolicyObjective) -> dict[str, Tensor]:
    """What the objective reads of each token, by argument name."""
    read = {"advantages": inputs.advantages, "old_logprobs": inputs.old_logprobs}
    return read | ({"ref_logprobs": inputs.ref_logprobs} if objective.beta else {})


def squashed(logits: Tensor, softcap: float) -> Tensor:
    """The logits after the softcap, if there is one."""
    return softcap * (logits / softcap).tanh() if softcap else logits


def make_head(
    shape: Shape, dtype: torch.dtype, device: torch.device, setting: Setting = ORDINARY
) -> HeadInputs:
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
        logits = (hidden_NH[i : i + step] @ weight_VH.t()).float()
        log_p = squashed(logits, setting.softcap).log_softmax(-1)
        # The argmax of log p + Gumbel noise is a draw from p.
        noise = torch.empty_like(log_p).exponential_(generator=random)
        targets[i : i + step] = (log_p - noise.log_()).argmax(-1)
        logp[i : i + step] = log_p.gather(1, targets[i : i + step, None])[:, 0]
    length = sequence_length(N)
    counts = torch.arange(N, device=device) % length >= round((1 - setting.active) * length)
    return HeadInputs(
        setting,
        (hidden_NH.requires_grad_(), weight_VH.requires_grad_()),
        targets,
        length,
        old_logprobs=logp + RATIO_STD * normal(N),
        advantages=normal(N // length).repeat_interleave(length),
        ref_logprobs=logp + RATIO_STD * normal(N),
        weights=token_weights("dapo", counts),
        # As a packer knows them: on the host, so that nothing waits for the device.
        rows=counts.nonzero()[:, 0].cpu() if setting.active < 1 else None,
        slopes=(normal(N) / N, normal(N) / N),
    )


def sequence_length(N: int) -> int:
    """Tokens of a sequence: at least four sequences, so that advantages differ at the tiniest shape."""
    return min(1024, N // 4)


def make_logits(
    shape: Shape, dtype: torch.dtype, device: torch.device, setting: Setting = ORDINARY
) -> LogitsInputs:
    """Draws the inputs of the logits path from seed 0."""
    N, V, _ = shape
    random = torch.Generator(device).manual_seed(0)
    logits_NV = torch.empty(N, V, dtype=dtype, device=device)
    targets = torch.randint(V, (N,), device=device, generator=random)
    logp, step = torch.empty(N, device=device), max(1, CHUNK_ELEMENTS // V)
    for i in range(0, N, step):
        rows = min(step, N - i)
        logits_NV[i : i + step] = LOGIT_STD * torch.randn(rows, V, device=device, generator=random)
        log_p = squashed(logits_NV[i : i + step].float(), setting.softcap).log_softmax(-1)
        logp[i : i + step] = log_p.gather(1, targets[i : i + step, None])[:, 0]
    dlogp, dentropy, old, ref, A = torch.randn(5, N, device=device, generator=random)
    length = sequence_length(N)
    return LogitsInputs(
        setting,
        (logits_NV.requires_grad_(),),
        targets,
        length,
        old_logprobs=logp + RATIO_STD * old,
        advantages=A[: N // length].repeat_interleave(length),
        ref_logprobs=logp + RATIO_STD * ref,
        weights=token_weights("dapo", torch.ones(N, device=device)),
        slopes=(dlogp, dentropy),
    )
