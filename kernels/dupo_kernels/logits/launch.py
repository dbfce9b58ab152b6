"""Both directions of the loss head on rows of logits, without autograd; linear heads call them by chunks.

    forward:  logits -> logp, entropy, lse, top of each row       (formulas: logprobs.py)
    backward: logits, lse, entropy, dlogp, dentropy -> dlogits

Triton kernels serve CUDA tensors (and all tensors under its interpreter), torch serves the others. Losses are
unknown here: they arrive as dlogp = dloss / dlogp and dentropy = dloss / dentropy of each row.

Shape letters: N rows, V vocabulary.
"""

from types import ModuleType

import torch
from torch import Tensor

from dupo_kernels._triton import runs_on_triton
from dupo_kernels.logits import torch_path, triton_path
from dupo_kernels.logits.rows import Rows, RowStatistics, new_statistics


def logprobs_forward(rows: Rows, with_entropy: bool) -> RowStatistics:
    """The statistics of each row; the entropy only if asked for."""
    statistics = new_statistics(rows.logits, rows.targets.numel(), with_entropy)
    # Without the entropy a kernel has one accumulator less.
    entropy = statistics.entropy if with_entropy else None
    _path(rows.logits).forward(rows, statistics.logp, entropy, statistics.lse, statistics.top)
    return statistics


def logprobs_backward(
    rows: Rows, lse: Tensor, entropy: Tensor, dlogp: Tensor | None, dentropy: Tensor | None, dlogits: Tensor
) -> None:
    """Writes dlogits (N, V), which may be the memory of the logits themselves: then they are consumed.

    Args:
        rows: those of the forward pass.
        lse, entropy: (N,), from the forward pass; entropy is read only where there is dentropy.
        dlogp, dentropy: (N,), or None for zero.
        dlogits: (N, V), written; of the type of the logits, or narrower.
    """
    # Upstream gradients come in any type, and may be expanded scalars: kernels read plain vectors. A missing
    # dlogp is zero; a missing dentropy is another, cheaper kernel.
    dlogp = torch.zeros_like(lse) if dlogp is None else dlogp.to(lse.dtype).contiguous()
    dentropy = None if dentropy is None else dentropy.to(lse.dtype).contiguous()
    _path(rows.logits).backward(rows, lse, entropy, dlogp, dentropy, dlogits)


def _path(logits: Tensor) -> ModuleType:
    return triton_path if runs_on_triton(logits) else torch_path
