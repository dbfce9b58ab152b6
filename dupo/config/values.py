"""Typed values from the text of YAML files and command lines, and errors that say what was meant.

Knows how a value is read, checked and shown; which options there are stands in `config`.
"""

import math
import re
import typing
from collections.abc import Sequence
from dataclasses import Field
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from dupo.errors import UserError, nearest

_NONE = {"none", "null", "~", ""}
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_INT = re.compile(r"[+-]?[0-9]{1,18}")
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?")
_EXPECTED = {int: "an integer", float: "a number", bool: "true or false"}
_ABOVE_0 = ("reward_lambda", "temperature", "adam_epsilon", "max_grad_norm")
_BELOW_1 = ("ema_decay", "adam_beta1", "adam_beta2")
_AT_MOST_1 = ("learning_rate", "solve_threshold")


def coerce(spec: Field[Any], text: str, *, quoted: bool = False) -> Any:
    """The value that a text stands for in a field; `quoted` texts never stand for None."""
    kind, optional = kind_of(spec)
    bare = text.strip().lower()
    if optional and not quoted and bare in _NONE:
        return None
    if kind is str:
        value: Any = text
    elif kind is bool and bare in _TRUE + _FALSE:
        value = bare in _TRUE
    elif (kind is int and _INT.fullmatch(bare)) or (kind is float and _FLOAT.fullmatch(bare)):
        value = kind(bare)
    else:
        raise UserError(f"{spec.name}: expected {_EXPECTED[kind]}{' or none' * optional}, got {text!r}")
    check(spec, value)
    return value


def kind_of(spec: Field[Any]) -> tuple[type, bool]:
    """(int, True) for `int | None`."""
    options = typing.get_args(spec.type)
    return (options[0], True) if options else (typing.cast(type, spec.type), False)


def check(spec: Field[Any], value: Any) -> None:
    """Refuses a value that is not None and that the option cannot have, whatever the others are."""
    name, kind, choices, least = spec.name, kind_of(spec)[0], spec.metadata["choices"], spec.metadata["least"]
    if choices and value not in choices:
        raise UserError(f"{name}: one of {', '.join(choices)}; got {value!r}{nearest(str(value), choices)}")
    rules = (
        (value == "", "some text"),
        (kind is float and not math.isfinite(value), "a finite number"),
        (kind is int and value < least, f"at least {least}"),
        (name in _ABOVE_0 and value <= 0, "more than 0"),
        (kind is float and value < 0, "at least 0"),
        (name in _BELOW_1 and value >= 1, "less than 1"),
        (name in _AT_MOST_1 and value > 1, "at most 1"),
    )
    for broken, expected in rules:
        if broken:
            raise UserError(f"{name}: expected {expected}, got {show(value) or 'none'}")


def show(value: Any) -> str:
    """A value as a person writes it, and as `coerce` reads it: none, true, 1e-6."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value and not 1e-3 <= abs(value) < 1e6 and math.isfinite(value):
        return f"{Decimal(repr(value)).normalize():e}"
    return str(value) if str(value).isprintable() else repr(value)


def listed(text: str) -> list[str]:
    """The parts of a comma-separated option, without the blanks around them."""
    return [part.strip() for part in text.split(",")]


def compose(path: str | Path) -> yaml.MappingNode | None:
    """The top of a YAML file, None if it is empty."""
    try:
        root = yaml.compose(Path(path).read_text(encoding="utf-8-sig"), Loader=yaml.BaseLoader)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "bytes that are not UTF-8")
        raise UserError(f"{path}: expected a YAML file that can be read, got: {reason}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem, where = getattr(error, "problem", "bad bytes"), f"line {mark.line + 1}: " if mark else ""
        raise UserError(f"{path}: {where}expected YAML, got an error: {problem}") from None
    if root is not None and not isinstance(root, yaml.MappingNode):
        raise UserError(f"{path}: expected lines of `option: value`, got something else")
    return root


def underscored(argv: Sequence[str]) -> list[str]:
    """A command line whose option names are written with underscores, where they came with dashes."""
    return [re.sub(r"^--[\w-]+", lambda m: "--" + m[0][2:].replace("-", "_"), text) for text in argv]
