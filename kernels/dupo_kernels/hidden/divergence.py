"""Distillation straight from hidden states: the divergence of a student's head from a teacher's.

    loss = sum over the tokens that count of weight x D(student, teacher), D as in logits/row_divergence.py

    both logits of a chunk -> divergence -> dlogits in place of the student's -> dhidden, dweight

The gradients are made in the forward pass, for the student alone; the backward pass multiplies them by the
gradient of the loss (early_gradients.py). 6NVH flop of the student, 2NVH of the teacher, the logits of one
chunk of each. Heads, chunks and masks are as in logprobs.py.

Shape letters: N tokens, M of them that count (rows), V vocabulary, H hidden. "Tokens" is (N,) or (B, T).
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from dupo_kernels._checks import REAL, check_devices, check_grad_scale, check_tensors
from dupo_kernels._custom_ops import differentiable, record_op, unpack
from dupo_kernels._messages import is_number, refused
from dupo_kernels.hidden import sharding
from dupo_kernels.hidden.chunks import SAVE_BUDGET, Chunks, RowPlan, plan_rows
from dupo_kernels.hidden.early_gradients import (
    final_gradients,
    save_gradients,
    scaled_gradients,
    unfilled_gradients,
)
from dupo_kernels.hidden.head import Gradients, GradientSums, logits_buffer, logits_rows, write_logits
from dupo_kernels.hidden.inputs import HeadInputs, check_rows, prepare_head
from dupo_kernels.hidden.teacher import Teacher, prepare_teacher, without_targets
from dupo_kernels.logits.row_divergence import row_divergence
from dupo_kernels.logits.rows import narrowed
from dupo_kernels.tokens.layout import check_tokens

STATS = "tokens", "divergence"


def _run_chunks(
    student: HeadInputs, teacher: HeadInputs, chunks: Chunks, beta: float, slope: Tensor
) -> tuple[Tensor, GradientSums]:
    """(divergence of each of M rows, the gradients of sum(slope * divergence)).

    Args:
        student, teacher: the inputs of the M rows.
        slope: (M,), of the type of the logits.
    """
    gradients = GradientSums(student, chunks.num_with_grad, chunks.several)
    # One pair of buffers for all chunks: the allocator would otherwise hold two while the next is made.
    student_memory, teacher_memory = (logits_buffer(head, chunks.longest) for head in (student, teacher))
    divergence = slope.new_empty(chunks.num_rows)
    # One process is a vocabulary of one part.
    group = student.group
    gather = (
        partial(sharding.all_gathered, group=group) if group else lambda columns: torch.stack(columns)[None]
    )
    for rows in chunks.once():
        logits_CV, teacher_CV = (x[: rows.stop - rows.start] for x in (student_memory, teacher_memory))
        write_logits(student, rows, logits_CV)
        write_logits(teacher, rows, teacher_CV)
        # The place of the student's logits: a block of rows is read before dlogits are written over it.
        dlogits = narrowed(logits_CV, student.hidden.dtype) if student.wants_gradient else None
        pair = logits_rows(student, rows, logits_CV), logits_rows(teacher, rows, teacher_CV)
        row_divergence(*pair, beta, slope[rows], divergence[rows], dlogits, gather)
        if dlogits is not None:
            gradients.add_products(dlogits, rows)
    return divergence, gradients


@record_op("dupo_kernels::linear_divergence")
def _op(
    head: HeadInputs, plan: RowPlan, teacher: Teacher, weights: Tensor | None, beta: float, grad_scale: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """loss, stats (2,) in the order of STATS, dhidden, dweight, dbias."""
    N = head.num_tokens
    row_index, chunks = plan.resolve(N)
    M = chunks.num_rows
    # No token is no division by zero.
    weights = head.hidden.new_full((N,), 1 / max(M, 1), dtype=head.wide) if weights is None else weights
    weights_M = weights if row_index is None else weights[row_index]
    # The temperature belongs to tokens, and so do the hidden states of both: one index serves both heads.
    pair = head.take(row_index), teacher.like(head).take(row_index)
    divergence, sums = _run_chunks(*pair, chunks, beta, weights_M * grad_scale)
    # A weight of 0 times an infinite divergence must not spoil the sum.
    loss = (divergence * weights_M).where(weights_M != 0, 0.0).sum()
    stats = torch.stack([loss.new_tensor(float(M)), divergence.sum() / max(M, 1)])
    dhidden, dweight, dbias = final_gradients(sums, head, plan, row_index)
    return loss, stats, dhidden, dweight, dbias


@_op.register_fake
def _(*values: Any) -> tuple[Tensor, ...]:
    head, plan = unpack(values, HeadInputs, RowPlan)
    new, wide = head.hidden.new_empty, head.wide
    return (
        new((), dtype=wide),
        new((len(STATS),), dtype=wide),
        *unfilled_gradients(head, plan),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    (head,) = unpack(inputs, HeadInputs)
    stats, gradients = output[1], Gradients(*output[2:])
    sizes = {"grad_scale": inputs[-1], "num_inputs": len(inputs)}
    save_gradients(ctx, gradients, head, **sizes, name="linear_divergence")
    ctx.mark_non_differentiable(stats, *gradients)


_run = differentiable(_op, _save, scaled_gradients)


def linear_divergence(
    hidden: Tensor,
    weight: Tensor,
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    *,
    beta: float,
    temperature: float | Tensor = 1.0,
    weights: Tensor | None = None,
    mask: Tensor | None = None,
    rows: Tensor | None = None,
    bias: Tensor | None = None,
    teacher_bias: Tensor | None = None,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    teacher_logit_scale: float = 1.0,
    teacher_softcap: float | None = None,
    save_budget: int = SAVE_BUDGET,
    chunk_tokens: int | None = None,
    process_group: Any = None,
    grad_scale: float | None = None,
    check: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """sum(weights * divergence) over the tokens that count, and its gradients in the student's head.

    The kind of divergence is `beta` alone, as in TRL: a name beside it could contradict the number, and no
    name tells the mixture of a JSD. There is no default, because TRL's trainers have two (0.5 and 1).

    Args:
        hidden, weight, bias, logit_scale, softcap: of the student, see `linear_token_logprobs`, also for
            autocast, DTensor and activation checkpointing. The logits are fp32, or fp64.
        teacher_hidden: (*tokens, H of the teacher), floating; fp64 only beside fp64.
        teacher_weight: (V, H of the teacher), of the type of teacher_hidden; teacher_bias: (V,), or None. The
            teacher's head has no gradient.
        beta: from 0 to 1. 0 is forward KL, KL(teacher || student); 1 reverse KL, KL(student || teacher).
            Between them beta KL(teacher || m) + (1 - beta) KL(student || m), m = (1 - beta) student + beta
            teacher, which goes to 0 at both ends: KL is the limit of JSD / beta, and of JSD / (1 - beta).
        temperature: divides the logits of both, see `linear_token_logprobs`. The loss has no factor of
            temperature^2.
        weights: tokens, fp32; None: 1 / M, the mean over the tokens that count.
        mask, rows: which tokens count, see `linear_token_logprobs`.
        teacher_logit_scale, teacher_softcap: of the teacher's logits.
        save_budget: bytes of logits, of both heads: all tokens are one chunk if their logits fit.
        chunk_tokens: the number of tokens whose logits exist at once. None: docs/loss_head.md says how many.
        process_group: the ranks among which the vocabulary of both is split, see `linear_token_logprobs`.
        grad_scale: fp16 students only, where it is required: the factor that a loss scaler will multiply the
            loss by, taken in before anything is rounded to fp16. Positive and finite.
        check: see `linear_token_logprobs`.

    Returns:
        (loss, stats). loss: scalar, fp32 (fp64 for fp64 inputs), nats, differentiable once in hidden, weight,
        bias. stats: "tokens", M, and "divergence", the mean over them.

    Raises:
        ValueError: as `linear_token_logprobs`, also of the teacher's arguments; a beta outside [0, 1]; other
            tokens or another vocabulary of the teacher; fp16 without grad_scale.
        RuntimeError: a second backward.
    """
    if not is_number(beta) or not 0 <= beta <= 1:
        raise refused("beta", "a number from 0 to 1", beta)
    tokens = without_targets("hidden", hidden)
    # Half logits would cost more exactness than a divergence has: the difference of two near numbers.
    head = prepare_head(
        hidden, weight, tokens, bias,
        temperature=temperature, logit_scale=logit_scale, softcap=softcap, logits_dtype=torch.float32,
        process_group=process_group, check=check,
    )  # fmt: skip
    teacher = prepare_teacher(
        head, tokens, teacher_hidden, teacher_weight, teacher_bias,
        temperature=temperature, logit_scale=teacher_logit_scale, softcap=teacher_softcap, check=check,
    )  # fmt: skip
    sizes: dict[str, Any] = {"save_budget": save_budget, "chunk_tokens": chunk_tokens}
    check_rows(tokens, mask, rows, **sizes, check=check, like="hidden")
    check_grad_scale(grad_scale, head.hidden.dtype, head.wants_gradient)
    check_tensors(REAL, weights=weights)
    check_tokens(tokens.shape, "hidden", weights=weights)
    check_devices(head.hidden.device, "hidden", weights=weights)
    # The planner knows of the student's chunk alone, and the teacher's has the same size.
    sizes["save_budget"] = save_budget // 2
    plan = plan_rows(head, mask, rows, None, keeps_logits=False, **sizes)
    # Weights may require grad by accident (a learned mask); the loss is not differentiated in them.
    weights = None if weights is None else weights.detach().to(head.wide).reshape(-1)
    loss, stats, *_ = _run(*head, *plan, *teacher, weights, float(beta), float(grad_scale or 1.0))
    return loss, dict(zip(STATS, stats.unbind(), strict=True))
