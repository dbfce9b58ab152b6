"""The Triton copies of the closed forms against torch, under the interpreter; test_aot.py compiles them."""

import pytest
import torch
from torch import Tensor

from dupo_kernels import _triton
from dupo_kernels.tokens.kl import kl_abs, kl_k1, kl_k2, kl_k3, kl_k3_plus
from dupo_kernels.tokens.surrogates import (
    cispo_factor,
    clipped_surrogate,
    importance_ratio,
    soft_surrogate,
    vespo_factor,
)
from tests.helpers.numerics import assert_as_accurate
from tests.helpers.triton_objective import (
    ADVANTAGES,
    HIGH,
    INF,
    LOW,
    OUTPUTS,
    SCALARS,
    SHAPE,
    TEMPERATURES,
    objective_kernel,
)

NAN = float("nan")


def torch_copy(logp: Tensor, old: Tensor, ref: Tensor, A: Tensor, delta: float, c: float) -> Tensor:
    log_ratio = logp - old
    pairs = [importance_ratio(log_ratio), clipped_surrogate(log_ratio, A, LOW, HIGH, delta, c)]
    pairs += [soft_surrogate(log_ratio, A, *TEMPERATURES)]
    pairs += [kl(logp, ref) for kl in (kl_k1, kl_abs, kl_k2, kl_k3, kl_k3_plus)]
    pairs += [(cispo_factor(log_ratio, A, 2.5), vespo_factor(log_ratio, A, *SHAPE.values()))]
    return torch.stack([tensor for pair in pairs for tensor in pair])


@pytest.mark.skipif(not _triton.INTERPRET and not torch.cuda.is_available(), reason="needs Triton to run")
@pytest.mark.parametrize(("delta", "c"), [(INF, INF), (1.5, INF), (1.1, INF), (INF, 1.5), (INF, 3.0)])
@pytest.mark.parametrize("extreme", [False, True])
def test_triton_copy_equals_torch(extreme: bool, delta: float, c: float) -> None:
    device = "cpu" if _triton.INTERPRET else "cuda"
    A = torch.tensor(ADVANTAGES, device=device).repeat(21)
    N = A.numel()
    logp = torch.linspace(-3, -0.1, N, device=device)
    log_ratio = torch.linspace(-90 if extreme else -2, 90 if extreme else 2, N, device=device)
    old, ref = logp - log_ratio, logp + log_ratio.flip(0) / 2
    out = torch.empty(OUTPUTS, N, device=device)
    objective_kernel[(1,)](logp, old, ref, A, out, N, **(SCALARS | {"delta": delta, "c": c}), BLOCK=64)
    inputs = (logp, old, ref, A)
    baseline = torch_copy(*inputs, delta, c)
    truth = torch_copy(*(t.double() for t in inputs), delta, c)
    for got, base, true in zip(out, baseline, truth, strict=True):
        assert_as_accurate(got, base, true, largest_input=true.abs().max().item())


@pytest.mark.skipif(not _triton.INTERPRET and not torch.cuda.is_available(), reason="needs Triton to run")
def test_nan_stays_nan() -> None:
    """In every value and derivative that depends on the log-probability."""
    device = "cpu" if _triton.INTERPRET else "cuda"
    A = torch.tensor(ADVANTAGES, device=device)
    logp, old = torch.full_like(A, NAN), torch.full_like(A, -1.0)
    out = torch.empty(OUTPUTS, A.numel(), device=device)
    objective_kernel[(1,)](logp, old, old, A, out, A.numel(), **SCALARS, BLOCK=16)
    assert torch.equal(out.isnan(), torch_copy(logp, old, old, A, INF, INF).isnan())
    assert out.isnan().all()
