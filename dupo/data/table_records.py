"""Records of a table in text: which lines and cells belong together, and what a double quote means.

Programs that write CSV put a cell with a delimiter, a line end or a quote between two quotes, and double the
quotes inside. Plain programs write a quote like any letter, most of all into files with tabs. A file of the
second kind, read as one of the first, would lose every row between two stray quotes without an error. So

    no cell spans lines        quotes around a cell are taken off
    a cell spans lines that    tabs: read as plain text if every line then has as many cells;
    look like rows             else refused
"""

import csv
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dupo.data.contents import NUMBER
from dupo.data.rows import place_of
from dupo.errors import UserError

TAB = "\t"
_ESCAPED = re.compile(r'"[^"]*(""[^"]*)+"')  # a cell with quotes, as CSV writes such a cell
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_BRACKETS = ("()", "[]", "{}")
_AS_LINES = 'double a " of the text and put its cell between two ", or write the rows as JSON lines'


class Record(NamedTuple):
    """The cells of one row, and the lines that they span, from 1."""

    first: int
    last: int
    cells: list[str]


def read_records(path: Path, lines: Sequence[str], delimiter: str, skipped: int) -> list[Record]:
    """The records that have text.

    Args:
        lines: those from the header on.
        skipped: number of lines before these.

    Raises:
        UserError: names the line of a cell that does not end, or that has swallowed what look like rows.
    """
    # Line ends inside quotes are those of the text, "\n" whatever the system was that wrote the file. A
    # line end of old systems, "\r", may stand among others.
    ended = list(io.StringIO("\n".join(lines), newline=""))
    lines = [line.rstrip("\r\n") for line in ended]
    plain = [Record(number, number, line.split(delimiter)) for number, line in enumerate(lines, skipped + 1)]
    plain = [record for record in plain if _has_text(record)]
    is_quoting = _has_escapes(plain)
    may_be_plain = delimiter == TAB and _num_widths(plain) == 1 and not is_quoting
    try:
        records = _quoted_records(path, ended, delimiter, skipped)
    except UserError:
        if may_be_plain:
            return plain
        raise
    has_columns = bool(records) and len(records[0].cells) > 1
    if has_columns:
        swallowed = _first_swallowed(records, lines, delimiter, skipped, is_quoting=is_quoting)
    else:
        swallowed = None if is_quoting else _first_joined(records, delimiter)
    if may_be_plain and has_columns and (swallowed or _num_widths(records) > 1):
        return plain
    if swallowed:
        place = place_of(str(path), swallowed.first)
        expected = f"a cell that ends before the next row, got a quoted cell up to line {swallowed.last}"
        raise UserError(f"{place}: expected {expected}, over lines that look like rows: {_AS_LINES}")
    return records


def _quoted_records(path: Path, lines: Sequence[str], delimiter: str, skipped: int) -> list[Record]:
    # The limit belongs to the whole process, so it is put back.
    old_limit = csv.field_size_limit(sys.maxsize)
    records, start = list[Record](), 0
    try:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        for cells in reader:
            records.append(Record(skipped + start + 1, skipped + reader.line_num, cells))
            start = reader.line_num
    except csv.Error as error:
        place = place_of(str(path), skipped + start + 1)
        hint = 'double a " inside a cell, and put the cell between two "'
        raise UserError(f"{place}: expected cells of a table, got an error ({error}): {hint}") from None
    finally:
        csv.field_size_limit(old_limit)
    return [record for record in records if _has_text(record)]


def _has_text(record: Record) -> bool:
    return any(cell.strip() for cell in record.cells)


def _num_widths(records: Sequence[Record]) -> int:
    return len({len(record.cells) for record in records})


def _has_escapes(plain: Sequence[Record]) -> bool:
    """Whether some cells are quoted by a program that knows quoting: such a file is not plain text."""
    if not plain:
        return False
    header, *body = plain
    is_quoted = any(len(name) > 1 and name[0] == name[-1] == '"' for name in header.cells)
    return is_quoted or any(_ESCAPED.fullmatch(cell) for record in body for cell in record.cells)


def _first_swallowed(
    records: Sequence[Record], lines: Sequence[str], delimiter: str, skipped: int, *, is_quoting: bool
) -> Record | None:
    """The first record over several lines that look like rows of their own; None: there is none.

    Args:
        is_quoting: see `_has_escapes`.
    """
    header, *body = records
    if not (joined := [record for record in body if record.last > record.first]):
        return None
    single = [record for record in body if record.last == record.first]
    shape = _Shape.of(header.cells, single, delimiter)
    is_quoting = is_quoting or any(delimiter in cell for record in single for cell in record.cells)
    for record in joined:
        spanned = lines[record.first - skipped - 1 : record.last - skipped]
        are_rows = [shape.is_row(line) for line in spanned if line.strip()]
        # Where quotes are used as in CSV, a pair of lines may look like rows by chance.
        if is_quoting and delimiter != TAB:
            looks_so = all(are_rows) and (len(are_rows) > 2 or bool(shape.number_columns))
        else:
            looks_so = are_rows[0] and are_rows[-1] and 2 * sum(are_rows) >= len(are_rows)
        if looks_so:
            return record
    return None


def _first_joined(records: Sequence[Record], delimiter: str) -> Record | None:
    """The first record over several lines in one column, where every line looks like a row; None: there is
    none, or a delimiter inside a cell shows that quotes are no letters here."""
    if any(delimiter in record.cells[0] for record in records):
        return None
    return next((record for record in records if record.last > record.first), None)


class _Shape(NamedTuple):
    """What a line must have to look like a row of the table by itself.

    Attributes:
        number_columns: places of the columns that hold numbers alone.
        is_spaced: a blank stands behind each delimiter of the header.
    """

    width: int
    delimiter: str
    number_columns: list[int]
    is_spaced: bool

    @classmethod
    def of(cls, header: Sequence[str], body: Sequence[Record], delimiter: str) -> "_Shape":
        """The shape of the rows in single lines below a header."""
        even = [record.cells for record in body if len(record.cells) == len(header)]
        columns = list(zip(*even, strict=True))
        numbers = [i for i, cells in enumerate(columns) if all(NUMBER.fullmatch(c.strip()) for c in cells)]
        return cls(len(header), delimiter, numbers, all(name.startswith(" ") for name in header[1:]))

    def is_row(self, line: str) -> bool:
        """Whether a line has the cells of a row. No tab stands in a sentence, but commas do."""
        # A comma inside a number parts no cells, unless the number of a row stands before it.
        start = line.find(self.delimiter) + 1 if 0 in self.number_columns else 0
        cells = (line[:start] + _THOUSANDS.sub("", line[start:])).split(self.delimiter)
        if len(cells) != self.width:
            return False
        if self.delimiter == TAB:
            return True
        # A comma of a sentence has a blank behind it, and one of a formula stands in brackets.
        if not self.is_spaced and any(cell[:1].isspace() for cell in cells[1:]):
            return False
        if any(cell.count(left) != cell.count(right) for cell in cells for left, right in _BRACKETS):
            return False
        return all(NUMBER.fullmatch(cells[i].strip().strip('"')) for i in self.number_columns)
