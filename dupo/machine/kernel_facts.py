"""What the kernels serve here, printed as one line of JSON: a process of its own for `dupo doctor`.

The line comes before a kernel is tried: Triton may be there and find no C compiler.
"""

import json
from typing import Any

import torch

from dupo_kernels import token_logprobs
from dupo_kernels._triton import INTERPRET, has_backend
from dupo_kernels.logits.launch_table import TABLE

# Both ways sum eight rows of 96 logits in float32.
TOLERANCE = 1e-5


def kernel_facts() -> dict[str, Any]:
    """The fields of `dupo.machine.facts.Kernels`."""
    return {
        "compile": has_backend("cuda"),
        "are_interpreted": INTERPRET,
        "tuned": sorted({entry.architecture for entry in TABLE}),
    }


def try_kernels(device: str) -> None:
    """Computes log-probs and their gradient on a device and on the CPU; raises where they differ."""
    torch.testing.assert_close(_computed(device), _computed("cpu"), rtol=TOLERANCE, atol=TOLERANCE)


def _computed(device: str) -> torch.Tensor:
    """(8, 97): the gradient of the sum of eight log-probs over their logits (8, 96), beside the log-probs."""
    logits = torch.linspace(-1, 1, 8 * 96).reshape(8, 96).to(device).requires_grad_()
    logprobs, _ = token_logprobs(logits, torch.arange(8, device=device))
    logprobs.sum().backward()
    assert logits.grad is not None
    return torch.cat([logits.grad, logprobs.detach()[:, None]], dim=1).cpu()


if __name__ == "__main__":
    print(json.dumps(kernel_facts()), flush=True)
    if torch.cuda.is_available():
        try_kernels("cuda")
