"""Reverse KL of a student's head from a teacher's by dupo_kernels, TRL, Liger and eager torch.

    mean over the tokens that count of KL(student || teacher)

The policy of DPO's inputs is the student, their reference the teacher. Liger averages over the tokens whose
label counts, and has no label in its loss here.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bench.loss_head import peers
from bench.loss_head.dpo import IGNORED, DpoInputs
from dupo_kernels import linear_divergence

REVERSE_KL = 1.0  # beta


def ours(inputs: DpoInputs, *, chunk: int | None = None) -> Callable[[], Tensor]:
    """`linear_divergence`, with its default chunk unless told otherwise."""
    heads = (inputs.hidden, inputs.weight, inputs.ref_hidden, inputs.ref_weight)
    return lambda: linear_divergence(*heads, beta=REVERSE_KL, mask=inputs.mask, chunk_tokens=chunk)[0]


def trl(inputs: DpoInputs) -> Callable[[], Tensor]:
    """The head of TRL's DistillationTrainer on the tokens that count."""
    function: Any = peers.trl_kernels("chunked_divergence").ChunkedDivergenceFunction
    mask = inputs.mask

    def loss() -> Tensor:
        heads = (inputs.hidden[mask], inputs.weight, None, inputs.ref_hidden[mask], inputs.ref_weight)
        return function.apply(*heads, None, REVERSE_KL, 1.0, 1.0, None, 1.0, None)[0].mean()

    return loss


def liger(inputs: DpoInputs, *, compiled: bool) -> Callable[[], Tensor]:
    """Liger's loss of soft targets alone, in chunks of its default size."""
    losses = peers.load("liger_kernel", ".chunked_loss")
    module = losses.LigerFusedLinearJSDLoss(
        weight_hard_loss=0.0, weight_soft_loss=1.0, beta=REVERSE_KL, compiled=compiled
    )
    labels = inputs.targets.masked_fill(~inputs.mask, IGNORED).flatten()

    def loss() -> Tensor:
        student, teacher = inputs.hidden.flatten(0, 1), inputs.ref_hidden.flatten(0, 1)
        return module(student, inputs.weight, teacher, inputs.ref_weight, labels)

    return loss


def eager(inputs: DpoInputs) -> Callable[[], Tensor]:
    """Whole logits of the tokens that count."""

    def loss() -> Tensor:
        student = (inputs.hidden[inputs.mask] @ inputs.weight.t()).log_softmax(-1)
        with torch.no_grad():
            teacher = (inputs.ref_hidden[inputs.mask] @ inputs.ref_weight.t()).log_softmax(-1)
        return (student.exp() * (student - teacher)).sum(-1).mean()

    return loss
