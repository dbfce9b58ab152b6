"""Files and folders that a user names: read whole, or refused in one line.

A path may lead anywhere: to a pipe that nobody writes to, a device without an end, a link to itself. So the
kind of a file is asked before it is opened, and only regular files are read.
"""

import errno
import os
import stat
from pathlib import Path

from dupo.errors import UserError, cut

FILE, FOLDER, NOTHING = "a file", "a folder", "no such file"
# What Linux and macOS hold at most, in bytes; longer texts are no path anywhere.
LONGEST_PATH, LONGEST_NAME = 4095, 255
A_PATH = f"a path of at most {LONGEST_PATH:,} bytes, names of at most {LONGEST_NAME}, no NUL"
_KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: FOLDER,
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_MISSING = {errno.ENOENT, errno.ENOTDIR}


def path_problem(text: str) -> str | None:
    """What makes a text no path on any machine, in words; None for a text that can be a path."""
    # The C library ends a path at a NUL, so Python refuses such a path with a ValueError.
    if "\0" in text:
        return "a text with a NUL character"
    try:
        path = text.encode()
    except UnicodeEncodeError:  # a name in another encoding: no library that saves a model can write there
        return "a text that is no UTF-8"
    name = max(map(len, path.split(b"/")))
    if len(path) > LONGEST_PATH or name > LONGEST_NAME:
        return f"a path of {len(path):,} bytes with a name of {name:,}"
    return None


def check_is_path(path: str | Path) -> None:
    """Raises UserError for a text that is no path on any machine; shows the start of the text."""
    if problem := path_problem(str(path)):
        raise UserError(f"{cut(str(path))}: expected {A_PATH}, got {problem}")


def path_kind(path: str | Path) -> str:
    """What stands at a path, links followed: `FILE`, `FOLDER`, `NOTHING`, or another thing, in words."""
    if problem := path_problem(str(path)):
        return problem
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if error.errno in _MISSING:
            # A link that leads nowhere is there for a person who lists the folder.
            return "a link to nothing" if os.path.islink(path) else NOTHING
        return f"an error ({error.strerror})"
    return _KINDS.get(stat.S_IFMT(mode), "something else")


def is_file(path: str | Path) -> bool:
    """Whether a regular file stands at a path; never raises."""
    return path_kind(path) == FILE


def is_folder(path: str | Path) -> bool:
    """Whether a folder stands at a path; never raises."""
    return path_kind(path) == FOLDER


def read_file(path: str | Path) -> bytes:
    """Reads a regular file.

    Raises:
        UserError: no such file, a folder, a pipe, a device, or a file that cannot be read.
    """
    check_is_path(path)
    if (kind := path_kind(path)) != FILE:
        raise UserError(f"{path}: expected a file, got {kind}")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: expected a readable file, got an error ({error.strerror})") from None
    except (MemoryError, OverflowError):  # files of /proc claim terabytes
        raise UserError(f"{path}: expected a file that fits into memory, got a larger one") from None


def list_folder(path: str | Path) -> list[Path]:
    """Lists what stands in a folder, by name.

    Raises:
        UserError: no folder, or one that cannot be read.
    """
    check_is_path(path)
    if (kind := path_kind(path)) != FOLDER:
        raise UserError(f"{path}: expected a folder, got {kind}")
    try:
        return sorted(Path(path).iterdir())
    except OSError as error:
        raise UserError(f"{path}: expected a readable folder, got an error ({error.strerror})") from None
