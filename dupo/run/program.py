"""The `main` of every program: options in, exit code out."""

import sys
from collections.abc import Callable, Sequence

from dupo.config.command_line import parse
from dupo.config.config import Config
from dupo.config.values import UserError
from dupo.views.plain import error

GO_ON = "the same command goes on, with its --output_dir and without --overwrite_output_dir"


def run_program(program: str, body: Callable[[Config], object], argv: Sequence[str] | None) -> int:
    """Runs `body` with the options of a command line; argv None: those of the process.

    Returns the exit code: 0 done, 2 something in what the user gave, 130 Ctrl-C.
    """
    try:
        body(parse(sys.argv[1:] if argv is None else argv, program))
    except UserError as problem:
        error(str(problem))
        return 2
    except KeyboardInterrupt:
        error(f"stopped; {GO_ON}")
        return 130
    return 0
