"""What a user can put right: one line that says what, what was expected, and what was got."""

import difflib
from collections.abc import Collection


class UserError(Exception):
    """Something the user can put right, in one line: what, what was expected, what was got."""


def nearest(word: str, known: Collection[str]) -> str:
    """What the word may have been meant for, as the end of a message."""
    near = difflib.get_close_matches(word.lower(), known, n=1)
    return f", did you mean {near[0]}?" if near else ""


def did_you_mean(word: str, known: Collection[str], prefix: str = "") -> str:
    """The end of a message about an unknown name: what starts like it, else what is spelt like it."""
    word = word.lower().replace("-", "_")
    starting = [name for name in known if len(word) > 2 and name.startswith(word)]
    near = starting or difflib.get_close_matches(word, known, n=1)
    return f": did you mean {prefix}{near[0]}?" if near else "; see --help"
