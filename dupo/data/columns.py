"""Columns of rows: which to read, and the text in them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dupo.config.values import listed
from dupo.data.contents import as_text, missing_header, shown_names
from dupo.data.rows import Row
from dupo.errors import UserError

SURROGATE = re.compile("[\ud800-\udfff]")


class RowError(UserError):
    """A row that cannot be used.

    Attributes:
        place: where the row stands.
        expected: what such rows lack, the same words for all of them.
        got: what stands in the row instead.
    """

    def __init__(self, row: Row, expected: str, got: str) -> None:
        super().__init__(f"{row.place}: expected {expected}, got {got}")
        self.place, self.expected, self.got = row.place, expected, got


class LeftOut:
    """Rows that were left out, counted by the reason.

    Args:
        what: became of the rows, for the notes.
    """

    def __init__(self, what: str = "rows left out") -> None:
        self.what = what
        self._errors: dict[str, list[RowError]] = {}

    def add(self, error: RowError) -> None:
        """Counts one row."""
        self._errors.setdefault(error.expected, []).append(error)

    def check_rest(self, rest: Sequence[object]) -> None:
        """Raises the error of the first row where no row is left."""
        if not rest and self._errors:
            raise min((errors[0] for errors in self._errors.values()), key=lambda error: str(error))

    def notes(self) -> list[str]:
        """One line for every reason, for the start-up table."""
        return [
            f"{self.what}: {len(errors):,}, expected {expected} "
            f"(first: {errors[0].place}, got {errors[0].got})"
            for expected, errors in self._errors.items()
        ]


def column_names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Lists every column of any row, in the order in which the columns first come."""
    return list(dict.fromkeys(name for row in rows for name in row))


def value_at(row: Mapping[str, Any], name: str) -> Any:
    """The value in a column, or inside one by a dotted name (`reward_model.ground_truth`); None: no such."""
    if name in row:
        return row[name]
    value: Any = row
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def choose_columns(
    rows: Sequence[Mapping[str, Any]],
    path: str | Path,
    wanted: str | None,
    usual: Sequence[str],
    option: str,
) -> tuple[str, ...]:
    """Returns the columns to read: those that are `wanted`, or the first of the usual ones that there are.

    Args:
        wanted: name of a column, or several with commas between them; a dotted name reads inside a column.
        usual: see `usual_columns`.
        option: the option by which the user chooses, for the message.

    Raises:
        UserError: there is no such column; the message lists the columns of the file.
    """
    names = column_names(rows)
    if wanted is None:
        if columns := usual_columns(rows, usual):
            return columns
        # The first names are enough to see what is meant.
        expected = " or ".join([name for name in usual if "," not in name][:3])
        hint = f": name the right one with --{option}" if option.endswith("_column") and names else ""
        raise UserError(f"{_no_column(path, names, expected, option)}{missing_header(names) or hint}")
    # A column that the user names is never replaced by a usual one: the wrong text would be read in silence.
    wanted_names = (wanted,) if wanted in names else tuple(listed(wanted))
    if missing := [name for name in wanted_names if not _has(rows, names, name)]:
        raise UserError(f"{_no_column(path, names, repr(missing[0]), option)}{missing_header(names)}")
    return wanted_names


def usual_columns(rows: Sequence[Mapping[str, Any]], usual: Sequence[str]) -> tuple[str, ...]:
    """Returns the first of some columns that the rows have; empty where they have none.

    Columns that are empty in every row are returned only where there are no others.

    Args:
        usual: each the name of a column, or several with commas; upper and lower case are the same.
    """
    groups = _columns_of_rows(rows, usual)
    return next((group for group in groups if _all_filled(rows, group)), next(iter(groups), ()))


def filled_columns(rows: Sequence[Mapping[str, Any]], usual: Sequence[str]) -> tuple[str, ...]:
    """Returns the first of some columns that hold a value in some row; see `usual_columns`."""
    return next((group for group in _columns_of_rows(rows, usual) if _all_filled(rows, group)), ())


def _columns_of_rows(rows: Sequence[Mapping[str, Any]], usual: Sequence[str]) -> list[tuple[str, ...]]:
    names = column_names(rows)
    by_lower = {name.lower(): name for name in reversed(names)} | {name: name for name in names}
    groups = [tuple(by_lower.get(name, name) for name in group.split(",")) for group in usual]
    return [group for group in groups if all(_has(rows, names, name) for name in group)]


def _all_filled(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> bool:
    return all(any(_is_filled(value_at(row, name)) for row in rows) for name in names)


def _is_filled(value: object) -> bool:
    empty = not value.strip() if isinstance(value, str) else isinstance(value, list | dict) and not value
    return value is not None and not empty


def _has(rows: Sequence[Mapping[str, Any]], names: Sequence[str], name: str) -> bool:
    return name in names or ("." in name and any(value_at(row, name) is not None for row in rows))


def _no_column(path: str | Path, names: Sequence[str], expected: str, option: str) -> str:
    actual = shown_names(names) or "no column"
    return f"{option}: expected a column {expected} in {Path(path).name}, got {actual}"


def column_text(row: Row, name: str, *, required: bool) -> str | None:
    """Returns the text of one column of a row, stripped; None where the column is absent, null or blank.

    Raises:
        RowError: no text though `required`, neither text nor a number, or half a surrogate pair.
    """
    # Line ends of Windows are those of the file, and tables in text do not hold them.
    text = raw_text(row, name, value_at(row, name)).replace("\r\n", "\n").strip()
    if not text and required:
        raise RowError(row, f"text in {name!r}", "none")
    return text or None


def raw_text(row: Row, name: str, value: Any) -> str:
    """A value as it stands in the file, empty for null.

    Raises:
        RowError: neither text nor a number, or half a surrogate pair.
    """
    if value is not None and not isinstance(value, str):
        raise RowError(row, f"text or a number in {name!r}", as_text(value)[:40])
    # JSON can escape half a surrogate pair, but no tokenizer takes it: it has no UTF-8.
    if SURROGATE.search(value or ""):
        raise RowError(row, f"text in {name!r}", "half a surrogate pair")
    return value or ""
