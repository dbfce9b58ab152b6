"""What the kernels serve here, printed as one line of JSON: a process of its own for `dupo doctor`.

The line comes before a kernel is tried: Triton may be there and find no C compiler.
"""

import json
from typing import Any

import torch

from dupo_kernels import fused_policy_loss
from dupo_kernels._triton import INTERPRET, has_backend
from dupo_kernels.logits.launch_table import TABLE

# Of the loss and of its gradient, between the kernel and torch on the CPU: both compute in float32.
TOLERANCE = 1e-5


def kernel_facts() -> dict[str, Any]:
    """The fields of `dupo.machine.facts.Kernels`."""
    return {
        "compile": has_backend("cuda"),
        "are_interpreted": INTERPRET,
        "tuned": sorted({entry.architecture for entry in TABLE}),
    }


def try_kernels() -> None:
    """Computes a loss with the fused kernel and with torch; raises where it does not run or differs."""
    logits = torch.linspace(-1, 1, 8 * 96).reshape(8, 96)
    loss, gradient = _loss(logits)
    on_gpu, gradient_on_gpu = _loss(logits.cuda())
    torch.testing.assert_close(on_gpu.cpu(), loss, rtol=TOLERANCE, atol=TOLERANCE)
    torch.testing.assert_close(gradient_on_gpu.cpu(), gradient, rtol=TOLERANCE, atol=TOLERANCE)


def _loss(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A policy loss of (8, 96) logits and its gradient."""
    leaf = logits.detach().requires_grad_()
    targets = torch.arange(8, device=logits.device)
    advantages = torch.linspace(-1, 1, 8, device=logits.device)
    old = torch.full((8,), -4.5, device=logits.device)
    loss, _ = fused_policy_loss(leaf, targets, advantages, old)
    loss.backward()
    assert leaf.grad is not None
    return loss.detach(), leaf.grad


if __name__ == "__main__":
    print(json.dumps(kernel_facts()), flush=True)
    if torch.cuda.is_available():
        try_kernels()
