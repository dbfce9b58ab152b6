"""The head of linear.py, chunk by chunk: which rows there are, their logits, and the three products.

    logits = hidden weight^T + bias        dhidden = dlogits weight        dweight = dlogits^T hidden

Two GEMMs of the three are the backward's; a row that needs no gradient gets the first alone, and a
masked row none. dlogits takes the place of the logits, also where they are fp32 and it is not: then a row
of it fills the first half of the row that it came from.

Shape letters: N tokens, M of them that count, V vocabulary (of this process), H hidden.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo_kernels.hidden import sharding as _parallel
from dupo_kernels.logits.logprobs import Found, logprobs_backward, logprobs_forward
from dupo_kernels.logits.torch_path import Rows

CHUNK_TOKENS = 8192  # near which a GEMM of 4096 x 150,000 costs what a longer one does
TILE_BYTES = 64 << 20  # of a weight in another type, where no GEMM takes both types
ALIGN = 8  # elements between rows of logits: whole 16-byte words in any type


@dataclass
class Head:
    """One call of the head: all that does not change from chunk to chunk, and the gradients so far.

    Attributes:
        hidden: (M, H), the rows that count; those that need a gradient stand first.
        weight: (V, H). bias: (V,) or None.
        targets: (M,) int64, in the numbering of this process's vocabulary.
        inv_temperature: (M,) or (1,).
        softcap: 0 is none.
        logits_dtype: of hidden, or float32 above a half type.
        group: name of the process group that shares the vocabulary; "" is none.
        accumulate: gradients of weight and bias come from several chunks: sum them in float32.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    targets: Tensor
    inv_temperature: Tensor
    softcap: float
    logits_dtype: torch.dtype
    group: str = ""
    wanted: tuple[bool, bool, bool] = (True, True, True)
    accumulate: bool = False
    dhidden: Tensor | None = field(default=None, init=False)
    dweight: Tensor | None = field(default=None, init=False)
    dbias: Tensor | None = field(default=None, init=False)

    def buffer(self, rows: int) -> Tensor:
        """(rows, V) for logits; rows start at multiples of ALIGN elements."""
        V = self.weight.shape[0]
        return self.hidden.new_empty(rows, -(-V // ALIGN) * ALIGN, dtype=self.logits_dtype)[:, :V]

    def forward(self, logits: Tensor, at: slice, with_entropy: bool) -> Found:
        """`write`, and what is to be known of these rows."""
        self.write(logits, at)
        found = logprobs_forward(self._rows(logits, at), with_entropy)
        return _parallel.combine(found, self.group) if self.group else found

    def write(self, logits: Tensor, at: slice) -> None:
        """The logits of the rows `at`."""
        gemm(self.hidden[at], self.weight.t(), logits)
        if self.bias is not None:
            logits += self.bias

    def backward(self, logits: Tensor, at: slice, found: Found, a: Tensor, b: Tensor | None) -> None:
        """Turns the logits of the rows `at` into dlogits and adds to the gradients.

        a, b: dloss / dlogp and dloss / dentropy of these rows; `found` is of them as well.
        """
        dlogits = narrowed(logits, self.hidden.dtype)
        logprobs_backward(self._rows(logits, at), found.lse, found.entropy, a, b, dlogits)
        for_hidden, for_weight, for_bias = self.wanted
        if for_hidden:
            if self.dhidden is None:
                dtype = torch.promote_types(self.hidden.dtype, torch.float32) if self.group else None
                self.dhidden = torch.zeros_like(self.hidden, dtype=dtype)
            gemm(dlogits, self.weight, self.dhidden[at])
        if for_weight:
            self.dweight = self._summed(self.dweight, dlogits.t(), self.hidden[at])
        if for_bias:
            found_dbias = dlogits.sum(0, dtype=torch.promote_types(dlogits.dtype, torch.float32))
            self.dbias = found_dbias if self.dbias is None else self.dbias.add_(found_dbias)

    def gradients(self, N: int, index: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """(dhidden (N, H), dweight, dbias), each empty if not wanted; float32 sums are returned as such."""
        for_hidden, for_weight, for_bias = self.wanted
        dhidden, dweight, dbias = (self.hidden.new_empty(0) for _ in self.wanted)
        if for_hidden:
            dhidden = torch.zeros_like(self.hidden) if self.dhidden is None else self.dhidden
            if self.group:
                dhidden = _parallel.summed(dhidden, self.group).to(self.hidden.dtype)
            if index is not None:
                dhidden = dhidden.new_zeros(N, dhidden.shape[1]).index_copy_(0, index, dhidden)
        if for_weight:
            dweight = torch.zeros_like(self.weight) if self.dweight is None else self.dweight
        if for_bias and self.bias is not None:
            dbias = torch.zeros_like(self.bias) if self.dbias is None else self.dbias
        return dhidden, dweight, dbias

    def _summed(self, total: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
        """total + left @ right, in the type of the operands if this is all of it."""
        if total is not None:
            return gemm(left, right, total, add=True)
        dtype = torch.promote_types(right.dtype, torch.float32) if self.accumulate else right.dtype
        return gemm(left, right, right.new_empty(left.shape[0], right.shape[1], dtype=dtype))

    def _rows(self, logits: Tensor, at: slice) -> Rows:
        shared = self.inv_temperature.numel() == 1
        inv_temperature = self.inv_temperature if shared else self.inv_temperature[at]
        return Rows(logits, self.targets[at], inv_temperature, self.softcap)


def narrowed(logits: Tensor, dtype: torch.dtype) -> Tensor:
    """The memory of each row of (M, V) logits, as a row of a narrower type."""
    if logits.dtype == dtype:
        return logits
    whole = logits.as_strided((logits.shape[0], logits.stride(0)), (logits.stride(0), 1))
    return whole.view(dtype)[:, : logits.shape[1]]


def gemm(left: Tensor, right: Tensor, out: Tensor, add: bool = False) -> Tensor:
    """out = left @ right, or out += it, summed in float32 or better and rounded once, to the type of out."""
    with torch.autocast(left.device.type, enabled=False):  # the types are settled
        if left.dtype == out.dtype:
            return torch.addmm(out, left, right, out=out) if add else torch.mm(left, right, out=out)
        if left.is_cuda:
            mixed: Any = {"out_dtype": out.dtype, "out": out}
            return torch.addmm(out, left, right, **mixed) if add else torch.mm(left, right, **mixed)
        return _gemm_in_tiles(left, right, out, add)


def _gemm_in_tiles(left: Tensor, right: Tensor, out: Tensor, add: bool) -> Tensor:
    """For CPUs, which have no product of two types: exactly, as that of two halves has room in float32."""
    step = max(1, TILE_BYTES // max(1, left.shape[1] * out.dtype.itemsize))
    for i in spans(0, out.shape[0], step):
        wide = left[i].to(out.dtype)
        for j in spans(0, out.shape[1], step):
            tile = wide @ right[:, j].to(out.dtype)
            out[i, j] = out[i, j] + tile if add else tile
    return out


# (loss, dloss / dlogp, dloss / dentropy, what to report) of some rows
Evaluated = tuple[Tensor, Tensor, Tensor | None, dict[str, Tensor]]


# --- which rows, and in what pieces ---------------------------------------------------------------


def select(
    N: int, device: torch.device, mask: Tensor | None, rows: Tensor | None, needs: Tensor | None
) -> tuple[Tensor | None, int]:
    """(the rows that count, those that need a gradient first; how many do). None: all, in order.

    Waits for the device once if a mask is there and not on the host, else never.
    """
    if needs is None:
        if rows is None and mask is None:
            return None, N
        index = rows if rows is not None else mask.flatten().nonzero()[:, 0]  # type: ignore[union-attr]
        return index.to(device, torch.int64, non_blocking=True), index.numel()
    kind = (needs.flatten() != 0).to(torch.uint8)
    if rows is not None:
        kind = kind[rows.to(kind.device)]
    elif mask is not None:
        kind = torch.where(mask.flatten().to(kind.device) != 0, kind, 2)
    kind = kind.cpu()
    first, second = (kind == 1).nonzero()[:, 0], (kind == 0).nonzero()[:, 0]
    order = torch.cat([first, second]).to(device, non_blocking=True)
    return order if rows is None else rows.to(device, torch.int64)[order], first.numel()


def spans(start: int, stop: int, step: int) -> Iterator[slice]:
    return (slice(n, min(n + step, stop)) for n in range(start, stop, step))


def chunk_rows(rows: int, V: int, H: int, itemsize: int, budget: int, chunk_tokens: int | None) -> int:
    """How many rows have logits at once: all while a float32 dweight would not be smaller (rows <= 2 H), or
    while they fit the budget; else pieces of equal size near CHUNK_TOKENS."""
    if chunk_tokens is not None:
        return chunk_tokens
    if rows <= 2 * H or rows * V * itemsize <= budget:
        return max(rows, 1)
    pieces = -(-rows // CHUNK_TOKENS)
    return -(-rows // (pieces * 128)) * 128


def kept_rows(rows: int, V: int, H: int, itemsize: int, budget: int, chunk_tokens: int | None) -> int:
    """How many rows keep their logits: all if one chunk would hold them at once anyway, else what fits."""
    if budget > 0 and chunk_rows(rows, V, H, itemsize, budget, chunk_tokens) >= rows:
        return rows
    return min(rows, budget // (V * itemsize))


# --- both directions, of all rows ------------------------------------------------------------------


class Plan(NamedTuple):
    """How the M rows are cut.

    Attributes:
        rows: M. active: the first rows, which get a gradient.
        kept: the first rows, whose logits are kept from the forward to the backward pass.
        step: rows of the other chunks.
    """

    rows: int
    active: int
    kept: int
    step: int

    def forward(self) -> list[slice]:
        return [*spans(0, self.kept, self.kept or 1), *spans(self.kept, self.rows, self.step)]

    def backward(self) -> list[slice]:
        return [*spans(0, self.kept, self.kept or 1), *spans(self.kept, self.active, self.step)]


def head_forward(head: Head, plan: Plan, kept: Tensor, with_entropy: bool) -> Found:
    """Of all rows; the logits of the first go to `kept` and stay there."""
    parts, scratch = [], None
    for at in plan.forward():
        if at.stop <= plan.kept:
            logits = kept[at]
        else:
            scratch = head.buffer(min(plan.step, plan.rows - plan.kept)) if scratch is None else scratch
            logits = scratch[: at.stop - at.start]
        parts.append(head.forward(logits, at, with_entropy))
    if not parts:
        return Found(*(head.inv_temperature.new_empty(0) for _ in Found._fields))
    return Found(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def head_backward(head: Head, plan: Plan, kept: Tensor, found: Found, a: Tensor, b: Tensor | None) -> None:
    """Adds up the gradients in `head`; consumes the logits in `kept` and recomputes the others."""
    head.accumulate, scratch = len(plan.backward()) > 1, None
    for at in plan.backward():
        if at.stop <= plan.kept:
            logits = kept[at]
        else:
            scratch = head.buffer(min(plan.step, plan.active - plan.kept)) if scratch is None else scratch
            logits = scratch[: at.stop - at.start]
            head.write(logits, at)
        head.backward(logits, at, part(found, at), a[at], None if b is None else b[at])


def part(found: Found, at: slice) -> Found:
    return Found(*(column[at] for column in found))


def run_objective(
    head: Head, plan: Plan, evaluate: Callable[[Found, slice], Evaluated], entropy: bool, token_scope: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """(loss, what there is to report of each row). The gradients are in `head` afterwards."""
    everything = slice(0, plan.rows)
    if not token_scope:
        kept = head.buffer(plan.kept)
        found = head_forward(head, plan, kept, entropy)
        loss, a, b, stats = evaluate(found, everything)
        if any(head.wanted):
            head_backward(head, plan, kept, found, a, b)
        return loss, stats | {"top1_agreement": found.logp == found.top}
    head.accumulate = plan.active > plan.step
    scratch = head.buffer(min(plan.step, plan.rows))
    losses, rows = [], []
    for at in spans(0, plan.rows, plan.step):
        logits = scratch[: at.stop - at.start]
        found = head.forward(logits, at, entropy)
        loss, a, b, stats = evaluate(found, at)
        losses.append(loss)
        rows.append(stats | {"top1_agreement": found.logp == found.top})
        if any(head.wanted) and at.start < plan.active:
            live = slice(0, min(at.stop, plan.active) - at.start)
            b = None if b is None else b[live]
            head.backward(logits[live], slice(at.start, at.start + live.stop), part(found, live), a[live], b)
    if not losses:
        loss, _, _, stats = evaluate(Found(*[head.inv_temperature.new_empty(0)] * 4), everything)
        return loss, stats | {"top1_agreement": loss.new_empty(0)}
    return torch.stack(losses).sum(), {name: torch.cat([r[name] for r in rows]) for name in rows[0]}
