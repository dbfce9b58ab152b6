"""Data sets -> rows. The ending of a file names its format; a file of any other ending must be JSON.

    .jsonl .ndjson   JSON lines              .csv .tsv   tables with a header (comma, semicolon or tab)
    .json            a list, or JSON lines   .txt        one problem a line, column `text`
    .parquet .arrow  by pyarrow (extra `[data]`)          the formats of text also with .gz behind
    a folder, or a name of Hugging Face `datasets`: see `sources`

Every fault of a file is a `UserError` that names the file, and the line where there is one.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from dupo.data.arrow_files import rows_of_arrow, rows_of_parquet
from dupo.data.contents import decode_lines, mismatch, read_contents, refuse_other_kinds
from dupo.data.json_rows import rows_of_document, rows_of_lines
from dupo.data.look_alikes import other_format
from dupo.data.rows import Row
from dupo.data.tables import rows_of_table
from dupo.errors import UserError

_JSON_LINES, _JSON, _TABLE, _TABS, _TEXT = "JSON lines", "JSON", "a table (CSV)", "a table (TSV)", "text"
_FORMATS = {
    ".jsonl": _JSON_LINES,
    ".ndjson": _JSON_LINES,
    ".json": _JSON,
    ".csv": _TABLE,
    ".tsv": _TABS,
    ".tab": _TABS,
    ".txt": _TEXT,
}
ONLY_TEXT = "text"  # the column of files without columns
_BINARY = {".parquet": rows_of_parquet, ".arrow": rows_of_arrow}
ENDINGS = (*_FORMATS, *_BINARY)  # of the files that are read


def column_without_name(rows: Iterable[Row]) -> list[str]:
    """The column of files of text alone; empty where the rows have others."""
    return [ONLY_TEXT] if all(list(row) == [ONLY_TEXT] for row in rows) else []


def read_lines(path: str | Path) -> list[str]:
    """Reads the lines of a text file without their ends, and without a byte order mark.

    Raises:
        UserError: as `dupo.user_files.read_file`, or the file is empty, no text, or of another kind.
    """
    path = Path(path)
    data = read_contents(path)
    refuse_other_kinds(path, data, "lines of text")
    return decode_lines(path, data)


def read_jsonl(path: str | Path) -> list[Row]:
    """Reads the objects of a JSON-lines file. Blank lines are skipped.

    Raises:
        UserError: as `read_lines`, or a line that is not a JSON object.
    """
    return rows_of_lines(Path(path), read_lines(path))


def format_ending(path: str | Path) -> str:
    """The ending that names the format of a file, in lower case, without a .gz behind it."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def read_file_rows(path: str | Path, file_name: str | None = None) -> list[Row]:
    """Reads the rows of one file.

    Args:
        file_name: of the rows, in ids and messages about a row; None: that of the file, without its folder.

    Raises:
        UserError: the file cannot be read, or its contents are not what its ending says.
    """
    path = Path(path)
    ending = format_ending(path)
    if ending in _BINARY:
        return _BINARY[ending](path, file_name or path.name)
    data = read_contents(path)
    kind = _FORMATS.get(ending)
    refuse_other_kinds(path, data, kind or "rows of data")
    lines = decode_lines(path, data)
    first = next((line for line in lines if line.strip()), None)
    if first is None:  # blanks of other kinds than those of ASCII
        raise UserError(f"{path}: expected rows of data, got an empty file")
    kind = kind or _kind_of_json(path, first)
    rows = _READERS[kind](path, lines)
    if not rows:
        raise UserError(f"{path}: expected rows of data, got none")
    for row in rows:
        row.file_name = file_name or path.name
    return rows


def _kind_of_json(path: Path, line: str) -> str:
    """The format of a file whose ending says nothing, by its first line with text.

    Raises:
        UserError: no JSON. A table and text look alike, and the one read as the other would be wrong.
    """
    text = line.strip()
    if text.startswith(("[", "{")):
        return _JSON_LINES if text.startswith("{") and text.endswith("}") else _JSON
    raise UserError(f"{path}: expected a name that ends in one of {', '.join(ENDINGS)}, got {path.name!r}")


def rows_of_text(path: Path, lines: list[str]) -> list[Row]:
    """One row for every line with text.

    Raises:
        UserError: the lines are those of another format.
    """
    # A line end of old systems, "\r", may stand among others, as Python reads text.
    pieces = [piece for line in lines for piece in line.split("\r")]
    filled = [(number, line) for number, line in enumerate(pieces, start=1) if line.strip()]
    if other := other_format([line for _, line in filled]):
        raise mismatch(path, "text, one problem a line", *other)
    return [Row({ONLY_TEXT: line}, path.name, number) for number, line in filled]


_READERS: dict[str, Callable[[Path, list[str]], list[Row]]] = {
    _JSON_LINES: rows_of_lines,
    _JSON: rows_of_document,
    _TABLE: rows_of_table,
    _TABS: lambda path, lines: rows_of_table(path, lines, "\t"),
    _TEXT: rows_of_text,
}
