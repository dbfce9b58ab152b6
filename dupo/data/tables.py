"""Rows of tables in text: CSV with commas, semicolons or tabs, and TSV."""

import re
from pathlib import Path

from dupo.data.contents import MOST_WORDS, check_names, mismatch, shown_names
from dupo.data.rows import Row, place_of
from dupo.data.table_records import TAB, read_records
from dupo.errors import UserError

DELIMITERS = (",", ";", "\t")  # the first wins where two cut the first line into as many columns
_QUOTED = re.compile(r'"[^"]*("|$)')
_NAMES = {"\t": "a tab", ";": "a semicolon", ",": "a comma"}
# JSON in a cell starts with {" as well, but a header does not.
_JSON_START = re.compile(r'\s*(\[\s*\{|\{\s*"\w+"\s*:)')


def rows_of_table(path: Path, lines: list[str], delimiter: str | None = None) -> list[Row]:
    """The rows of a table whose first row names the columns. Rows without any text are skipped.

    Args:
        lines: without their ends.
        delimiter: between two cells; None: as the first row has it.

    Raises:
        UserError: names the line where a cell does not end, or where a row has too many or too few cells.
    """
    skipped = next(index for index, line in enumerate(lines) if line.strip())
    if _JSON_START.match(lines[skipped]):
        raise mismatch(path, "a table with a header", "JSON", "let its name end in .jsonl (or .json, a list)")
    # Excel writes, and reads, this line in front of a table.
    if told := re.fullmatch(r"sep=(.)", lines[skipped]):
        delimiter, skipped = told[1], skipped + 1
    delimiter = delimiter or _delimiter_of(lines[skipped] if skipped < len(lines) else "")
    records = read_records(path, lines[skipped:], delimiter, skipped)
    if not records:
        raise UserError(f"{path}: expected a header and rows, got an empty table")
    header, *body = records
    names = [name.strip() for name in header.cells]
    _check_header(path, names, delimiter)
    # Spreadsheets write blank cells at the right, as many in every row. Blank cells of single rows are
    # those of a text with a bare delimiter: "Q1 has 5,1," would be read as a question and its answer.
    while not names[-1]:
        names.pop()
    widths = {len(record.cells) for record in body}
    may_be_wider = len(widths) == 1 and (len(body) > 1 or widths == {len(header.cells)})
    rows = []
    for line, _, cells in body:
        surplus = cells[len(names) :]
        if len(cells) < len(names) or (surplus and not may_be_wider) or any(c.strip() for c in surplus):
            raise _uneven(path, line, len(names), len(cells), delimiter)
        # A column without a name is the count of rows that pandas writes.
        pairs = zip(names, cells, strict=False)
        rows.append(Row({name: cell for name, cell in pairs if name}, path.name, line))
        rows[-1].may_have_decimal_commas = delimiter == ";"
    if not rows:
        raise UserError(f"{path}: expected rows below the header {shown_names(names)}, got none")
    return rows


def _delimiter_of(header: str) -> str:
    bare = _QUOTED.sub("", header)
    return max(DELIMITERS, key=lambda delimiter: bare.count(delimiter))


def _check_header(path: Path, names: list[str], delimiter: str) -> None:
    """Raises UserError for a header that names no column, or one of them twice."""
    check_names(path, names)
    if not any(names):
        raise UserError(f"{path}: expected the names of the columns in the first row, got none")
    if len(names) == 1 and "|" in names[0]:
        advice = "put a line sep=| above the header, or save the table with commas"
        raise mismatch(path, "a table with commas, semicolons or tabs", 'a table with "|"', advice)
    if delimiter == TAB and len(names) == 1 and re.fullmatch(r"\w+([,;]\w+)+", names[0]):
        what = "one with commas or semicolons"
        raise mismatch(path, "a table with tabs", what, "let its name end in .csv")
    if len(names) == 1 and len(names[0].split()) > MOST_WORDS:
        expected = (
            f"the names of the columns in the first row, {_NAMES.get(delimiter, delimiter)} between two"
        )
        raise mismatch(path, expected, "text", "let its name end in .txt (one problem a line)")


def _uneven(path: Path, line: int, expected: int, actual: int, delimiter: str) -> UserError:
    between = _NAMES.get(delimiter, repr(delimiter))
    advice = f'put a cell that holds {between} or a line end between two "'
    cells = f"expected {expected} cells as in the header, got {actual}"
    return UserError(f"{place_of(str(path), line)}: {cells}: {advice}")
