"""Reading values out of JSON and YAML that may hold anything: a file of a run may be old, cut or edited."""

import reprlib
from typing import Any, TypeGuard

LARGEST = 1e300  # the distance of two such numbers is finite; a float cannot hold an integer of 400 digits
# For a value that should have been a text: a list may be nested deeply, or hold itself many times over.
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring = 3, 200


def finite(value: object) -> TypeGuard[float]:
    """Whether a value is a number that can be drawn: no truth value, not NaN, not infinite nor near it."""
    # In Python, True is an int; in a file of a run, `true` is never a measurement. NaN fails a comparison.
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def number_or_none(value: object) -> float | None:
    """Returns a finite number as it is; None for anything else."""
    return value if finite(value) else None


def text_or_none(value: object) -> str | None:
    """Returns a value as text; None stays None. Of lists, mappings and long numbers only the start."""
    return value if value is None or isinstance(value, str) else _SHORT.repr(value)


def mappings(value: object) -> list[dict[str, Any]]:
    """Returns the mappings in a list, without its other items; [] where the value is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
