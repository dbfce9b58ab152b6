"""Reverse KL of a student's head from a teacher's by dupo_kernels, TRL, Liger and eager torch.

    mean over the tokens that count of KL(student || teacher)

Liger averages over the tokens whose label counts, and has no label in its loss here. The teacher is the student
with noise, as after some training.

Shape letters: S sequences, T their padded length, V, H; N = S T tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.loss_head import peers
from bench.loss_head.dpo import IGNORED, DpoInputs
from bench.loss_head.dpo import make_inputs as make_pairs
from dupo_kernels import linear_divergence

REVERSE_KL = 1.0  # beta


@dataclass(frozen=True)
class DistillationInputs:
    """Hidden states and heads of a student and a teacher.

    Attributes:
        hidden: (N, H), leaf. weight: (V, H), leaf.
        teacher_hidden, teacher_weight: of the teacher.
        labels: (N,), `IGNORED` where a token does not count.
        mask: (N,), whether it counts.
    """

    hidden: Tensor
    weight: Tensor
    teacher_hidden: Tensor
    teacher_weight: Tensor
    labels: Tensor
    mask: Tensor

    @property
    def leaves(self) -> dict[str, Tensor]:
        """What has a gradient."""
        return {"hidden": self.hidden, "weight": self.weight}


def make_inputs(S: int, T: int, V: int, H: int) -> DistillationInputs:
    """The policy of the DPO case as student, its reference as teacher."""
    pairs: DpoInputs = make_pairs(S, T, V, H)
    labels = pairs.targets.masked_fill(~pairs.mask, IGNORED).flatten()
    hidden = pairs.hidden.detach().flatten(0, 1).requires_grad_()
    teacher_hidden = pairs.ref_hidden.flatten(0, 1)
    return DistillationInputs(
        hidden, pairs.weight, teacher_hidden, pairs.ref_weight, labels, pairs.mask.flatten()
    )


def ours(inputs: DistillationInputs, *, chunk: int | None = None) -> Callable[[], Tensor]:
    """`linear_divergence`, with its default chunk unless told otherwise."""
    heads = (inputs.hidden, inputs.weight, inputs.teacher_hidden, inputs.teacher_weight)
    return lambda: linear_divergence(*heads, beta=REVERSE_KL, mask=inputs.mask, chunk_tokens=chunk)[0]


def trl(inputs: DistillationInputs) -> Callable[[], Tensor]:
    """The head of TRL's DistillationTrainer on the tokens that count."""
    function: Any = peers.trl_kernels("chunked_divergence").ChunkedDivergenceFunction
    mask = inputs.mask

    def loss() -> Tensor:
        heads = (inputs.hidden[mask], inputs.weight, None, inputs.teacher_hidden[mask], inputs.teacher_weight)
        return function.apply(*heads, None, REVERSE_KL, 1.0, 1.0, None, 1.0, None)[0].mean()

    return loss


def liger(inputs: DistillationInputs, *, compiled: bool) -> Callable[[], Tensor]:
    """Liger's loss of soft targets alone, in chunks of its default size."""
    losses = peers.load("liger_kernel", ".chunked_loss")
    module = losses.LigerFusedLinearJSDLoss(
        weight_hard_loss=0.0, weight_soft_loss=1.0, beta=REVERSE_KL, compiled=compiled
    )
    heads = (inputs.hidden, inputs.weight, inputs.teacher_hidden, inputs.teacher_weight)
    return lambda: module(*heads, inputs.labels)


def eager(inputs: DistillationInputs) -> Callable[[], Tensor]:
    """Whole logits of the tokens that count."""

    def loss() -> Tensor:
        student = (inputs.hidden[inputs.mask] @ inputs.weight.t()).log_softmax(-1)
        with torch.no_grad():
            teacher = (inputs.teacher_hidden[inputs.mask] @ inputs.teacher_weight.t()).log_softmax(-1)
        return (student.exp() * (student - teacher)).sum(-1).mean()

    return loss
