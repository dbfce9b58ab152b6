"""server.jsonl: every answer that a server gave, by the key of its request; what is there is not asked again.

    {"key": "<hex digits>", "answer": {"text": "...", ...}, "crc32": 1234}

A line is one answer. A kill may tear the last line, and a hand may change any: such a line counts as not
there, and its request is made anew.
"""

import json
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dupo.errors import UserError
from dupo.storage.files import append, encoded, row_of, sync, write_atomic

# Answers that a power cut may lose, at most: a wait for the disk after each would slow a fast server.
MOST_UNSYNCED, MOST_SECONDS_UNSYNCED = 64, 1.0


class _Place(NamedTuple):
    """Where a line stands in the file, in bytes."""

    start: int
    length: int


class KeptAnswers:
    """The answers of one run. One thread at a time may use it.

    Args:
        file: made with the first answer.

    Attributes:
        num_dropped: lines that were torn or changed, whose requests are made anew.

    Raises:
        UserError: the file cannot be read.
        StorageError: a torn line cannot be cut off.
    """

    def __init__(self, file: Path) -> None:
        self.file, self.num_dropped = file, 0
        # Places and not texts: a million long answers would fill the memory.
        self._places: dict[str, _Place] = {}
        self._size, self._unsynced, self._synced_at = 0, 0, time.monotonic()
        if file.exists():
            self._read()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def get(self, key: str) -> Mapping[str, Any]:
        """The answer to a request.

        Raises:
            KeyError: there is none.
            UserError: the file was changed while the run went on.
        """
        place = self._places[key]
        with self.file.open("rb") as opened:
            opened.seek(place.start)
            row = _sound(opened.read(place.length))
        if row is None or row["key"] != key:
            raise UserError(f"{self.file} was changed while the run went on: start the same command again")
        return row["answer"]

    def put(self, key: str, answer: Mapping[str, Any]) -> None:
        """Appends an answer. The operating system has the line when this method returns.

        Raises:
            StorageError: the disk is full, or the file cannot be written; the file is as it was.
        """
        # Encoded before anything is written: a row that cannot be encoded leaves the file as it was.
        row = {"key": key, "answer": dict(answer)}
        line = encoded(row | {"crc32": _crc32(row)}, self.file.name)
        append(self.file, line)
        self._places[key] = _Place(self._size, len(line))
        self._size += len(line)
        self._unsynced += 1
        if self._unsynced >= MOST_UNSYNCED or time.monotonic() - self._synced_at > MOST_SECONDS_UNSYNCED:
            self.sync()

    def sync(self) -> None:
        """Waits until all answers are on the disk."""
        if self._unsynced:
            sync(self.file)
        self._unsynced, self._synced_at = 0, time.monotonic()

    def _read(self) -> None:
        # Line by line, as the file may be larger than the memory.
        for line in self._lines():
            place = _Place(self._size, len(line))
            self._size += len(line)
            row = _sound(line)
            if row is None:
                self.num_dropped += 1
            else:
                self._places[row["key"]] = place

    def _lines(self) -> Iterator[bytes]:
        """The whole lines of the file; a torn last line is cut off, or the next answer would join it."""
        try:
            torn = b""
            with self.file.open("rb") as opened:
                for line in opened:
                    if line.endswith(b"\n"):
                        yield line
                    else:
                        torn = line
            if torn:
                self.num_dropped += 1
                write_atomic(self.file, self.file.read_bytes()[: -len(torn)])
        except OSError as problem:
            reason = problem.strerror
            raise UserError(f"{self.file}: expected a readable file, got an error ({reason})") from None


def _sound(line: bytes) -> dict[str, Any] | None:
    """The row of a line; None where the line is torn or was changed."""
    row = row_of(line)
    if row is None or row.keys() != {"key", "answer", "crc32"}:
        return None
    is_ours = isinstance(row["key"], str) and isinstance(row["answer"], dict)
    return (
        row if is_ours and row["crc32"] == _crc32({name: row[name] for name in ("key", "answer")}) else None
    )


def _crc32(row: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(row, sort_keys=True).encode())
