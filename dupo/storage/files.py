"""Files that are whole or absent: atomic writes, rows of JSON, and reading what a killed run left behind."""

import json
import math
import os
from pathlib import Path
from typing import Any

import yaml

from dupo.user_files import is_file, read_file


def write_atomic(path: Path, data: bytes) -> None:
    """Replaces the content of `path` by `data`, in one step.

    A reader sees the old file or the new one, never a mixture, even if the writer is killed. The new file
    survives a power cut once this function returns.
    """
    # Beside the target, because a rename is one step only within a file system.
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    # The rename itself is an entry of the folder, so the folder must reach the disk as well.
    sync(path.parent)


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
