"""Rows: what every reader of this room gives, whatever the format of the file."""

from collections.abc import Mapping
from typing import Any

PYTHON_ROWS = ".python.jsonl"  # ends the names of files of rows that came from Python, see `NativeNumber`


class NativeNumber(str):
    """A number of rows that came from Python: its text, and for reward functions the number itself."""


def native(value: Any) -> Any:
    """A copy of a value in which numbers that came from Python are numbers again."""
    if isinstance(value, NativeNumber):
        return float(value) if set(value) & set(".eE") else int(value)
    if isinstance(value, dict):
        return {key: native(inner) for key, inner in value.items()}
    return [native(item) for item in value] if isinstance(value, list) else value


class Row(dict[str, Any]):
    """One row of a data set: column -> value.

    Numbers stay the text that the file has ("0.10"), because a binary float would change them.

    Attributes:
        file_name: name of the file, without its folder.
        number: of the line where the row starts, or of the row where the file has no lines; from 1.
        unit: what is counted: line, row, or item of a list.
        may_have_decimal_commas: semicolons stand between the cells, as where 3,5 is written for 3.5.
    """

    def __init__(self, values: Mapping[str, Any], file_name: str, number: int, unit: str = "line") -> None:
        super().__init__(values)
        self.file_name, self.number, self.unit = file_name, number, unit
        self.may_have_decimal_commas = False

    @property
    def id(self) -> str:
        """A name of the row that is unique in its file: "train.jsonl:17"."""
        return f"{self.file_name}:{self.number}"

    @property
    def place(self) -> str:
        """Where the row stands, as error messages say it."""
        return place_of(self.file_name, self.number, self.unit)


def place_of(file_name: str, number: int, unit: str = "line") -> str:
    """Names a line, or another unit, of a file in an error message."""
    return f"{file_name}, {unit} {number}"
