"""Files that are whole or absent: atomic writes, rows of JSON, and reading what a killed run left behind.

Every file of a run is written through `write_atomic`, `append` or `whole_folder`. So a full disk is told in
one place, and leaves neither half a file nor half a row.
"""

import errno
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from dupo.errors import StorageError, os_error_number
from dupo.user_files import is_file, read_file


def write_atomic(path: Path, data: bytes) -> None:
    """Replaces the content of `path` by `data`, in one step.

    A reader sees the old file or the new one, never a mixture, even if the writer is killed. The new file
    survives a power cut once this function returns.

    Raises:
        StorageError: the disk is full, or the folder cannot be written; `path` is as it was.
    """
    # Beside the target, because a rename is one step only within a file system.
    temporary = path.with_name(f"{path.name}.tmp")
    with writing(path):
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            # Half a file would keep the room that others need.
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        # The rename itself is an entry of the folder, so the folder must reach the disk as well.
        sync(path.parent)


def remove(folder: Path, *names: str) -> None:
    """Removes files of a folder, where they are there."""
    for name in names:
        (folder / name).unlink(missing_ok=True)


def append(path: Path, data: bytes) -> None:
    """Adds whole rows to the end of a file. The operating system has the rows when this function returns.

    Raises:
        StorageError: the disk is full, or the file cannot be written; the file is as it was.
    """
    with writing(path):
        size = path.stat().st_size if path.exists() else None
        try:
            with path.open("ab") as file:
                file.write(data)
        except BaseException:
            # A full disk takes the first half of a row. Cutting a file needs no room.
            with suppress(OSError):
                path.unlink(missing_ok=True) if size is None else os.truncate(path, size)
            raise


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Gives an empty folder to write into, which takes the place of `folder` when the block ends well.

    A reader finds the old folder or the new one, whole, whenever the writer was killed. A writer that was
    killed between its two renames leaves no folder of that name: the old one is then called `NAME.gone`.

    Raises:
        StorageError: the disk is full, or the folder cannot be written; `folder` is as it was.
    """
    temporary = folder.with_name(f"{folder.name}.tmp")
    with writing(folder):
        # A writer that was killed may have left its temporary folder, with files that this writer has not.
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir()
            yield temporary
            # Contents reach the disk before the rename, or a power cut could leave a complete name on
            # empty files.
            for file in [*temporary.rglob("*"), temporary]:
                _allow_readers(file, temporary)
                sync(file)
            # A folder cannot be renamed onto another.
            retired = retire(folder) if folder.exists() else None
            try:
                temporary.rename(folder)
            except BaseException:
                if retired is not None:
                    retired.rename(folder)
                raise
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync(folder.parent)
        # Of a writer that was killed as well: the new folder is in its place.
        shutil.rmtree(_retired(folder), ignore_errors=True)


def _allow_readers(file: Path, folder: Path) -> None:
    """Lets those read a file who may read the new folder: safetensors writes files for their owner alone."""
    if file.is_file():
        # The folder was made with the umask of the user, which cannot be read without changing the umask.
        file.chmod(file.stat().st_mode | folder.stat().st_mode & 0o666)


def retire(folder: Path) -> Path:
    """Takes the name of a folder away, in one step, before its files are deleted; returns its new path."""
    shutil.rmtree(_retired(folder), ignore_errors=True)
    return folder.rename(_retired(folder))


def _retired(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.gone")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a failure of the disk inside the block into one line for the user; other errors pass.

    Raises:
        StorageError: names `path` and the reason.
    """
    try:
        yield
    except Exception as problem:
        reason = _disk_fault(problem)
        if reason is None or isinstance(problem, StorageError):
            raise
        raise StorageError(f"{path} could not be written: {reason}") from problem


def check_disk_space(path: Path, num_bytes: int) -> None:
    """Refuses to write `path` where the disk has less room than that; quotas are not seen here.

    Raises:
        StorageError: nothing was written.
    """
    with writing(path):
        free = shutil.disk_usage(path.parent).free
    if free < num_bytes:
        needed, there = (f"{count / 1e6:,.1f} MB" for count in (num_bytes, free))
        raise StorageError(f"{path} needs about {needed} of room, the disk has {there}: nothing was written")


def _disk_fault(problem: Exception) -> str | None:
    """What the operating system said of the disk; None for an error of another kind."""
    if isinstance(problem, OSError):
        return problem.strerror or os.strerror(problem.errno or errno.EIO)
    number = os_error_number(problem)
    return None if number is None else os.strerror(number)


def sync(path: Path) -> None:
    """Waits until a file, or the list of names in a folder, is on the disk."""
    if path.is_dir() and os.name != "posix":  # Windows cannot open a folder
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Reads the rows of a .jsonl file; returns [] if the file does not exist.

    Skips every line that is no JSON object: a killed run may have torn its last line.
    """
    if not is_file(path):
        return []
    # Bytes, not text: a torn line may end in the middle of a character.
    rows = (row_of(line) for line in read_file(path).split(b"\n"))
    return [row for row in rows if row is not None]


def row_of(line: bytes) -> dict[str, Any] | None:
    """Reads one line of a .jsonl file; returns None if the line is no JSON object."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # nested deeper than the reader goes
        return None
    return row if isinstance(row, dict) else None


def read_mapping(path: Path) -> dict[str, Any]:
    """Reads a YAML or .json file as a mapping; returns {} if the file is missing or unreadable."""
    if not is_file(path):
        return {}
    text = read_file(path).decode("utf-8", "replace")
    try:
        # Scalars of YAML stay texts: the tags and types of YAML fail in more ways than can be listed.
        value = json.loads(text) if path.suffix == ".json" else yaml.load(text, Loader=yaml.BaseLoader)
    except (ValueError, RecursionError, yaml.YAMLError):
        return {}
    return value if isinstance(value, dict) else {}


def encoded(value: dict[str, Any], name: str, indent: int | None = None) -> bytes:
    """Encodes one row of a .jsonl file, or a whole .json file, as UTF-8 with a final line break.

    Args:
        value: what to encode.
        name: names the row or file in the error.
        indent: spaces per level; None keeps everything on one line.

    Raises:
        ValueError: a number is NaN or infinite, which JSON cannot hold.
    """
    # json.dumps would refuse as well, but would not say which number.
    if place := _not_finite(value):
        raise ValueError(f"{name}: every number must be finite, got {place}")
    # Without ASCII escapes, every language can be read in an editor.
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    # A lone surrogate (legal in JSON input) has no UTF-8 form; backslashreplace writes its JSON escape.
    return text.encode("utf-8", errors="backslashreplace") + b"\n"


def _not_finite(value: object, path: str = "") -> str | None:
    """Finds the first NaN or infinity in nested lists and mappings: "duals.1.distance = nan"."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{path} = {value}"
    items: list[tuple[object, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    places = (_not_finite(inner, f"{path}.{key}" if path else str(key)) for key, inner in items)
    return next((place for place in places if place), None)
