"""What the command lines of all programs share. Nothing here needs an installed package."""

import argparse
import sys
from typing import IO, NoReturn

from dupo.errors import UserError


def print_whole(text: str, file: IO[str] | None) -> None:
    """Prints a text; one that a full disk takes ends the process with exit code 1.

    Args:
        file: None: standard output.
    """
    try:
        print(text, end="", file=file, flush=True)
    except BrokenPipeError:
        pass  # nobody reads any more
    except OSError as fault:
        print(f"error: {fault}", file=sys.stderr)
        raise SystemExit(1) from None


class Parser(argparse.ArgumentParser):
    """Prints its help whole, or ends the process; see `print_whole`."""

    def _print_message(self, message: str, file: IO[str] | None = None) -> None:
        # argparse hides every fault here, or none, by the version of Python.
        print_whole(message, file or sys.stderr)


class OneLineParser(Parser):
    """Raises UserError where argparse would print its usage and end the process."""

    def error(self, message: str) -> NoReturn:
        """Raises UserError."""
        raise UserError(message)


def path_text(text: str) -> str:
    """The type of an argument that names a file or a folder. `dupo completion` completes paths there."""
    return text
