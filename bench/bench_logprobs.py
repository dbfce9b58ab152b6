"""token_logprobs against eager torch, with entropy, on the device at hand.

    pytest --benchmark-only bench/bench_logprobs.py

extra_info of each row: device, bytes per second counted as one read of the logits forward, and one more
read and one write backward (what the kernels move; eager torch moves more in that time), and the largest
error of logp against float64 on a few rows.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from dupo_kernels import token_logprobs, token_logprobs_ref

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
SHAPES = [(4096, 32_000), (8192, 151_936)] if CUDA else [(512, 32_000), (128, 151_936)]
CHECKED_ROWS = 8


def eager(logits: Tensor, targets: Tensor, *, entropy: bool) -> tuple[Tensor, Tensor]:
    """What a trainer without kernels writes."""
    log_p = logits.float().log_softmax(-1)
    return log_p.gather(-1, targets[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)


FUNCTIONS = {"ours": token_logprobs, "eager": eager}


def run(function: Any, logits: Tensor, targets: Tensor, backward: bool) -> Tensor:
    with torch.set_grad_enabled(backward):
        logp, entropy = function(logits, targets, entropy=True)
        if backward:
            torch.autograd.grad((logp, entropy), logits, (torch.ones_like(logp), torch.ones_like(logp)))
    if CUDA:
        torch.cuda.synchronize()
    return logp.detach()


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "forward+backward"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_token_logprobs(
    benchmark: Any, shape: tuple[int, int], dtype: str, backward: bool, name: str
) -> None:
    N, V = shape
    torch.manual_seed(0)
    logits = (torch.randn(N, V, device=DEVICE) * 4).to(getattr(torch, dtype)).requires_grad_(backward)
    targets = torch.randint(V, (N,), device=DEVICE)
    benchmark.group = f"{N}x{V} {dtype} {'forward+backward' if backward else 'forward'}"
    arguments = (FUNCTIONS[name], logits, targets, backward)
    logp = benchmark.pedantic(run, args=arguments, rounds=20 if CUDA else 10, warmup_rounds=5)
    few = slice(0, CHECKED_ROWS)
    truth = token_logprobs_ref(logits.detach()[few].double(), targets[few])[0]
    moved = logits.numel() * logits.element_size() * (3 if backward else 1)
    benchmark.extra_info |= {
        "device": torch.cuda.get_device_name() if CUDA else f"CPU, {torch.get_num_threads()} threads",
        "GB/s": round(moved / benchmark.stats.stats.median / 1e9, 2),
        "max abs error": (logp[few].double() - truth).abs().max().item(),
    }
    if not CUDA:
        benchmark.extra_info["note"] = "torch path on a CPU; figures of the kernels need a GPU"
