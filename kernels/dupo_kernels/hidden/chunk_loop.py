"""Both directions of a head over all its chunks: for any loss, and for an objective that is known beforehand.

Any loss: `head_forward`, then, when autograd asks, `head_backward`. A known objective: `run_objective` makes
the gradients in the forward pass; if the derivative of a token depends on rows of its chunk alone (on that
token, or on its sequence where chunks hold whole ones), a chunk of logits lives once:
logits -> statistics -> objective -> dlogits in their place -> gradients.

Shape letters: M rows (tokens that count), C rows of one chunk, V vocabulary (of this process).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from dupo_kernels.hidden.chunks import Chunks
from dupo_kernels.hidden.head import (
    GradientSums,
    chunk_forward,
    fused_rows,
    logits_buffer,
    logits_rows,
    write_logits,
)
from dupo_kernels.hidden.inputs import HeadInputs
from dupo_kernels.logits.fused_loss import fused_loss
from dupo_kernels.logits.row_outputs import RowOutputs, Wanted, row_outputs
from dupo_kernels.logits.rows import RowStatistics, narrowed
from dupo_kernels.tokens.token_objective import TokenObjective
from dupo_kernels.tokens.token_report import new_report


class Evaluation(NamedTuple):
    """An objective on some rows, (C,) or (M,).

    Attributes:
        loss: scalar, the weighted sum over the rows.
        dlogp, dentropy: of each row, times the loss scale; dentropy is None for zero.
        stats: what each row reports, by name.
    """

    loss: Tensor
    dlogp: Tensor
    dentropy: Tensor | None
    stats: dict[str, Tensor]


# (statistics of some rows, which rows) -> their losses and derivatives
Evaluate = Callable[[RowStatistics, slice], Evaluation]


def head_forward(
    head: HeadInputs, chunks: Chunks, kept_logits: Tensor, wanted: Wanted
) -> tuple[RowStatistics, RowOutputs]:
    """What is wanted of all M rows; `kept_logits` (num_kept, V) receives the logits of the first rows."""
    results, scratch = [], None
    for rows in chunks.forward():
        if rows.stop <= chunks.num_kept:
            logits_CV = kept_logits[rows]
        else:
            num_rows = min(chunks.chunk_size, chunks.num_rows - chunks.num_kept)
            # One buffer for all chunks: the allocator would otherwise hold two while the next is made.
            scratch = logits_buffer(head, num_rows) if scratch is None else scratch
            logits_CV = scratch[: rows.stop - rows.start]
        results.append(chunk_forward(head, rows, logits_CV, wanted))
    # No rows: cat refuses an empty list.
    if not results:
        nothing = _no_statistics(head)
        return nothing, row_outputs(logits_rows(head, slice(0), kept_logits[:0]), nothing, wanted)
    statistics, outputs = (zip(*columns, strict=True) for columns in zip(*results, strict=True))
    return (
        RowStatistics(*(torch.cat(column) for column in statistics)),
        RowOutputs(*(None if column[0] is None else torch.cat(column) for column in outputs)),
    )


def head_backward(
    head: HeadInputs,
    chunks: Chunks,
    kept_logits: Tensor,
    statistics: RowStatistics,
    dlogp: Tensor,
    dentropy: Tensor | None,
) -> GradientSums:
    """Sums the gradients over all chunks; consumes the kept logits and computes the others again.

    Args:
        statistics: of the M rows, from `head_forward`; lse and entropy are read.
        dlogp, dentropy: (M,); dlogp is (M, K) for K targets, dentropy may be None for zero.
    """
    gradients, scratch = GradientSums(head, chunks.num_with_grad, several=len(chunks.backward()) > 1), None
    for rows in chunks.backward():
        if rows.stop <= chunks.num_kept:
            logits_CV = kept_logits[rows]
        else:
            num_rows = min(chunks.chunk_size, chunks.num_with_grad - chunks.num_kept)
            scratch = logits_buffer(head, num_rows) if scratch is None else scratch
            logits_CV = scratch[: rows.stop - rows.start]
            write_logits(head, rows, logits_CV)
        dentropy_C = None if dentropy is None else dentropy[rows]
        gradients.add_chunk(logits_CV, rows, statistics.take(rows), dlogp[rows], dentropy_C)
    return gradients


def run_objective(
    head: HeadInputs, chunks: Chunks, evaluate: Evaluate, *, with_entropy: bool, by_chunk: bool
) -> tuple[Tensor, dict[str, Tensor], GradientSums]:
    """(loss, what each of the M rows reports, gradients) of an objective.

    Args:
        head: the inputs of the M rows.
        evaluate: the objective; if `by_chunk`, it is called for each chunk, else once for all rows.
    """
    if by_chunk:
        return _run_by_chunk(head, chunks, evaluate, with_entropy)
    # The derivative of a token needs log-probabilities of other chunks: forward through all rows first.
    kept_logits = logits_buffer(head, chunks.num_kept)
    statistics, _ = head_forward(head, chunks, kept_logits, Wanted(with_entropy))
    loss, dlogp, dentropy, stats = evaluate(statistics, slice(0, chunks.num_rows))
    gradients = GradientSums(head, 0, several=False)
    if head.wants_gradient:
        gradients = head_backward(head, chunks, kept_logits, statistics, dlogp, dentropy)
    return loss, stats | _agreement(statistics), gradients


def _run_by_chunk(
    head: HeadInputs, chunks: Chunks, evaluate: Evaluate, with_entropy: bool
) -> tuple[Tensor, dict[str, Tensor], GradientSums]:
    gradients = GradientSums(head, chunks.num_with_grad, chunks.several)
    scratch = logits_buffer(head, chunks.longest)
    losses, stats_of_chunks = [], []
    for rows in chunks.once():
        logits_CV = scratch[: rows.stop - rows.start]
        statistics, _ = chunk_forward(head, rows, logits_CV, Wanted(with_entropy))
        loss, dlogp, dentropy, stats = evaluate(statistics, rows)
        losses.append(loss)
        stats_of_chunks.append(stats | _agreement(statistics))
        # The logits are still there: dlogits take their place, and nothing is recomputed.
        if head.wants_gradient and rows.start < chunks.num_with_grad:
            # Rows that need a gradient stand first: in the last such chunk they are a prefix.
            first = slice(0, min(rows.stop, chunks.num_with_grad) - rows.start)
            gradients.add_chunk(
                logits_CV[first],
                slice(rows.start, rows.start + first.stop),
                statistics.take(first),
                dlogp[first],
                None if dentropy is None else dentropy[first],
            )
    # Without rows the objective still names its statistics.
    if not losses:
        loss, _, _, stats = evaluate(_no_statistics(head), slice(0, chunks.num_rows))
        return loss, stats | {"top1_agreement": loss.new_empty(0)}, gradients
    stats = {name: torch.cat([chunk[name] for chunk in stats_of_chunks]) for name in stats_of_chunks[0]}
    return torch.stack(losses).sum(), stats, gradients


def run_fused(head: HeadInputs, chunks: Chunks, objective: TokenObjective) -> tuple[Tensor, GradientSums]:
    """(report, gradients) of an objective that a kernel computes.

    A chunk is a GEMM, the bias, one launch, and the GEMMs of the gradients.

    Args:
        head: hidden states of the M rows. Targets and temperatures are also of the rows, or of all N tokens
            where objective.inputs has an index.
        objective: of scope "token"; its inputs belong to the M rows.

    Returns:
        report: (COLUMNS, M) float32, see token_report.py.
    """
    gradients = GradientSums(head, chunks.num_with_grad, chunks.several)
    scratch = logits_buffer(head, chunks.longest)
    report = new_report(chunks.num_rows, scratch.device)
    for rows in chunks.once():
        logits_CV = scratch[: rows.stop - rows.start]
        write_logits(head, rows, logits_CV)
        for span, has_gradient in _by_need(rows, chunks.num_with_grad if head.wants_gradient else 0):
            span_logits = logits_CV[span.start - rows.start : span.stop - rows.start]
            dlogits = narrowed(span_logits, head.hidden.dtype) if has_gradient else None
            kernel_rows = fused_rows(head, span, span_logits, objective.inputs.index is not None)
            fused_loss(kernel_rows, objective.take(span), report[:, span], dlogits)
            if dlogits is not None:
                gradients.add_products(dlogits, span)
    return report, gradients


def _by_need(rows: slice, num_with_grad: int) -> list[tuple[slice, bool]]:
    """(span, whether its rows have a gradient): the rows cut in two at num_with_grad; no span is empty."""
    border = min(max(num_with_grad, rows.start), rows.stop)
    spans = (slice(rows.start, border), True), (slice(border, rows.stop), False)
    return [(span, has_gradient) for span, has_gradient in spans if span.start < span.stop]


def _agreement(statistics: RowStatistics) -> dict[str, Tensor]:
    return {"top1_agreement": statistics.logp == statistics.top}


def _no_statistics(head: HeadInputs) -> RowStatistics:
    new = partial(head.hidden.new_empty, dtype=head.wide)
    logp = new((0, *head.targets.shape[1:]))
    return RowStatistics(logp, *(new(0) for _ in RowStatistics._fields[1:]))
