"""An objective of groups of sequences on a head: whole groups are a chunk, so 6NVH flop and its logits alone.

    rows in the order of their groups -> logp -> sums of sequences -> losses of groups -> d loss / d sum

A loss of sequences reaches a token through one number, the derivative in the sum of its sequence. Rows are
sorted, so that the rows of a group stand together wherever its sequences stand in the batch. Autograd
differentiates the losses, on sequences alone. Where a group has more rows than a chunk may have, all
log-probabilities come first, as for other objectives.

Shape letters: N tokens, M rows (tokens that count), C rows of one chunk, G groups, g of them in one chunk, K
sequences of a group, S = G K sequences.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dupo_kernels._copies import to_device
from dupo_kernels._messages import refused
from dupo_kernels.hidden.chunk_loop import Evaluation
from dupo_kernels.hidden.chunks import RowPlan, cut_rows, find_rows
from dupo_kernels.hidden.inputs import HeadInputs
from dupo_kernels.hidden.sequences import HostBounds
from dupo_kernels.logits.rows import RowStatistics
from dupo_kernels.preferences.groups import (
    group_members,
    group_weights,
    reduce_groups,
    sequence_inputs,
    without_weightless,
)
from dupo_kernels.preferences.preference_objective import PreferenceObjective
from dupo_kernels.tokens.layout import segment_sums

BROKEN = "is_broken"  # the name under which the rows report that the loss of a group is NaN


@dataclass
class GroupCall:
    """One call of an objective of groups; see `hidden.user_objective.UserCall`, whose place it takes.

    Attributes:
        head: the inputs of all N tokens.
        plan: which rows count, sorted by group, and their chunks.
        objective: (sums (g, K), lengths (g, K), **inputs (g, K)) -> (losses (g,), stats (g,) by name).
        weights: (G,). inputs: by name, (G, K), or (G, 1) for what belongs to a group.
        lengths: (G, K), rows of each sequence.
        ends: G + 1 numbers, where the rows of each group begin and end.
        offsets: (S + 1,) int64 on the device, the same of sequences.
        grad_scale: factor of the derivatives; 1 for none.
        stats: filled by the forward pass, scalars by name.
    """

    head: HeadInputs
    plan: RowPlan
    objective: Any
    weights: Tensor
    inputs: dict[str, Tensor]
    lengths: Tensor
    ends: list[int]
    offsets: Tensor
    grad_scale: float
    stats: dict[str, Tensor] = field(default_factory=dict)
    with_entropy: bool = False

    def evaluator(self, row_index: Tensor | None) -> "GroupRows":
        """The objective for the rows of this call."""
        return GroupRows(self)

    def reduce(self, stats: Mapping[str, Tensor], rows: "GroupRows", dtype: torch.dtype) -> dict[str, Tensor]:
        """Scalars: means over groups, and the share of rows whose target is the likeliest token."""
        reported = dict(stats)
        agreement_M, is_broken = reported.pop("top1_agreement").to(dtype), reported.pop(BROKEN)
        scalars = reduce_groups(reported, is_broken, len(self.weights), dtype)
        return scalars | {"top1_agreement": agreement_M.sum() / max(len(agreement_M), 1)}


class GroupRows:
    """An objective of groups, to be called with the statistics of the rows of whole groups."""

    def __init__(self, call: GroupCall) -> None:
        self.call = call

    @property
    def by_chunk(self) -> bool:
        """Whether the rows of a chunk are enough."""
        return bool(self.call.plan.chunk_ends)

    def __call__(self, statistics: RowStatistics, rows: slice) -> Evaluation:
        """The weighted loss of the groups of these rows and its derivatives."""
        call, which = self.call, self._groups(rows)
        # Sequences stand in the order of their groups, so a chunk is a slice of everything.
        lengths, K = call.lengths[which], call.lengths.shape[1]
        offsets = call.offsets[which.start * K : which.stop * K + 1] - rows.start
        sums = segment_sums(statistics.logp, offsets)
        # A leaf of a small graph: grad mode is off in a forward pass, and logits must stay outside.
        leaf = sums.view(-1, K).requires_grad_()
        weights = call.weights[which]
        with torch.enable_grad():
            inputs = {name: x[which] for name, x in call.inputs.items()}
            shown = without_weightless(leaf, weights)
            losses, stats = _checked(call.objective(shown, lengths, **inputs), len(weights))
            # A weight of 0 times an infinite loss must not spoil the sum.
            losses = losses.where(weights != 0, 0.0)
            total = (losses * weights).sum()
        slope: Tensor | None = None
        if total.requires_grad:
            (slope,) = torch.autograd.grad(total, leaf, allow_unused=True)
        slope = torch.zeros_like(sums) if slope is None else slope.flatten() * call.grad_scale
        num_rows = rows.stop - rows.start
        # Every token of a sequence has the derivative of its sum.
        owner_C = torch.repeat_interleave(offsets.diff(), output_size=num_rows)
        stats = {n: x.detach() for n, x in stats.items()} | {BROKEN: losses.detach().isnan()}
        return Evaluation(total.detach(), slope[owner_C], None, stats)

    def _groups(self, rows: slice) -> slice:
        # A group without rows at a border belongs to the chunk behind; at the end there is none behind.
        start, stop = (bisect_left(self.call.ends, row) for row in (rows.start, rows.stop))
        return slice(start, len(self.call.weights) if rows.stop == self.call.ends[-1] else stop)


def group_call(
    head: HeadInputs,
    shape: torch.Size,
    objective: Any,
    inputs: Mapping[str, Tensor | None],
    *,
    groups: Tensor | None,
    weights: Tensor | None,
    mask: Tensor | None,
    rows: Tensor | None,
    cu_seqlens: Tensor | None,
    save_budget: int,
    chunk_tokens: int | None,
    grad_scale: float,
) -> GroupCall:
    """The call of an objective of groups; arguments are those of `linear_objective`.

    Bounds, mask and rows come to the host, which waits for the device where they are not there yet.

    Raises:
        ValueError: tokens without sequences, and what `preference_loss` refuses.
    """
    N, device = head.targets.numel(), head.hidden.device
    if cu_seqlens is None and len(shape) != 2:
        raise refused("targets", "shape (B, T), or (N,) with cu_seqlens, for an objective of groups", shape)
    S = shape[0] if cu_seqlens is None else cu_seqlens.numel() - 1
    is_preference = isinstance(objective, PreferenceObjective)
    members = group_members(groups, S, getattr(objective, "sequences", 0))
    per_sequence = sequence_inputs(inputs, S, device, head.wide)
    if is_preference:
        objective.check_inputs(per_sequence)
    # The objective runs in the forward pass of an autograd.Function: a gradient of these would be lost.
    elif learned := [name for name, x in inputs.items() if x is not None and x.requires_grad]:
        raise ValueError(
            f"per_token: expected no requires_grad (it is not differentiated), got it in {', '.join(learned)}"
        )
    mask, rows = (x if x is None else x.cpu() for x in (mask, rows))
    row_index, _ = find_rows(N, mask, rows, None)
    bounds = HostBounds(N, shape[-1], None if cu_seqlens is None else cu_seqlens.cpu())
    row_index, counts = _sorted_rows(bounds, row_index, members)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    ends = offsets[:: members.shape[1]].tolist()
    sizes = {"save_budget": save_budget, "chunk_tokens": chunk_tokens}
    plan = cut_rows(head, row_index, lambda _: ends, keeps_logits=True, **sizes)
    members = to_device(members, device)
    lengths = to_device(counts, device).view(members.shape)
    grouped = {name: x[members] for name, x in per_sequence.items()}
    if hasattr(objective, "batch_inputs"):
        grouped |= objective.batch_inputs(lengths.to(head.wide))
    return GroupCall(
        head,
        plan,
        objective,
        group_weights(weights, len(members), device, head.wide),
        grouped,
        lengths,
        ends,
        to_device(offsets, device),
        grad_scale,
    )


def _sorted_rows(
    bounds: HostBounds, row_index: Tensor | None, members: Tensor
) -> tuple[Tensor | None, Tensor]:
    """(row_index (M,) in the order of the members, rows of each of the S sequences), on the host.

    The index is None where it would be all N tokens in order: nothing is gathered then.
    """
    tokens = torch.arange(bounds.N) if row_index is None else row_index.long()
    owner = bounds.owners(tokens)
    # Tokens outside all sequences belong to no group, so they are no rows.
    tokens, owner = tokens[owner >= 0], owner[owner >= 0]
    # Where each sequence stands among the members; the sort is stable, so tokens keep their order.
    place = torch.empty(members.numel(), dtype=torch.int64)
    place[members.flatten()] = torch.arange(members.numel())
    order = place[owner].argsort(stable=True)
    counts = torch.bincount(place[owner], minlength=members.numel())
    rows = tokens[order]
    return None if torch.equal(rows, torch.arange(bounds.N)) else rows, counts


def _checked(result: Any, num_groups: int) -> tuple[Tensor, dict[str, Tensor]]:
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
        raise ValueError(f"objective: expected (losses, stats) as its result, got {type(result).__name__}")
    losses, stats = result
    for name, x in [("objective", losses), *((f"stats[{name!r}]", x) for name, x in stats.items())]:
        if not isinstance(x, Tensor) or x.shape != (num_groups,):
            raise refused(name, f"a number for each group ({num_groups},)", getattr(x, "shape", x))
        if x.is_complex():
            raise refused(name, "real numbers", x.dtype)
    return losses, stats
