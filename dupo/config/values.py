"""One option: how a value is declared, read from text, checked and shown.

A field of a group of options holds its help, choices and bounds as metadata; every reader of an option (the
command line, YAML files, the constructor) checks by this metadata alone.
"""

import dataclasses
import json
import math
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import Field
from decimal import Decimal
from typing import Any

from dupo.errors import UserError, cut, nearest, quoted
from dupo.user_files import A_PATH, path_problem

# Words of YAML and of people; the values themselves are checked afterwards.
_NONE = {"none", "null", "~", ""}
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
# 18 digits fit into 64 bits; torch and NumPy take no longer seeds and counts.
_INT = re.compile(r"[+-]?[0-9]{1,18}")
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?")
_EXPECTED = {int: "an integer", float: "a number", bool: "true or false"}
# Computing is done in float32: below, a number loses its digits; above, it is infinite.
FLOAT32_LEAST, FLOAT32_MOST = 1.2e-38, 3.4e38
LONGEST_TEXT = 10_000  # characters: more is a file in the place of its name


def option(
    default: Any,
    help: str,
    choices: str = "",
    *,
    is_path: bool = False,
    is_json: bool = False,
    **bounds: float,
) -> Any:
    """A field of a group of options.

    Args:
        default: None where the option may be left out.
        help: one line for `--help`; the documentation of the option.
        choices: the values of a text option, separated by `|`; empty: any text.
        is_path: the text names a file or a folder, perhaps one of the Hub.
        is_json: the text is a JSON object.
        bounds: any of `at_least`, `above`, `at_most`, `below`.
    """
    names = tuple(choices.split("|")) if choices else ()
    about = {"help": help, "choices": names, "is_path": is_path, "is_json": is_json, **bounds}
    return dataclasses.field(default=default, metadata=about)


class Options:
    """Base of the groups: frozen dataclasses that check their fields when they are built.

    Raises:
        UserError: a value that the option cannot have, by itself or beside the others of its group.
    """

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(typing.cast(Any, self)):
            check(spec, getattr(self, spec.name))
        self.check_together()

    def check_together(self) -> None:
        """Raises UserError for options of the group that do not go together."""


def coerce(spec: Field[Any], text: str, *, is_quoted: bool = False) -> Any:
    """The value that a text stands for in a field; a text `is_quoted` in YAML never stands for None."""
    kind, optional = option_type(spec)
    bare = text.strip().lower()
    # A quoted "none" is a name: there may be a folder or a column that is called none.
    if optional and not is_quoted and bare in _NONE:
        return None
    if kind is str:
        value: Any = json_text(spec, text) if spec.metadata.get("is_json") else text
    elif kind is bool and bare in _TRUE + _FALSE:
        value = bare in _TRUE
    elif (kind is int and _INT.fullmatch(bare)) or (kind is float and _FLOAT.fullmatch(bare)):
        value = kind(bare)
    else:
        expected = f"{_EXPECTED[kind]} or none" if optional else _EXPECTED[kind]
        raise UserError(f"{spec.name}: expected {expected}, got {quoted(text)}")
    check(spec, value)
    return value


def json_text(spec: Field[Any], value: Any) -> str:
    """A JSON object, or the text of one, as the one text that stands for it in the option.

    Raises:
        UserError: it is no JSON object.
    """
    try:
        content = json.loads(value) if isinstance(value, str) else dict(value)
        if isinstance(content, Mapping):
            return json.dumps(content, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        pass
    expected = 'a JSON object such as {"enable_thinking": false}'
    raise UserError(f"{spec.name}: expected {expected}, got {show(value)}")


def _is_elsewhere(name: str, value: str) -> str:
    """Ends the message about a value that another option stands for; empty for all others."""
    is_gspo = name == "loss_type" and value.lower() == "gspo"
    return ": GSPO is --loss_type grpo --importance_sampling_level sequence here" if is_gspo else ""


def option_type(spec: Field[Any]) -> tuple[type, bool]:
    """The type of an option and whether the option may be None: (int, True) for `int | None`."""
    members = typing.get_args(spec.type)
    return (members[0], True) if members else (typing.cast(type, spec.type), False)


def check(spec: Field[Any], value: Any) -> None:
    """Checks one value by the type, choices and bounds of its field.

    Raises:
        UserError: the option cannot have that value, whatever the other options are.
    """
    name, (kind, optional), choices = spec.name, option_type(spec), spec.metadata["choices"]
    if value is None and optional:
        return
    # Types first: a value from Python may be anything, and an array cannot be looked up among the choices.
    if choices and not (isinstance(value, str) and value in choices):
        hint = (_is_elsewhere(name, value) or nearest(value, choices)) if isinstance(value, str) else ""
        raise UserError(f"{name}: expected one of {', '.join(choices)}, got {quoted(value)}{hint}")
    if kind is str or kind is bool:
        if not isinstance(value, kind) or value == "":
            # A text beside "true or false" could be taken for one of these.
            actual = quoted(value) if isinstance(value, str) and value else show(value) or "none"
            raise UserError(f"{name}: expected {_EXPECTED.get(kind, 'some text')}, got {actual}")
        if isinstance(value, str):
            _check_text(spec, value)
        return
    # bool is a subclass of int, and True steps would be one step.
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        raise UserError(f"{name}: expected {_EXPECTED[kind]}, got {quoted(value)}")
    _check_bounds(spec, value, kind)


def _check_text(spec: Field[Any], text: str) -> None:
    """Raises UserError for a text that is too long, or a path that no machine has."""
    if len(text) > LONGEST_TEXT:
        raise UserError(f"{spec.name}: expected at most {LONGEST_TEXT:,} characters, got {len(text):,}")
    if spec.metadata.get("is_path") and (problem := path_problem(text)):
        raise UserError(f"{spec.name}: expected {A_PATH}, got {problem}")
    if spec.metadata.get("is_json"):
        json_text(spec, text)


def _check_bounds(spec: Field[Any], value: int | float, kind: type) -> None:
    """Raises UserError for a number that its option, or float32, cannot hold."""
    unbounded = {"at_least": -math.inf, "above": -math.inf, "at_most": math.inf, "below": math.inf}
    # The loss options, which another package declares, write None for a bound that is absent.
    limits = unbounded | {key: bound for key, bound in spec.metadata.items() if bound is not None}
    is_small = kind is float and 0 < abs(value) < FLOAT32_LEAST
    # NaN compares false with every bound, so the check for finite numbers comes first. An integer is
    # finite, but may be too long for `isfinite`.
    broken = [
        (isinstance(value, float) and not math.isfinite(value), "a finite number"),
        (value < limits["at_least"], f"at least {limits['at_least']:g}"),
        (value <= limits["above"], f"more than {limits['above']:g}"),
        (value > limits["at_most"], f"at most {limits['at_most']:,.12g}"),
        (value >= limits["below"], f"less than {limits['below']:g}"),
        (kind is float and abs(value) > FLOAT32_MOST, f"a size of at most {FLOAT32_MOST:g} (float32)"),
        (is_small, f"0 or a size of at least {FLOAT32_LEAST:g} (float32)"),
    ]
    for is_broken, expected in broken:
        if is_broken:
            raise UserError(f"{spec.name}: expected {expected}, got {show(value)}")


def show(value: Any) -> str:
    """A value as a person writes it, and as `coerce` reads it: none, true, 1e-6. Long values are cut."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    # repr would write 1e-06 and 1000000.0, which nobody types.
    if isinstance(value, float) and value and not 1e-3 <= abs(value) < 1e6 and math.isfinite(value):
        return f"{Decimal(repr(float(value))).normalize():e}"
    if isinstance(value, int) and value.bit_length() > 64:  # Python refuses to write out 4,301 digits
        return f"an integer of {value.bit_length():,} bits"
    if isinstance(value, str | int | float) and str(value).isprintable():
        return cut(str(value))
    return quoted(value)


def listed(text: str) -> list[str]:
    """The items of a comma-separated option, without the blanks around them."""
    return [item.strip() for item in text.split(",")]


def underscored(argv: Sequence[str]) -> list[str]:
    """A command line whose option names are written with underscores, where they came with dashes."""
    return [re.sub(r"^--[\w-]+", lambda m: "--" + m[0][2:].replace("-", "_"), text) for text in argv]
