"""The divergence of a student's row of logits from a teacher's, and its derivative in the student's logits.

    p, q  = softmax of the student's and the teacher's z, after softcap and temperature as in logprobs.py
    m     = (1 - beta) p + beta q
    D     = KL(q || p) for beta 0, KL(p || q) for beta 1, else beta KL(q || m) + (1 - beta) KL(p || m)
    dD/dz = p - q,  p (log p - log q - D),  (1 - beta) p (log p - log m - KL(p || m))

Torch operations on blocks of rows, on every device: no third tensor of the size of both logits exists. A
token that is -inf in both rows has no share. One that is -inf in the row which the logarithm divides by makes
KL infinite, and JSD not. A row of nothing but -inf has no distribution: its divergence is NaN.

Shape letters: C rows, c rows of a block, V vocabulary (of this process), W processes.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from dupo_kernels.logits import torch_path
from dupo_kernels.logits.row_outputs import DEVICE_SCRATCH_BYTES
from dupo_kernels.logits.rows import Rows

# columns (c,) -> those of all processes that share the vocabulary, (W, columns, c)
Gather = Callable[[list[Tensor]], Tensor]


def row_divergence(
    student: Rows,
    teacher: Rows,
    beta: float,
    slope: Tensor,
    divergence: Tensor,
    dlogits: Tensor | None,
    gather: Gather,
) -> None:
    """Writes the divergence of each row, and slope x its derivative in the student's logits.

    Args:
        student, teacher: logits (C, V) float32 or float64, of one type. Those of the teacher are overwritten.
        beta: from 0 to 1.
        slope: (C,), of the type of the logits. Rows of slope 0 have exact zeros, whatever their logits hold.
        divergence: (C,), written.
        dlogits: (C, V), written; the memory of the student's logits, or what `narrowed` makes of it. None for
            no derivative.
        gather: called twice for each block, in the same order on all processes.
    """
    logits = student.logits
    scratch_bytes = None if logits.device.type == "cpu" else DEVICE_SCRATCH_BYTES
    temporaries = 3 + (0 < beta < 1) + bool(student.softcap)
    for block, scratch in torch_path.blocks(logits, temporaries, logits.dtype, scratch_bytes):
        log_p, squashed = scratch[0], scratch[-1]  # without a softcap nobody reads `squashed`
        # Nobody needs the teacher's logits again, so that its log-probabilities take no memory of their own.
        log_q = teacher.logits[block]
        torch_path.scaled(student.take(block), log_p, squashed)
        torch_path.scaled(teacher.take(block), log_q, log_q)
        undefined = _normalise((log_p, log_q), scratch[1], gather)
        value, dz = _closed_form(log_p, log_q, beta, scratch[1:], gather)
        torch.add(value, undefined, out=divergence[block])
        if dlogits is None:
            continue
        slope_C = slope[block]
        dz.mul_(((slope_C + undefined) * student.take(block).scale)[:, None])
        if student.softcap:
            dz.mul_(squashed.square_().neg_().add_(1.0))
        dlogits[block].copy_(dz)
        torch_path.clear_rows(dlogits[block], slope_C != 0)


def _normalise(both: tuple[Tensor, Tensor], work: Tensor, gather: Gather) -> Tensor:
    """Turns each z (c, V) into log-probabilities; (c,) 0, or NaN where one of them is no distribution."""
    # From the peak on, as lse would cost the last digits of large logits.
    peak_2c = torch.stack([z.amax(1) for z in both])
    # A part of a vocabulary may be all -inf; -inf minus -inf would be NaN.
    start_2c = peak_2c.masked_fill(peak_2c == -torch.inf, 0.0)
    total_2c = torch.stack(
        [torch_path.exp(z.sub_(start[:, None]), work).sum(1) for z, start in zip(both, start_2c, strict=True)]
    )
    peaks_W2c, totals_W2c = gather([*peak_2c, *total_2c]).split(2, 1)
    highest_2c = peaks_W2c.amax(0)
    log_sum_2c = (totals_W2c * (peaks_W2c - highest_2c).exp()).sum(0).log()
    for z, column in zip(both, highest_2c - start_2c + log_sum_2c, strict=True):
        z.sub_(column[:, None])
    return (0.0 * log_sum_2c).sum(0)


def _closed_form(
    log_p: Tensor, log_q: Tensor, beta: float, work: Tensor, gather: Gather
) -> tuple[Tensor, Tensor]:
    """(D (c,), dD/dz (c, V)); consumes log_p, log_q and `work`, two (c, V), three for JSD."""
    if beta == 0:
        q = torch_path.exp(log_q, work[0])
        (value,) = gather([_terms(q, log_q, log_p, out=log_q).sum(1)]).sum(0)
        return value, torch_path.exp(log_p, log_p).sub_(q)
    # The derivative needs p beside its logarithm, which the terms overwrite.
    p = torch_path.exp(log_p, work[0])
    if beta == 1:
        terms = _terms(p, log_p, log_q, out=log_p)
        (value,) = gather([terms.sum(1)]).sum(0)
        return value, terms.addcmul_(p, value[:, None], value=-1)
    q = torch_path.exp(log_q, work[1])
    # Tiny numbers whose mixture underflows must not make the logarithm infinite: their share is nothing.
    log_m = torch.lerp(p, q, beta, out=work[2]).clamp_(min=torch.finfo(p.dtype).tiny).log_()
    of_teacher = _terms(q, log_q, log_m, out=log_q).sum(1)
    terms = _terms(p, log_p, log_m, out=log_p)
    of_teacher, of_student = gather([of_teacher, terms.sum(1)]).sum(0)
    value = beta * of_teacher + (1 - beta) * of_student
    return value, terms.addcmul_(p, of_student[:, None], value=-1).mul_(1 - beta)


def _terms(p: Tensor, log_p: Tensor, log_r: Tensor, out: Tensor) -> Tensor:
    """p (log p - log r); 0 where p is 0, infinite where r alone is."""
    # 0 times infinity, and -inf minus -inf. A NaN of the logits is in `undefined`, and is not lost.
    return torch.sub(log_p, log_r, out=out).mul_(p).nan_to_num_(nan=0.0, posinf=torch.inf, neginf=-torch.inf)
