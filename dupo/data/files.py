"""Data sets from files: lines of text, JSON lines, and their columns.

Every fault of a file is a `UserError` that names the file, and the line where there is one.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dupo.errors import UserError
from dupo.user_files import read_file

SURROGATE = re.compile("[\ud800-\udfff]")
DEEPEST = 100  # levels of a row: what is nested deeper is no data, and too deep to be copied
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some editors write it; json would refuse the line


class JsonRow(dict[str, Any]):
    """One object of a JSON-lines file.

    Numbers stay the text that the file has ("0.10"), because a binary float would change them.

    Attributes:
        file_name: name of the file, without its folder.
        line: number of the line in the file, from 1.
    """

    def __init__(self, values: Mapping[str, Any], file_name: str, line: int) -> None:
        super().__init__(values)
        self.file_name, self.line = file_name, line

    @property
    def id(self) -> str:
        """A name of the row that is unique in its file: "train.jsonl:17"."""
        return f"{self.file_name}:{self.line}"

    @property
    def place(self) -> str:
        """Where the row stands, as error messages say it."""
        return place_of(self.file_name, self.line)


def place_of(file_name: str, line: int) -> str:
    """Names a line of a file in an error message."""
    return f"{file_name}, line {line}"


def read_lines(path: str | Path) -> list[str]:
    """Reads the lines of a UTF-8 file without their ends, and without a byte order mark.

    Raises:
        UserError: as `dupo.user_files.read_file`, or the file is empty or not UTF-8.
    """
    path = Path(path)
    data = read_file(path).removeprefix(BYTE_ORDER_MARK)
    if not data.strip():
        raise UserError(f"{path}: expected lines of text, got an empty file")
    # Only "\n" ends a line: str.splitlines would also cut at U+2028 and others, which text may hold.
    lines = data.removesuffix(b"\n").split(b"\n")
    return [_decode(path, number, line) for number, line in enumerate(lines, start=1)]


def _decode(path: Path, number: int, line: bytes) -> str:
    try:
        # Lines of Windows end in "\r\n".
        return line.removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        message = f"expected UTF-8, got an invalid byte at {error.start + 1}"
        raise UserError(f"{place_of(path.name, number)}: {message}") from None


def read_jsonl(path: str | Path) -> list[JsonRow]:
    """Reads the objects of a JSON-lines file. Blank lines are skipped.

    Raises:
        UserError: as `read_lines`, or a line that is not a JSON object.
    """
    path = Path(path)
    lines = enumerate(read_lines(path), start=1)
    return [_parse_row(path, number, line) for number, line in lines if line.strip()]


def _parse_row(path: Path, number: int, line: str) -> JsonRow:
    place = place_of(path.name, number)
    try:
        # Numbers stay text: see `JsonRow`.
        value = json.loads(line, parse_int=str, parse_float=str, parse_constant=str)
    except json.JSONDecodeError as error:
        raise UserError(f"{place}: expected valid JSON, got an error ({error.msg})") from None
    except RecursionError:
        raise UserError(f"{place}: {_TOO_DEEP}") from None
    # A line without so many brackets is not that deep, so most lines are not looked at again.
    if line.count("[") + line.count("{") > DEEPEST and _depth(value) > DEEPEST:
        raise UserError(f"{place}: {_TOO_DEEP}")
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else "a single value"
        raise UserError(f'{place}: expected an object such as {{"question": "..."}}, got {kind}')
    return JsonRow(value, path.name, number)


_TOO_DEEP = f"expected valid JSON, got an error (nested too deeply, more than {DEEPEST} levels)"


def _depth(value: Any) -> int:
    """How many levels of lists and objects a JSON value has, at most DEEPEST + 1."""
    depth, level = 0, [value]
    # Level by level and not by recursion, which is what a deep value would break.
    while depth <= DEEPEST and (level := [item for item in level if isinstance(item, dict | list)]):
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth


def column_names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Lists every column of any row, in the order in which the columns first come."""
    return list(dict.fromkeys(name for row in rows for name in row))


def choose_column(
    rows: Sequence[Mapping[str, Any]],
    path: str | Path,
    wanted: str | None,
    usual_names: Sequence[str],
    option: str,
) -> str:
    """Returns the column to read: `wanted`, or without a wish the first of `usual_names` that the file has.

    Args:
        option: the option by which the user chooses the column, for the message.

    Raises:
        UserError: there is no such column; the message lists the columns of the file.
    """
    names = column_names(rows)
    candidates = usual_names if wanted is None else [wanted]
    # A column that the user names is never replaced by a usual one: the wrong text would be read in silence.
    for name in candidates:
        if name in names:
            return name
    expected = " or ".join(usual_names) if wanted is None else repr(wanted)
    actual = ", ".join(names) or "no column"
    raise UserError(f"{option}: expected a column {expected} in {Path(path).name}, got {actual}")


def column_text(row: JsonRow, name: str, *, required: bool) -> str | None:
    """Returns the text of one column of a row, stripped; None where the column is absent, null or blank.

    Raises:
        UserError: no text though `required`, neither text nor a number, or half a surrogate pair.
    """
    value = row.get(name)
    if value is not None and not isinstance(value, str):
        actual = json.dumps(value)[:40]
        raise UserError(f"{row.place}: expected text or a number in {name!r}, got {actual}")
    text = (value or "").strip()
    if not text and required:
        raise UserError(f"{row.place}: expected text in {name!r}, got none")
    # JSON can escape half a surrogate pair, but no tokenizer takes it: it has no UTF-8.
    if SURROGATE.search(text):
        raise UserError(f"{row.place}: expected text in {name!r}, got half a surrogate pair")
    return text or None
