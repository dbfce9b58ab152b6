"""How a refusal reads: "NAME: expected E, got G", in one line. Imports no torch, as the options do not.

A value, type, shape or device that cannot be used is a ValueError. A keyword that does not exist is Python's
own TypeError. A public function raises nothing else because of its arguments.
"""

from numbers import Real
from typing import Any


def refused(name: str, expected: str, got: Any) -> ValueError:
    """The error for an argument; `got` is shown as `shown` shows it."""
    return ValueError(f"{name}: expected {expected}, got {shown(got)}")


def shown(value: Any) -> str:
    """A value in a few words: never the numbers of a tensor, never a thousand digits."""
    kind = type(value).__name__
    # A dtype, device, layout or shape of torch says all in its own words.
    if type(value).__module__ == "torch" and kind in ("dtype", "device", "layout", "Size"):
        return str(tuple(value) if kind == "Size" else value)
    # A nested tensor has no shape, and raises where one is asked for.
    if getattr(value, "is_nested", False):
        return f"nested {kind}"
    if hasattr(value, "shape") and hasattr(value, "dtype") and value.shape != ():
        return f"{kind} of {value.dtype} and shape {tuple(value.shape)}"
    # Python refuses to print an integer of more than 4,300 digits.
    if isinstance(value, int) and abs(value) > 10**30:
        return f"an integer of {value.bit_length()} bits"
    if value is None or isinstance(value, Real | str | tuple):
        text = repr(value)
        return text if len(text) <= 80 else f"{text[:77]}..."
    return kind


def is_number(value: Any) -> bool:
    """Whether the value is a real number of Python or NumPy; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)
