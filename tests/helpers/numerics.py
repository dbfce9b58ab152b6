"""How wrong a result may be: judged by what PyTorch itself gets from the same numbers, never typed in."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._library.custom_ops import OPDEFS
from torch.utils._python_dispatch import TorchDispatchMode

from dupo_kernels import _checks
from dupo_kernels._triton import INTERPRET
from dupo_kernels.hidden import head as head_module

DEVICE = "cuda" if torch.cuda.is_available() and not INTERPRET else "cpu"


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


def relative_error(actual: Tensor, truth: Tensor) -> float:
    """Of the whole tensor, in the Frobenius norm; 0 where both are 0."""
    assert actual.shape == truth.shape
    difference = (actual.detach().double() - truth.detach().double()).norm().item()
    return difference / truth.double().norm().item() if difference else 0.0


class GemmRows:
    """Counts the rows of the products of a head (V, H) while it is active.

    Attributes:
        rows: of "logits" (c, H) x (H, V), "dhidden" (c, V) x (V, H) and "dweight" (V, c) x (c, H).
    """

    def __init__(self, V: int, H: int) -> None:
        self.V, self.H, self.rows, self.patch = V, H, {}, pytest.MonkeyPatch()

    def __enter__(self) -> "GemmRows":
        self.patch.setattr(head_module, "gemm", self.count)
        return self

    def __exit__(self, *_: object) -> None:
        self.patch.undo()

    def count(
        self, left: Tensor, right: Tensor, *arguments: Any, gemm: Any = head_module.gemm, **options: Any
    ) -> Tensor:
        V, H = self.V, self.H
        # The gradient of the bias is a product of one row with a chunk of dlogits.
        if left.shape[0] == 1 and right.shape[1] == V and right.stride(1) == 1:
            return gemm(left, right, *arguments, **options)
        if tuple(left.shape[:1] + right.shape[1:]) == (V, H):
            kind, rows = "dweight", left.shape[1]
        else:
            kind, rows = {(H, V): "logits", (V, H): "dhidden"}[tuple(right.shape)], left.shape[0]
        self.rows[kind] = self.rows.get(kind, 0) + rows
        return gemm(left, right, *arguments, **options)


class CustomOpsOpened(TorchDispatchMode):
    """Sees every operator of torch, also within our own ops and those that are made of others."""

    def see(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Called with each operator that is made of no others."""
        raise NotImplementedError

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with self:  # a mode does not see into an op of ours, nor, there, into one made of others
            if func.namespace == "dupo_kernels":
                return OPDEFS[func._schema.name]._init_fn(*args, **kwargs)
            result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        self.see(func.overloadpacket.__name__, args, kwargs)
        return func(*args, **kwargs)


class NoSync(CustomOpsOpened):
    """Refuses, also on a CPU, what makes the host wait for a device; so often it may be `allowed`.

    Tensors on the CPU stand for those on a device: what they hold is not checked.
    """

    ASKS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2")

    def __init__(self, allowed: int = 0) -> None:
        super().__init__()
        self.allowed = allowed
        self.patches: list[pytest.MonkeyPatch] = []  # the mode is entered again inside itself

    def __enter__(self) -> Any:
        self.patches.append(pytest.MonkeyPatch())
        self.patches[-1].setattr(_checks, "on_host", lambda tensor: False)
        return super().__enter__()

    def __exit__(self, *reason: Any) -> None:
        super().__exit__(*reason)
        self.patches.pop().undo()

    def see(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if (
            name in self.ASKS
            or (name.startswith("index") and self._by_mask(args[1]))
            or (name == "repeat_interleave" and kwargs.get("output_size") is None)
            or (name == "segment_reduce" and not kwargs.get("unsafe"))  # else it looks at the lengths
        ):
            self.allowed -= 1
            assert self.allowed >= 0, f"{name} waits for the device"

    @staticmethod
    def _by_mask(index: Any) -> bool:
        return isinstance(index, list | tuple) and any(x is not None and x.dtype == torch.bool for x in index)


def syncs(function: Any, *args: Any, **options: Any) -> int:
    """How often the host waits for the device in a forward and a backward pass, 1 at most; else it fails."""
    with NoSync(allowed=1) as seen:
        function(*args, **options)[0].sum().backward()
    if DEVICE == "cuda" and seen.allowed:  # CUDA itself is asked; kernels were loaded by the first call
        torch.cuda.set_sync_debug_mode("error")
        try:
            function(*args, **options)[0].sum().backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return 1 - seen.allowed
