"""Audits and reranks that have finished: their pages are made of files that may be gone, cut or edited."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dupo.errors import UserError
from dupo.storage.files import read_rows
from dupo.user_files import is_file, read_file


@contextmanager
def finished(folder: Path, what: str, summary: str, rows: str) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """The content of the two files that a page is made of; in the block, what they lack is one line.

    Args:
        what: wrote the folder, for messages: "an audit".
        summary: name of the file that is written last.
        rows: name of the file of rows.

    Raises:
        UserError: the work is not finished, or one of its files is damaged.
    """
    if not is_file(folder / summary):
        raise UserError(
            f"{folder} holds {what} that is not finished: its command, with the same --output_dir, goes on"
        )
    try:
        yield json.loads(read_file(folder / summary)), read_rows(folder / rows)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder / summary} or {rows} is damaged: {error!r}") from None
