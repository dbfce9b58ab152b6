"""Single launches of the kernels, without autograd: what the sweep times and what ncu looks at.

Shape letters: N tokens, V vocabulary.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from bench.loss_head.harness import Result
from bench.loss_head.inputs import LogitsInputs, per_token
from dupo_kernels import PolicyObjective, policy_objective
from dupo_kernels.logits import triton_path
from dupo_kernels.logits.fused_loss import fused_loss
from dupo_kernels.logits.launch_table import Config
from dupo_kernels.logits.rows import Rows, narrowed, new_statistics
from dupo_kernels.tokens.token_objective import TokenInputs, token_objective
from dupo_kernels.tokens.token_report import new_report

KERNELS = ("forward", "backward", "fused")


class Launch(NamedTuple):
    """One launch of a kernel.

    Attributes:
        run: launches the kernel with a configuration; None: with that of the table.
        restore: puts back what the kernel wrote over.
        result: what the kernel writes, to compare with the truth.
        least_bytes: of logits and dlogits, each read or written once.
    """

    run: Callable[[Config | None], None]
    restore: Callable[[], None]
    result: Result
    least_bytes: int


def launch(kernel: str, inputs: LogitsInputs, entropy: bool, narrow: bool = False) -> Launch:
    """The launch of one of KERNELS on inputs.

    Args:
        entropy: with the entropy and, of the gradient, its derivative.
        narrow: dlogits in bf16 over float32 logits, as in a linear head.
    """
    source_NV = inputs.leaves[0].detach()
    logits_NV = source_NV if kernel == "forward" else source_NV.clone()
    rows = Rows(logits_NV, inputs.targets, torch.ones(1, device=logits_NV.device), inputs.setting.softcap)
    statistics = new_statistics(logits_NV, len(logits_NV), with_entropy=True)
    dlogits_NV = narrowed(logits_NV, torch.bfloat16) if narrow else logits_NV

    def restore() -> None:
        if kernel != "forward":
            logits_NV.copy_(source_NV)

    moved = logits_NV.nbytes + dlogits_NV.nbytes
    gradient = Result(None, (dlogits_NV,))
    if kernel == "fused":
        return Launch(_fused(rows, inputs, entropy, dlogits_NV), restore, gradient, moved)
    H = statistics.entropy if entropy else None
    if kernel == "forward":

        def forward(config: Config | None) -> None:
            # The kernels of two launches have one configuration for all rows, a name of their module.
            present = triton_path.CONFIG
            triton_path.CONFIG = config or present
            try:
                triton_path.forward(rows, statistics.logp, H, statistics.lse, statistics.top)
            finally:
                triton_path.CONFIG = present

        return Launch(forward, restore, Result(statistics.logp), logits_NV.nbytes)
    # The backward pass reads what a forward pass says of the rows.
    triton_path.forward(rows, statistics.logp, statistics.entropy, statistics.lse, statistics.top)
    dlogp, dentropy = inputs.slopes

    def backward(_: Config | None) -> None:
        slopes = dlogp, dentropy if entropy else None
        triton_path.backward(rows, statistics.lse, statistics.entropy, *slopes, dlogits_NV)

    return Launch(backward, restore, gradient, moved)


def fused_objective(entropy: bool) -> PolicyObjective:
    """The objective of the fused kernel: clipped ratio, KL penalty and, if asked, entropy bonus."""
    return policy_objective("dapo", beta=0.05, entropy_coef=0.01 if entropy else 0.0)


def _fused(
    rows: Rows, inputs: LogitsInputs, entropy: bool, dlogits_NV: Tensor
) -> Callable[[Config | None], None]:
    objective = fused_objective(entropy)
    of_tokens = TokenInputs(inputs.weights, **per_token(inputs, objective))
    prepared = token_objective(objective, of_tokens, has_entropy=True)
    report = new_report(len(dlogits_NV), dlogits_NV.device)
    return lambda config: fused_loss(rows, prepared, report, dlogits_NV, config=config)
