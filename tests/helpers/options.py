"""Every option with its types, and short forms of what tests of options say again and again."""

from collections.abc import Callable
from typing import get_args

import pytest

from dupo.config.catalogue import METHODS
from dupo.config.command_line import PROGRAMS, parse, program_named
from dupo.config.config import OPTIONS
from dupo.errors import UserError

KINDS = {name: get_args(spec.type) or (spec.type,) for name, spec in OPTIONS.items()}
RUN = parse([])
WriteFile = Callable[..., str]  # (text or bytes, name) -> name of the file


def table(text: str) -> list[tuple[str, str]]:
    """Lines `left => right`; \\n stands for a line end."""
    pairs = (line.split("=>") for line in text.strip().splitlines())
    return [(left.strip().replace("\\n", "\n"), right.strip()) for left, right in pairs]


def refusal(*argv: str, program: str = "train") -> str:
    """The one line with which a command line is refused."""
    with pytest.raises(UserError) as caught:
        parse(argv, program)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def doors() -> list[tuple[str, str]]:
    """(program, method) of every command line that there is."""
    return [*(("train", method) for method in METHODS), *((program, "dupo") for program in PROGRAMS)]


def reader_of(name: str) -> tuple[str, list[str]]:
    """A program that has the option, and the words that its command line must start with."""
    for program, method in doors():
        if name in program_named(program, method).names:
            return program, [] if method == "dupo" else ["--method", method]
    raise AssertionError(f"no program has --{name}")
