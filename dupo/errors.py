"""What a user can put right: one line, "what: expected this, got that"."""

import difflib
import errno
import re
from collections.abc import Collection

# What a disk says that takes no byte more, and what it says for any reason that is no fault of a program.
DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
DISK_FAULTS = DISK_FULL | {errno.EROFS, errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM}


class UserError(Exception):
    """Something that the user can put right, in one line: what, what was expected, what was got.

    Attributes:
        exit_code: with which a program ends.
    """

    exit_code = 2


class StorageError(UserError):
    """A file of the run could not be written: disk full, quota, read-only, gone. What was saved is whole."""

    # Nothing that the user typed is wrong: the same command goes on once there is room.
    exit_code = 1


class ServerError(UserError):
    """A server does not answer, or answers what nobody can read. What was answered before is kept."""

    # As for a disk: the same command goes on once the server is back.
    exit_code = 1


def os_error_number(error: BaseException) -> int | None:
    """The number that the operating system gave an error; None for an error of another kind."""
    if isinstance(error, OSError):
        return error.errno
    # Libraries in Rust (safetensors, tokenizers) raise classes of their own and end with the number.
    told = re.search(r"\(os error (\d+)\)", str(error))
    return int(told[1]) if told else None


LONGEST_SHOWN = 80  # characters of a value in a message
LEAST_LIKENESS = 0.8  # as difflib measures; version and epsilon: 0.71, max_epochs and max_steps: 0.74


def in_one_line(error: BaseException, *, kind: bool = False, limit: int = 200) -> str:
    """What an error says, in one line of at most `limit` characters; its kind where it says nothing.

    Args:
        kind: open with the kind of the error, for a message that alone would be a riddle.
    """
    name = type(error).__name__
    try:
        line = " ".join(str(error).split())[:limit]
    except Exception:  # an error of the user may fail to say what it is
        line = ""
    return f"{name}: {line}" if kind and line else line or name


def quoted(value: object) -> str:
    """A value in a message as Python writes the value, in one line and cut; its type where it has no text."""
    if isinstance(value, str) and len(value) > LONGEST_SHOWN:
        return f"{value[:LONGEST_SHOWN]!r}... ({len(value):,} characters)"
    try:
        return cut(" ".join(repr(value).split()))
    except Exception:  # an object of the user may fail to show itself
        return f"an object of type {type(value).__name__}"


def cut(text: str) -> str:
    """A text in a message: the start of a long one, and its length."""
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}... ({len(text):,} characters)"


def nearest(word: str, names: Collection[str]) -> str:
    """Ends a message about a wrong value with the name that is spelt most like it; empty if none is close."""
    close = difflib.get_close_matches(word.lower(), names, n=1)
    return f", did you mean {close[0]}?" if close else ""


def did_you_mean(word: str, names: Collection[str], prefix: str = "") -> str:
    """Ends a message about an unknown option: a name that starts like the word, else one spelt like it."""
    word = word.lower().replace("-", "_")
    # Two letters start too many names to be a hint.
    completed = [name for name in names if len(word) > 2 and name.startswith(word)]
    # Only what looks like a slip of the keyboard: a name with another meaning is worse than no hint.
    close = completed or difflib.get_close_matches(word, names, n=1, cutoff=LEAST_LIKENESS)
    return f": did you mean {prefix}{close[0]}?" if close else "; see --help"
