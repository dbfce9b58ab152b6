"""The head on one chunk of rows: its logits, its three products, and the sums of its gradients.

    logits = hidden weight^T + bias        dhidden = dlogits weight        dweight = dlogits^T hidden

Per row: one forward GEMM, two backward. Rows without a gradient skip the backward GEMMs; masked tokens are no
rows and skip all three. dlogits overwrite the logits; a bf16 row is written into the upper half of its fp32
row. The module does not know losses; logits/launch.py turns logits into log-probabilities and dlogits.

Shape letters: N tokens, M rows (tokens that count), G of them with a gradient, C rows of one chunk, V
vocabulary (of this process), H hidden.
"""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from dupo_kernels.hidden import sharding
from dupo_kernels.hidden.chunks import choose_buffer_rows
from dupo_kernels.hidden.gemm import gemm
from dupo_kernels.hidden.inputs import HeadInputs
from dupo_kernels.logits import several_targets
from dupo_kernels.logits.launch import logprobs_backward, logprobs_forward
from dupo_kernels.logits.row_outputs import RowOutputs, Wanted, row_outputs
from dupo_kernels.logits.rows import Rows, RowStatistics, narrowed

ALIGN = 8  # elements between rows of logits: whole 16-byte words in any type


def logits_buffer(head: HeadInputs, num_rows: int) -> Tensor:
    """Memory for logits (num_rows, V), not filled; rows start at multiples of ALIGN elements."""
    # GEMMs and vector loads want aligned rows, which an odd V such as 50,257 would not give.
    V = head.weight.shape[0]
    shape = choose_buffer_rows(num_rows), -(-V // ALIGN) * ALIGN
    return head.hidden.new_empty(shape, dtype=head.logits_dtype)[:num_rows, :V]


def write_logits(head: HeadInputs, rows: slice, logits_CV: Tensor) -> None:
    """Writes the logits of the rows, before softcap and temperature."""
    gemm(head.hidden[rows], head.weight.t(), logits_CV)
    if head.bias is not None:
        logits_CV += head.bias


def chunk_forward(
    head: HeadInputs, rows: slice, logits_CV: Tensor, wanted: Wanted
) -> tuple[RowStatistics, RowOutputs]:
    """Writes the logits of the rows and returns what is wanted of them, over the whole vocabulary.

    Each is (C,); of K targets the log-probabilities are (C, K).
    """
    write_logits(head, rows, logits_CV)
    kernel_rows = logits_rows(head, rows, logits_CV)
    forward = several_targets.forward if head.has_several_targets else logprobs_forward
    statistics = forward(kernel_rows, wanted.with_entropy)
    outputs = row_outputs(kernel_rows, statistics, wanted)
    if not head.group:
        return statistics, outputs
    whole = sharding.combine(statistics, head.group)
    if any(x is not None for x in outputs):
        outputs = sharding.combine_outputs(outputs, statistics.lse, whole, logits_CV.shape[1], head.group)
    return whole, outputs


def fused_rows(head: HeadInputs, rows: slice, logits_CV: Tensor, by_index: bool) -> Rows:
    """The rows of a chunk as `fused_loss` reads them.

    `by_index`: targets and temperatures stay those of all N tokens, where the kernel looks each row up. Else
    they are those of the rows, as in `logits_rows`.
    """
    if not by_index:
        return logits_rows(head, rows, logits_CV)
    return Rows(logits_CV, head.targets, head.inv_temperature, head.softcap, head.inv_temperature_of_all)


def logits_rows(head: HeadInputs, rows: slice, logits_CV: Tensor) -> Rows:
    """The logits of the rows, (C, V), with the targets, temperatures and softcap of the rows."""
    of_rows = None if head.inv_temperature is None else head.inv_temperature[rows]
    return Rows(logits_CV, head.targets[rows], of_rows, head.softcap, head.inv_temperature_of_all)


class Gradients(NamedTuple):
    """The gradients of a head; a gradient that is not wanted has shape (0,).

    Attributes:
        dhidden: (N, H), of type `HeadInputs.dhidden_dtype`.
        dweight: (V, H). dbias: (V,). Sums over several chunks are float32.
    """

    dhidden: Tensor
    dweight: Tensor
    dbias: Tensor


class GradientSums:
    """Sums the gradients of a head over chunks.

    Args:
        head: the inputs of M rows.
        num_with_grad: G, the first rows, which get a gradient.
        several: dweight comes from several chunks, so its sum must be float32.
    """

    def __init__(self, head: HeadInputs, num_with_grad: int, several: bool) -> None:
        self.head = head
        self.num_with_grad, self.several = num_with_grad, several
        self.dhidden_GH: Tensor | None = None
        self.dweight_VH: Tensor | None = None
        self.dbias_V: Tensor | None = None
        self.ones_C: Tensor | None = None

    def add_chunk(
        self,
        logits_CV: Tensor,
        rows: slice,
        statistics: RowStatistics,
        dlogp: Tensor,
        dentropy: Tensor | None,
    ) -> None:
        """Turns the logits of the rows into dlogits, in place, and adds to the gradients.

        Args:
            statistics: of these rows, from the forward pass; lse and entropy are read.
            dlogp, dentropy: (C,), dloss / dlogp and dloss / dentropy; dlogp is (C, K) for K targets, dentropy
                may be None for zero.
        """
        # The kernel reads a block of logits before it writes dlogits over it, so no second (C, V) exists.
        head = self.head
        dlogits_CV = narrowed(logits_CV, head.hidden.dtype)
        backward = several_targets.backward if head.has_several_targets else logprobs_backward
        backward(
            logits_rows(head, rows, logits_CV),
            statistics.lse, statistics.entropy, dlogp, dentropy, dlogits_CV,
        )  # fmt: skip
        self.add_products(dlogits_CV, rows)

    def add_products(self, dlogits_CV: Tensor, rows: slice) -> None:
        """Adds to the gradients what dlogits of the rows give; all rows have a gradient."""
        head = self.head
        if head.wants_dhidden:
            if self.dhidden_GH is None:
                self.dhidden_GH = self._new_dhidden()
            # Sums over the vocabulary: of a few rows they are cut into parts.
            gemm(dlogits_CV, head.weight, self.dhidden_GH[rows], long_sums=True)
        if head.wants_dweight:
            self._add_dweight(dlogits_CV.t(), head.hidden[rows])
        if head.wants_dbias:
            self._add_dbias(dlogits_CV)

    def _new_dhidden(self) -> Tensor:
        head = self.head
        # Parts of a vocabulary are summed over processes: round once, after that sum.
        dtype = head.wide if head.group else head.dhidden_dtype
        return head.hidden.new_empty(self.num_with_grad, head.hidden.shape[1], dtype=dtype)

    def _add_dbias(self, dlogits_CV: Tensor) -> None:
        # A product with ones adds into the sum itself, in one launch. V numbers cost nothing, so dbias is
        # summed in float32 also for a single chunk.
        C, V = dlogits_CV.shape
        add = self.dbias_V is not None
        if self.dbias_V is None:
            self.dbias_V = dlogits_CV.new_empty(V, dtype=self.head.wide)
        # Chunks that end where sequences end may grow.
        if self.ones_C is None or self.ones_C.numel() < C:
            self.ones_C = dlogits_CV.new_ones(C)
        gemm(self.ones_C[None, :C], dlogits_CV, self.dbias_V[None], add=add)

    def _add_dweight(self, dlogits_VC: Tensor, hidden_CH: Tensor) -> None:
        # The GEMM adds into the sum itself; a separate product would be another (V, H).
        if self.dweight_VH is not None:
            gemm(dlogits_VC, hidden_CH, self.dweight_VH, add=True)
            return
        wide = torch.promote_types(hidden_CH.dtype, torch.float32)
        dtype = wide if self.several else hidden_CH.dtype  # bf16 sums would drift
        # A single product in bf16 is safe: (V, H) fills a GPU, so no library cuts its sums over C tokens.
        memory = hidden_CH.new_empty(dlogits_VC.shape[0], hidden_CH.shape[1], dtype=dtype)
        self.dweight_VH = gemm(dlogits_VC, hidden_CH, memory)

    def result(self, N: int, row_index: Tensor | None) -> Gradients:
        """The gradients of all N tokens; `row_index` (M,) says where the rows belong."""
        head = self.head
        # Ops return tensors, never None; and a batch without rows has gradients of zeros.
        dhidden, dweight, dbias = (head.hidden.new_empty(0) for _ in range(3))
        if head.wants_dhidden:
            zeros = partial(head.hidden.new_zeros, N, head.hidden.shape[1], dtype=head.dhidden_dtype)
            # Freed where its rows have found their tokens.
            dhidden, self.dhidden_GH = self.dhidden_GH, None
            if head.group and dhidden is not None:
                dhidden = sharding.summed(dhidden, head.group).to(head.dhidden_dtype)
            if dhidden is None:
                dhidden = zeros()
            elif row_index is not None:
                dhidden = zeros().index_copy_(0, row_index[: self.num_with_grad], dhidden)
        if head.wants_dweight:
            dweight = torch.zeros_like(head.weight) if self.dweight_VH is None else self.dweight_VH
        if head.wants_dbias and head.bias is not None:
            dbias = self.dbias_V
            if dbias is None:
                dbias = torch.zeros_like(head.bias, dtype=head.wide)
        return Gradients(dhidden, dweight, dbias)
