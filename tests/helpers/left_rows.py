"""Files of rows as a kill leaves them: some rows, and a record of the whole batches among them."""

import hashlib
import json
from pathlib import Path

from dupo.storage.names import FINISHED_ROWS


def leave(file: Path, content: bytes, recorded: bytes) -> None:
    """Leaves `content` in a file of rows, of which the program had recorded the first bytes, `recorded`."""
    file.write_bytes(content)
    record = file.with_name(FINISHED_ROWS)
    entry = {"bytes": len(recorded), "sha256": hashlib.sha256(recorded).hexdigest()}
    record.write_text(json.dumps({**json.loads(record.read_bytes()), file.name: entry}))


def whole_batches(content: bytes, size: int, total: int) -> bytes:
    """The rows of whole batches of a content that may end in the middle of a row; the last batch is short."""
    lines = [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]
    return b"".join(lines if len(lines) == total else lines[: len(lines) // size * size])
