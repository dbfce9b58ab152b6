"""What a public function asks of its arguments before it computes; _messages.py says how a refusal reads.

What the host knows is checked always: types, shapes, dtypes, devices, numbers, and what tensors on the CPU
hold. What a tensor on another device holds is checked with `check=True` alone: to read it is to wait for it.
Inside torch.compile no tensor is read. The module does not know losses.

Shape letters: N tokens, M of them that count, S sequences.
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dupo_kernels._messages import is_number, refused, shown

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# Largest count. 1 / (count x count) must stay above 0 in float32.
MOST = 2**62
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class Kind(NamedTuple):
    """Which dtypes a tensor may have, and how a message names them."""

    dtypes: tuple[torch.dtype, ...]
    words: str


FLOATING = Kind(FLOATS, "a dense tensor of float16, bfloat16, float32 or float64")
INTEGER = Kind(INTEGERS, "a dense tensor of integers")
NUMBERS = Kind(FLOATS + INTEGERS, "a dense tensor of real numbers")
REAL = Kind((*FLOATS, *INTEGERS, torch.bool), "a dense tensor of real numbers or bool")
INT64 = Kind((torch.int64,), "a dense tensor of int64")
INDEX = Kind((torch.int64, torch.int32), "a dense tensor of int64 or int32")


def check_tensors(kind: Kind, required: Sequence[str] = (), **tensors: Any) -> None:
    """Raises ValueError for what is no dense tensor of this kind; None may stand for what is not required."""
    for name, x in tensors.items():
        if x is None and name not in required:
            continue
        if not isinstance(x, Tensor) or x.layout != torch.strided or x.is_nested:
            raise refused(name, kind.words, getattr(x, "layout", x) if isinstance(x, Tensor) else x)
        # float8, complex and quantized tensors among them: their arithmetic is another, or none.
        if x.dtype not in kind.dtypes:
            raise refused(name, kind.words, x.dtype)


def check_devices(device: torch.device, like: str, **tensors: Tensor | None) -> None:
    """Raises ValueError for a tensor that is not on the device of the tensor called `like`."""
    for name, x in tensors.items():
        if x is not None and x.device != device:
            raise refused(name, f"a tensor on {device} as {like}", x.device)


def check_host_or_device(device: torch.device, like: str, **tensors: Tensor | None) -> None:
    """Raises ValueError for a tensor that is neither on the host nor on the device of the tensor `like`."""
    for name, x in tensors.items():
        if x is not None and x.device.type != "cpu":
            check_devices(device, like, **{name: x})


def check_flags(**flags: Any) -> None:
    """Raises ValueError for what is neither true nor false."""
    for name, value in flags.items():
        if not isinstance(value, bool | int) or value not in (0, 1):
            raise refused(name, "True or False", value)


def check_positive(name: str, value: Any, dtype: torch.dtype = torch.float32) -> None:
    """Raises ValueError unless value is a positive number that `dtype` holds, as it holds 1 / value."""
    tiny = torch.finfo(dtype).tiny
    # NaN is between no two numbers.
    if not is_number(value) or not tiny <= value <= 1 / tiny:
        words = str(dtype).removeprefix("torch.")
        raise refused(name, f"a positive number that {words} holds together with its inverse", value)


def check_grad_scale(grad_scale: Any, dtype: torch.dtype, wants_gradient: bool) -> None:
    """Raises ValueError for a grad_scale that cannot be used, or none where gradients are of float16."""
    if grad_scale is not None:
        check_positive("grad_scale", grad_scale)
    # Gradients are made, and rounded to float16, before a loss scaler could act: unscaled they vanish.
    elif dtype == torch.float16 and wants_gradient:
        raise ValueError("grad_scale: expected the loss scale for float16, got None")


def check_count(name: str, value: Any, at_least: int) -> None:
    """Raises ValueError unless value is an integer, at least so large, that an int64 holds."""
    kinds: Any = (Integral, torch.SymInt)  # sizes are symbols while torch.export traces
    if isinstance(value, bool) or not isinstance(value, kinds) or not at_least <= value <= MOST:
        raise refused(name, f"an integer from {at_least} to 2**62", value)


# --- what tensors hold -----------------------------------------------------------------------------


def on_host(tensor: Tensor) -> bool:
    """Whether reading the tensor waits for nothing."""
    return tensor.device.type == "cpu"


def may_read(tensor: Tensor, check: bool) -> bool:
    """Whether the values of the tensor are to be checked: they are on the host, or `check` lets them wait."""
    # Stand-ins for tensors (fake, distributed) have no values of their own.
    if torch.compiler.is_compiling() or type(tensor) not in (Tensor, torch.nn.Parameter):
        return False
    return tensor.device.type != "meta" and (check or on_host(tensor))


def check_values(name: str, expected: str, values: Tensor, is_valid: Tensor) -> None:
    """Raises ValueError, with the first value that is not valid; waits for the device."""
    if not is_valid.all():
        raise refused(name, expected, values[~is_valid].flatten()[0].item())


def check_mask(name: str, mask: Tensor | None, check: bool) -> None:
    """Raises ValueError for a mask that holds NaN, which is not zero and would count."""
    if mask is not None and mask.is_floating_point() and may_read(mask, check):
        check_values(name, "zero or nonzero", mask, ~mask.isnan())


def check_row_indices(rows: Tensor, N: int, check: bool) -> None:
    """Raises ValueError unless rows (M,) are different indices of N tokens."""
    # Known without a look at the values: more rows than tokens repeat one.
    if rows.numel() > N:
        raise refused("rows", f"at most {N} rows, as there are {N} tokens", rows)
    if not may_read(rows, check):
        return
    check_values("rows", f"indices from 0 to below {N}", rows, (rows >= 0) & (rows < N))
    # A token that counted twice would have twice the gradient.
    repeats = torch.bincount(rows, minlength=N) > 1
    check_values("rows", "indices without repeats", torch.arange(N, device=rows.device), ~repeats)


RISING = "bounds that rise, from 0 or more to at most the number of tokens"


def check_bounds(cu_seqlens: Tensor, num_tokens: int, check: bool) -> None:
    """Raises ValueError unless cu_seqlens (S + 1,) can bound sequences of N = `num_tokens` packed tokens.

    Where the values may not be read, they are asserted on their device, later.
    """
    check_bounds_on_host(cu_seqlens, num_tokens, check)
    if not may_read(cu_seqlens, check):
        # An `if` would wait for the device; the assertion fires on the device instead.
        is_valid = _can_bound(cu_seqlens, num_tokens)
        torch._assert_async(is_valid, f"cu_seqlens: expected {RISING}")  # type: ignore


def check_bounds_on_host(cu_seqlens: Tensor, num_tokens: int, check: bool) -> None:
    """`check_bounds`, but values that may not be read are left to whoever reads them."""
    check_bounds_shape(cu_seqlens)
    if num_tokens and cu_seqlens.numel() == 1:
        raise refused("cu_seqlens", f"two bounds or more, as there are {num_tokens} tokens", cu_seqlens.shape)
    if may_read(cu_seqlens, check) and not _can_bound(cu_seqlens, num_tokens):
        ends = shown(_ends(cu_seqlens.long()))
        raise ValueError(f"cu_seqlens: expected {RISING} {num_tokens}, got {ends}")


def _can_bound(cu_seqlens: Tensor, num_tokens: int) -> Tensor:
    bounds = cu_seqlens.long()
    return (bounds[0] >= 0) & (bounds[-1] <= num_tokens) & (bounds.diff() >= 0).all()


def check_bounds_shape(cu_seqlens: Any) -> None:
    """Raises ValueError unless cu_seqlens is a vector of integers with at least one element."""
    check_tensors(INTEGER, ("cu_seqlens",), cu_seqlens=cu_seqlens)
    if cu_seqlens.dim() != 1 or cu_seqlens.numel() == 0:
        raise refused("cu_seqlens", "shape (S + 1,)", cu_seqlens.shape)


def _ends(bounds: Tensor) -> tuple[int, ...]:
    # A thousand bounds do not fit a line: the first of them that falls says enough.
    falls = (bounds.diff() < 0).nonzero()[:1, 0].tolist()
    return tuple(bounds[falls[0] : falls[0] + 2].tolist() if falls else bounds[[0, -1]].tolist())
