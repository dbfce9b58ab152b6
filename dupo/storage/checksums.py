"""Checksums: of the files of a folder, and of a file of rows up to a place.

    SHA256SUMS   a line `<sha256>  <name>` for every file of the folder; `sha256sum -c SHA256SUMS` reads it

A checksum tells what changed since it was written. It is no signature: who changes a file on purpose can
write the checksum as well.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dupo.storage.files import encoded, write_atomic

SUMS, MADE_BY = "SHA256SUMS", "made_by.json"
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")
# What a library would load of a checkpoint although no checksum names it: weights, settings, and code. Other
# files are a user's: programs that evaluate a model write their results beside it.
_LOADED = re.compile(
    r".*\.(safetensors|bin|pt|py|jinja)|.*\.index\.json|"
    r"(config|generation_config|adapter_config|tokenizer.*|added_tokens|special_tokens_map|vocab|chat_template.*)\.json"
)
_CHUNK = 1 << 20  # bytes


def sha256_of(path: Path) -> str:
    """The sha256 of a file in hex digits, read in pieces: weights may be larger than the memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sums_of(folder: Path) -> str:
    """The lines of SHA256SUMS for all files of a folder."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != SUMS)
    return "".join(f"{sha256_of(file)}  {file.relative_to(folder).as_posix()}\n" for file in files)


def write_sums(folder: Path) -> None:
    """Writes SHA256SUMS of all files of a folder."""
    (folder / SUMS).write_text(sums_of(folder), encoding="utf-8")


def broken_sums(folder: Path, *needed: str) -> str | None:
    """Says what differs from SHA256SUMS, in a few words; None where nothing does.

    Args:
        needed: names that SHA256SUMS must hold.
    """
    try:
        lines = (folder / SUMS).read_bytes().decode("utf-8", "replace").splitlines()
    except OSError:
        return f"it has no {SUMS}"
    matches = [_LINE.fullmatch(line) for line in lines]
    if not all(matches):
        return f"its {SUMS} has a line that is no checksum"
    sums = {match[2]: match[1] for match in matches if match}
    present = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    for name in sorted(sums.keys() | set(needed)):
        if name not in present:
            return f"{name} is gone"
        if name not in sums:
            return f"its {SUMS} does not name {name}"
        if sha256_of(folder / name) != sums[name]:
            return f"{name} is not what was saved (its sha256 differs)"
    # Another file of weights could be read in place of ours.
    added = sorted(name for name in present - sums.keys() if _LOADED.fullmatch(Path(name).name))
    return f"{added[0]} was added to it: remove it" if added else None


# --- a folder that belongs to one run ---


def seal(folder: Path, inputs: Mapping[str, str]) -> None:
    """Closes a folder that is complete: writes who made it, and the checksums of all its files.

    Args:
        inputs: fingerprints of what the run reads.
    """
    (folder / MADE_BY).write_bytes(encoded(dict(inputs), MADE_BY, indent=2))
    write_sums(folder)


def broken_seal(folder: Path, inputs: Mapping[str, str]) -> str | None:
    """Says why a folder is not the one that `seal` closed with the same `inputs`; None where it is."""
    if complaint := broken_sums(folder, MADE_BY):
        return complaint
    if (folder / MADE_BY).read_bytes() != encoded(dict(inputs), MADE_BY, indent=2):
        return "a run with other settings or other inputs made it"
    return None


# --- rows so far ---


class RowsSoFar(NamedTuple):
    """How a file of rows starts.

    Attributes:
        num_bytes: length of these rows.
        sha256: of these bytes, in hex digits.
    """

    num_bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """{"bytes": length, "sha256": digits}"""
        return {"bytes": self.num_bytes, "sha256": self.sha256}

    @classmethod
    def from_json(cls, value: object) -> "RowsSoFar":
        """What `to_json` gave.

        Raises:
            ValueError: the value is of another form.
        """
        if isinstance(value, dict) and value.keys() == {"bytes", "sha256"}:
            rows = cls(value["bytes"], value["sha256"])
            # A number below 0 would read to the end of the file.
            if type(rows.num_bytes) is int and rows.num_bytes >= 0 and isinstance(rows.sha256, str):
                return rows
        raise ValueError(f"expected a length and a sha256, got {value!r}")


def rows_so_far(file: Path) -> RowsSoFar:
    """Length in bytes and sha256 of a file of rows as it is; a file that is not there counts as empty."""
    if not file.is_file():
        return RowsSoFar(0, hashlib.sha256(b"").hexdigest())
    return RowsSoFar(file.stat().st_size, sha256_of(file))


def broken_rows(file: Path, saved: RowsSoFar) -> str | None:
    """Says why a file does not start with the rows that `rows_so_far` saw; None where it does."""
    digest, rest = hashlib.sha256(), saved.num_bytes
    if rest and not file.is_file():
        return f"{file.name} is gone"
    if rest and file.stat().st_size < rest:
        return f"{file.name} has lost rows"
    if rest:
        with file.open("rb") as opened:
            # What follows belongs to later steps and is cut.
            while rest and (piece := opened.read(min(rest, _CHUNK))):
                digest.update(piece)
                rest -= len(piece)
    return None if digest.hexdigest() == saved.sha256 else f"{file.name} has rows that were changed"


def cut_rows(file: Path, saved: RowsSoFar) -> None:
    """Cuts a file after the rows that `rows_so_far` saw."""
    if not file.is_file() or file.stat().st_size == saved.num_bytes:
        return
    if saved.num_bytes == 0:  # no rows, no file: as in a run that never stopped
        file.unlink()
        return
    with file.open("rb") as opened:
        write_atomic(file, opened.read(saved.num_bytes))
