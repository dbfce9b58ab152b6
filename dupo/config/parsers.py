"""What the command lines of all programs share. Nothing here needs an installed package."""

import argparse
from typing import NoReturn

from dupo.errors import UserError


class OneLineParser(argparse.ArgumentParser):
    """Raises UserError where argparse would print its usage and end the process."""

    def error(self, message: str) -> NoReturn:
        """Raises UserError."""
        raise UserError(message)


def path_text(text: str) -> str:
    """The type of an argument that names a file or a folder. `dupo completion` completes paths there."""
    return text
