"""What the command lines of all programs share. Nothing here needs an installed package."""

import argparse
import sys
from typing import IO, NoReturn

from dupo.errors import UserError


class Parser(argparse.ArgumentParser):
    """Prints its help; a help that a full disk takes ends the process with exit code 1."""

    def _print_message(self, message: str, file: IO[str] | None = None) -> None:
        # argparse hides every fault here, or none, by the version of Python.
        try:
            print(message, end="", file=file or sys.stderr, flush=True)
        except BrokenPipeError:
            pass
        except OSError as fault:
            print(f"error: {fault}", file=sys.stderr)
            raise SystemExit(1) from None


class OneLineParser(Parser):
    """Raises UserError where argparse would print its usage and end the process."""

    def error(self, message: str) -> NoReturn:
        """Raises UserError."""
        raise UserError(message)


def path_text(text: str) -> str:
    """The type of an argument that names a file or a folder. `dupo completion` completes paths there."""
    return text
