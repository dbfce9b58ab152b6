"""How wrong a result may be: judged by what PyTorch itself gets from the same numbers, never typed in."""

import torch
from torch import Tensor


def assert_as_accurate(actual: Tensor, baseline: Tensor, truth: Tensor, largest_input: float = 1.0) -> None:
    """`actual` may be twice as wrong as plain PyTorch in float32, plus one rounding step.

    truth: the reference in float64. baseline: the reference in float32, rounded to the dtype of `actual`.
    The rounding step is one ulp of the result in its own dtype, which is also what Triton's interpreter
    loses by truncating float32 to bfloat16, and one of the largest input in float32. What is infinite or
    NaN in the truth must be the same in `actual`.
    """
    assert actual.shape == truth.shape
    actual, finite = actual.detach(), truth.isfinite()
    torch.testing.assert_close(actual[~finite].double(), truth[~finite], equal_nan=True)
    if not finite.any():
        return
    truth = truth[finite]
    error = (actual[finite].double() - truth).abs().max().item()
    own = (baseline[finite].double() - truth).abs().max().item()
    ulp = (
        torch.finfo(actual.dtype).eps * truth.abs().max().item()
        + torch.finfo(torch.float32).eps * largest_input
    )
    assert error <= 2 * own + ulp, f"error {error:.2e} > 2 x {own:.2e} (PyTorch) + {ulp:.2e} (rounding)"
