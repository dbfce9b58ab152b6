"""Which rows of a head count, and in what chunks their logits exist.

A row is a token that counts. Rows that need a gradient stand first, so that the backward pass takes a prefix.
The logits of a prefix of those rows are kept from the forward to the backward pass. All other rows are cut
into chunks of equal size, or at the ends of sequences, whose logits are made and thrown away. The module does
not know losses.

Shape letters: N tokens, M rows (tokens that count), V vocabulary (of this process), H hidden.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from dupo_kernels._copies import to_device
from dupo_kernels.hidden.gemm import slices
from dupo_kernels.hidden.inputs import HeadInputs
from dupo_kernels.hidden.sequences import HostBounds, cut_at_ends, segment_bounds

SAVE_BUDGET = 4 << 30  # bytes of logits
ROUNDED_ROWS = 1024  # from which on buffers of logits come in few sizes
CHUNK_TOKENS = 8192  # near which a GEMM of 4096 x 150,000 costs per row what a longer one does


class Chunks(NamedTuple):
    """How M rows are cut.

    Attributes:
        num_rows: M.
        num_with_grad: the first rows, which get a gradient.
        num_kept: the first rows, whose logits are kept from the forward to the backward pass.
        chunk_size: rows of the other chunks.
        ends: where chunks end that are cut at the ends of sequences; empty for chunks of chunk_size rows.
    """

    num_rows: int
    num_with_grad: int
    num_kept: int
    chunk_size: int
    ends: list[int]

    def once(self) -> list[slice]:
        """The chunks where no logits are kept: forward and backward meet in each."""
        if not self.ends:
            return list(slices(0, self.num_rows, self.chunk_size))
        return [slice(start, end) for start, end in zip([0, *self.ends], self.ends, strict=False)]

    @property
    def longest(self) -> int:
        """Rows of the longest of `once`."""
        return max((rows.stop - rows.start for rows in self.once()), default=0)

    @property
    def several(self) -> bool:
        """Whether rows with a gradient stand in several of `once`."""
        return self.num_with_grad > (self.ends[0] if self.ends else self.chunk_size)

    def forward(self) -> list[slice]:
        """The chunks of the forward pass: the rows whose logits are kept, then the others."""
        # Kept logits exist all at once anyway, so they are one chunk: one long GEMM is the fastest.
        first = slices(0, self.num_kept, self.num_kept or 1)
        return [*first, *slices(self.num_kept, self.num_rows, self.chunk_size)]

    def backward(self) -> list[slice]:
        """The chunks of the backward pass, which rows without a gradient do not enter."""
        first = slices(0, self.num_kept, self.num_kept or 1)
        return [*first, *slices(self.num_kept, self.num_with_grad, self.chunk_size)]


class RowPlan(NamedTuple):
    """Which rows count and how they are cut, as a custom op can take it; sizes may be symbols.

    Attributes:
        row_index: (M,) int64, the tokens that count; None means all N, in order.
        mask: (N,) nonzero where a token counts; only inside torch.compile, which cannot wait for M.
        num_with_grad, num_kept, chunk_size: see `Chunks`; of a mask, the values for M = N.
        chunk_ends: see `Chunks`.
        segment_bounds: (R + 1,) int64 on the host: the segments that chunk_ends do not cut; None
            where chunks may be cut anywhere.
    """

    row_index: Tensor | None
    mask: Tensor | None
    num_with_grad: int
    num_kept: int
    chunk_size: int
    chunk_ends: list[int]
    segment_bounds: Tensor | None

    def resolve(self, N: int) -> tuple[Tensor | None, Chunks]:
        """(row_index, chunks) of N tokens; waits for the device if there is a mask."""
        # Inside torch.compile memory for kept logits was planned for M = N; no more than M rows use it.
        row_index = self.row_index if self.mask is None else self.mask.nonzero()[:, 0]
        M = N if row_index is None else row_index.numel()
        num_with_grad = self.num_with_grad if self.mask is None else M
        num_kept = min(self.num_kept, M)
        return row_index, Chunks(M, num_with_grad, num_kept, self.chunk_size, self.chunk_ends)

    def sums_dweight(self, N: int) -> bool:
        """Whether dweight is a float32 sum over several chunks; of a mask only the size is known."""
        num_rows = N if self.row_index is None else self.row_index.shape[0]
        num_with_grad = N if self.mask is not None else min(self.num_with_grad, num_rows)
        # no range(): sizes may be symbols
        first = self.chunk_ends[0] if self.chunk_ends else self.chunk_size
        return num_with_grad > (self.num_kept if self.num_kept else first)


def plan_rows(
    head: HeadInputs,
    mask: Tensor | None,
    rows: Tensor | None,
    row_needs_grad: Tensor | None,
    *,
    keeps_logits: bool,
    save_budget: int,
    chunk_tokens: int | None,
    bounds: HostBounds | None = None,
) -> RowPlan:
    """Decides which rows count, whose logits are kept, and how the chunks are cut.

    Args:
        head: the inputs of all N tokens.
        mask, rows, row_needs_grad, save_budget, chunk_tokens: see `linear_objective`.
        keeps_logits: the backward pass comes after all rows have been forward, so it pays to keep logits.
        bounds: of the sequences, if chunks made of whole sequences spare what keeps_logits is for.
    """
    N = head.num_tokens
    # Finding the rows of a mask waits for the device, which a compiler cannot do: the op finds them.
    is_late = mask is not None and torch.compiler.is_compiling()
    late_mask = mask.reshape(N) if mask is not None and is_late else None
    row_index, num_with_grad = None, N
    if not is_late:
        # Where the host must know the rows, the mask comes to the host: that is the one wait it costs anyway.
        mask = (mask != 0).cpu() if mask is not None and bounds is not None else mask
        row_index, num_with_grad = find_rows(N, mask, rows, row_needs_grad)
    if bounds is None or (row_index is not None and row_index.device.type != "cpu"):
        segments = None
    else:
        segments = partial(segment_bounds, bounds, row_index)
    plan = cut_rows(
        head, row_index, segments,
        num_with_grad=num_with_grad, keeps_logits=keeps_logits, save_budget=save_budget,
        chunk_tokens=chunk_tokens,
    )  # fmt: skip
    return plan._replace(mask=late_mask)


def cut_rows(
    head: HeadInputs,
    row_index: Tensor | None,
    segments: Callable[[int], list[int] | None] | None,
    *,
    keeps_logits: bool,
    save_budget: int,
    chunk_tokens: int | None,
    num_with_grad: int | None = None,
) -> RowPlan:
    """Decides whose logits are kept and how the chunks of known rows are cut.

    Args:
        row_index: (M,), or None for all N in order.
        segments: (rows of a chunk) -> bounds of stretches of rows that chunks must not cut; None for none.
        num_with_grad: the first rows, which get a gradient; None: all.
    """
    M = head.targets.numel() if row_index is None else row_index.numel()
    num_with_grad = M if num_with_grad is None else num_with_grad
    (V, H), itemsize = head.weight.shape, head.logits_dtype.itemsize
    sizes = V, H, itemsize, save_budget, chunk_tokens
    chunk_size = choose_chunk_size(M, *sizes)
    ends: list[int] = []
    uncut: list[int] | None = None
    if segments is not None and M > 0:
        uncut = segments(chunk_size)
        # A long sequence may have as many rows as the longest of equal chunks.
        largest = chunk_size if chunk_tokens is not None else max(chunk_size, CHUNK_TOKENS)
        ends = [] if uncut is None else cut_at_ends(uncut, chunk_size, largest)
    num_kept = 0
    if not ends:
        if keeps_logits and head.wants_gradient:
            num_kept = choose_num_kept(num_with_grad, *sizes)
        chunk_size = choose_chunk_size(M - num_kept, *sizes)
    if row_index is not None:
        row_index = to_device(row_index.to(torch.int64), head.hidden.device)
    bounds = torch.tensor(uncut) if ends else None
    return RowPlan(row_index, None, num_with_grad, num_kept, chunk_size, ends, bounds)


def find_rows(
    N: int, mask: Tensor | None, rows: Tensor | None, row_needs_grad: Tensor | None
) -> tuple[Tensor | None, int]:
    """(row_index (M,) or None for all N in order, the number of first rows with a gradient).

    The index is on the host where all that it depends on is. Waits for the device once if a mask is there and
    not on the host, else never.
    """
    if row_needs_grad is None:
        if rows is None and mask is None:
            return None, N
        row_index = rows if rows is not None else mask.flatten().nonzero()[:, 0]  # type: ignore[union-attr]
        return row_index, row_index.numel()
    # 1: with a gradient, 0: without, 2: does not count
    rank = (row_needs_grad.flatten() != 0).to(torch.uint8)
    if rows is not None:
        rank = rank[rows.to(rank.device)]
    elif mask is not None:
        rank = torch.where(mask.flatten().to(rank.device) != 0, rank, 2)
    # On the host, where nonzero() waits for nothing: the only wait is this copy, if there is one.
    rank = rank.cpu()
    with_grad, without_grad = (rank == 1).nonzero()[:, 0], (rank == 0).nonzero()[:, 0]
    order = torch.cat([with_grad, without_grad])
    num_with_grad = with_grad.numel()
    if rows is None:
        return order, num_with_grad
    return rows.to(torch.int64)[to_device(order, rows.device)], num_with_grad


def choose_chunk_size(
    num_rows: int, V: int, H: int, itemsize: int, save_budget: int, chunk_tokens: int | None
) -> int:
    """How many rows have logits at once, of `num_rows` rows with logits of `itemsize` bytes an element."""
    if chunk_tokens is not None:
        return chunk_tokens
    # One chunk writes dweight (V, H) once, in its own type; several need a float32 sum of it, which is no
    # smaller than the logits of 2 H rows in half precision.
    if num_rows <= 2 * H or num_rows * V * itemsize <= save_budget:
        return max(num_rows, 1)
    # Chunks of equal size near CHUNK_TOKENS, in multiples of 128 (a tile of a GEMM): no short last one.
    chunks = -(-num_rows // CHUNK_TOKENS)
    return -(-num_rows // (chunks * 128)) * 128


def choose_buffer_rows(num_rows: int) -> int:
    """Rows of memory for the logits of `num_rows` rows; the size may be a symbol of torch.compile.

    From ROUNDED_ROWS on, sizes are multiples of an eighth of the power of two below, or of ROUNDED_ROWS if
    that is less. The memory is at most an eighth larger, and batches of varying length ask for few sizes. An
    allocator that is asked for other gigabytes in each step cuts up its blocks until none fits.
    """
    # The compiler plans shapes and strides alone, which do not depend on the memory behind the last row.
    if not isinstance(num_rows, int) or num_rows < ROUNDED_ROWS:
        return num_rows
    step = min(ROUNDED_ROWS, 1 << (num_rows.bit_length() - 4))
    return -(-num_rows // step) * step


def choose_num_kept(
    num_rows: int, V: int, H: int, itemsize: int, save_budget: int, chunk_tokens: int | None
) -> int:
    """How many rows keep their logits: all if one chunk would hold them anyway, else what fits the budget."""
    # Keeping a part of what one chunk would hold saves nothing, and makes dweight a sum of two chunks.
    if save_budget > 0 and choose_chunk_size(num_rows, V, H, itemsize, save_budget, chunk_tokens) >= num_rows:
        return num_rows
    return min(num_rows, save_budget // (V * itemsize))


def scatter_rows(values_M: Tensor, N: int, row_index: Tensor | None) -> Tensor:
    """Puts values of rows, (M,) or (M, K), at their tokens, (N,) or (N, K); zero elsewhere."""
    if row_index is None:
        return values_M
    return values_M.new_zeros(N, *values_M.shape[1:]).index_copy_(0, row_index, values_M)
