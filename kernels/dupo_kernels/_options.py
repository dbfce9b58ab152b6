"""How a frozen dataclass of options declares a field: default, help, choices and bounds. Imports no torch."""

from collections.abc import Sequence
from dataclasses import Field, field
from typing import Any, get_args

from dupo_kernels._messages import is_number, shown

# Of every option. Losses are summed in float32, which holds up to 2**128: a number beyond it is infinite on
# the device or refused there, and 0 times infinity is NaN.
LARGEST = 2.0**127


def option(
    default: Any,
    help: str,
    *,
    choices: Sequence[str] = (),
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> Any:
    """A dataclass field that carries its help text, its choices and its bounds as metadata.

    Args:
        default: the value of the field where none is given.
        help: one or more sentences for the person who sets the option.
        choices: the values that a text may take; empty for any.
        at_least, at_most: bounds of a number that may be reached.
        above, below: bounds of a number that may not be reached.
    """
    # Metadata instead of a check per class: whoever shows or parses the option reads the bounds from here.
    bounds = {"at_least": at_least, "above": above, "at_most": at_most, "below": below}
    return field(default=default, metadata={"help": help, "choices": tuple(choices), **bounds})


def check_value(spec: Field[Any], value: Any) -> None:
    """Raises ValueError if the value is of another type, breaks a bound, or is no choice of its field."""
    limits = spec.metadata
    if value is None and type(None) in get_args(spec.type):
        return
    if limits["choices"]:
        if not isinstance(value, str) or value not in limits["choices"]:
            raise ValueError(
                f"{spec.name}: expected one of {', '.join(limits['choices'])}, got {shown(value)}"
            )
        return
    if isinstance(spec.default, bool):
        if not isinstance(value, bool):
            raise ValueError(f"{spec.name}: expected true or false, got {shown(value)}")
        return
    # NaN, which fails no comparison with a bound, is not equal to itself.
    if not is_number(value) or value != value:
        raise ValueError(f"{spec.name}: expected a number, got {shown(value)}")
    if limits["at_least"] is not None and value < limits["at_least"]:
        raise ValueError(f"{spec.name}: expected at least {limits['at_least']:g}, got {shown(value)}")
    if limits["above"] is not None and value <= limits["above"]:
        raise ValueError(f"{spec.name}: expected more than {limits['above']:g}, got {shown(value)}")
    if limits["at_most"] is not None and value > limits["at_most"]:
        raise ValueError(f"{spec.name}: expected at most {limits['at_most']:g}, got {shown(value)}")
    if limits["below"] is not None and value >= limits["below"]:
        raise ValueError(f"{spec.name}: expected less than {limits['below']:g}, got {shown(value)}")
