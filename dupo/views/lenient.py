"""Reading values out of JSON and YAML that may hold anything: a file of a run may be old, cut or edited."""

import math
from typing import Any, TypeGuard


def finite(value: object) -> TypeGuard[float]:
    """Whether a value is a number that can be drawn: neither a truth value, nor NaN, nor infinite."""
    # In Python, True is an int; in a file of a run, `true` is never a measurement.
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number_or_none(value: object) -> float | None:
    """Returns a finite number as it is; None for anything else."""
    return value if finite(value) else None


def text_or_none(value: object) -> str | None:
    """Returns a value as text; None stays None."""
    return None if value is None else str(value)


def mappings(value: object) -> list[dict[str, Any]]:
    """Returns the mappings in a list, without its other items; [] where the value is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
