"""Triton where it is installed, an inert stand-in where it is not.

Kernels are written against `tl`, `jit` and `device` from here, so a kernel file imports on machines without
Triton (macOS, Windows); there `HAS_TRITON` is False, no kernel is ever launched, and the torch path serves.
"""

import types
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

HAS_TRITON = find_spec("triton") is not None

jit: Any
tl: Any
VERSION: tuple[int, ...]
if HAS_TRITON:
    import triton
    import triton.language
    from triton import knobs
    from triton.backends import backends

    jit, tl = triton.jit, triton.language
    # Read once, like Triton does: a kernel stays what it was decorated as.
    INTERPRET = bool(knobs.runtime.interpret)
    VERSION = tuple(int(number) for number in triton.__version__.split(".")[:2])
else:
    # `constexpr` alone is evaluated when a kernel file is imported: in annotations and module constants.
    jit, tl = (lambda *_, **__: lambda fn: fn), types.SimpleNamespace(constexpr=float)
    INTERPRET, backends = False, {}
    VERSION = (0, 0)


def runs_on_triton(tensor: Tensor) -> bool:
    """Whether the kernels serve this tensor: where Triton compiles or is interpreted, and not float64."""
    return tensor.dtype.itemsize <= 4 and (INTERPRET or has_backend(tensor.device.type))


def has_backend(device_type: str) -> bool:
    """Whether the Triton at hand compiles for devices of this type: CUDA, ROCm ("cuda" to torch) or XPU."""
    cuda = "amd" if torch.version.hip else "nvidia"
    return {"cuda": cuda, "xpu": "intel"}.get(device_type) in backends


def device(fn: Callable[..., Any]) -> Any:
    """The same source as a Triton device function: `ops` becomes `triton.language`.

    Module functions that `fn` calls are converted with it, and module floats become constexprs, because a
    Triton function may read globals of no other kind.
    """
    # Triton reads the source of a function and looks names up in its globals: a copy with other globals is
    # the same formula in another library.
    bound: dict[str, Any] = {"ops": tl}
    for name in fn.__code__.co_names:
        value = fn.__globals__.get(name)
        if isinstance(value, types.FunctionType):
            bound[name] = device(value)
        elif isinstance(value, float):
            bound[name] = tl.constexpr(value)
    return jit(types.FunctionType(fn.__code__, fn.__globals__ | bound, fn.__name__))
