"""Rows of JSON: one object a line, or one list of objects."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dupo.data.contents import mismatch
from dupo.data.look_alikes import USUAL
from dupo.data.rows import PYTHON_ROWS, NativeNumber, Row, place_of
from dupo.errors import UserError, quoted

DEEPEST = 100  # levels of a row: what is nested deeper is no data, and too deep to be copied
_TOO_DEEP = f"nested too deeply, more than {DEEPEST} levels"
_BY_ROWS = "write them row by row, with pandas: df.to_json('rows.jsonl', orient='records', lines=True)"
_EXAMPLE = '{"question": "..."}'


def rows_of_lines(path: Path, lines: list[str]) -> list[Row]:
    """The objects of JSON lines. Blank lines are skipped.

    Raises:
        UserError: names the line that is not a JSON object.
    """
    if lines[0].lstrip().startswith("["):
        _refuse_list(path, lines)
    return [_row(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def rows_of_document(path: Path, lines: list[str]) -> list[Row]:
    """The objects of a list in one JSON document; a file of JSON lines is read as such.

    Raises:
        UserError: the file holds neither.
    """
    text = "\n".join(lines)
    # Many data sets call their JSON lines x.json: a whole object stands in the first line of those.
    first = next(line for line in lines if line.strip())
    if text.lstrip().startswith("{") and _parsed(first)[0] is not None and first.strip() != text.strip():
        return rows_of_lines(path, lines)
    value, error, line = _parsed_with_line(text)
    if error and text.lstrip().startswith("{") and first.strip() != "{":
        return rows_of_lines(path, lines)  # which names the line
    if error:
        place = place_of(str(path), line) if line else path
        raise UserError(f"{place}: expected a JSON list of objects or JSON lines, got an error ({error})")
    if isinstance(value, dict):
        return [_only_row(path, value)]
    if not isinstance(value, list) or not value:
        kind = "an empty list" if isinstance(value, list) else "a single value"
        raise UserError(f"{path}: expected a list of objects such as [{_EXAMPLE}, ...], got {kind}")
    rows = []
    if all(isinstance(item, str) for item in value):
        advice = f"name their column with: jq -c '.[] | {{question: .}}' {path.name} > rows.jsonl"
        raise mismatch(path, "a list of objects", "a list of texts", advice)
    for number, item in enumerate(value, start=1):
        if not isinstance(item, dict):
            raise UserError(f"{place_of(str(path), number, 'item')}: {_no_object(item)}")
        rows.append(Row(item, path.name, number, "item"))
    return rows


def _only_row(path: Path, value: dict[str, Any]) -> Row:
    """The only row of a document; one object around all rows is refused, with the way to take them out."""
    if {"columns", "data"} <= value.keys() and all(isinstance(inner, list) for inner in value.values()):
        to_lines = "to_json('rows.jsonl', orient='records', lines=True)"
        advice = f"with pandas: pd.read_json('{path.name}', orient='split').{to_lines}"
        raise mismatch(
            path, "a list of rows", "one object of columns and data, as pandas splits them", advice
        )
    lists = [key for key, inner in value.items() if isinstance(inner, list) and inner]
    tables = [key for key in lists if all(isinstance(item, dict) for item in value[key])]
    chats = [key for key in tables if all("role" in item or "from" in item for item in value[key])]
    if around := [key for key in tables if key not in chats]:
        raise mismatch(
            path,
            "a list of rows",
            f"one object with the rows in {quoted(around[0])}",
            f"take them out with: jq -c '.[\"{around[0]}\"][]' {path.name} > rows.jsonl",
        )
    if len({len(value[key]) for key in lists}) == 1 and len(lists) == len(value) and not chats:
        raise mismatch(path, "a list of rows", "one object of columns", _BY_ROWS)
    if value and all(isinstance(inner, dict) for inner in value.values()):
        _refuse_keyed_rows(path, value)
    return Row(value, path.name, 1, "item")


def _refuse_keyed_rows(path: Path, value: dict[str, dict[str, Any]]) -> None:
    """Raises UserError for an object of objects: columns of cells, as pandas writes a table, or rows."""
    inner_keys = {key for inner in value.values() for key in inner}
    # pandas counts the rows, and a count is no name of a column.
    are_counts = inner_keys and all(map(str.isdecimal, inner_keys)) and not all(map(str.isdecimal, value))
    are_named = len(value) > 1 and USUAL & _lower(value) and not USUAL & _lower(inner_keys)
    if are_counts or are_named:
        raise mismatch(path, "a list of rows", "one object of columns", _BY_ROWS)
    if len(value) > 1:
        advice = f"take the rows out with: jq -c '.[]' {path.name} > rows.jsonl"
        raise mismatch(path, "a list of rows", "one object with a row under each key", advice)


def _lower(names: Iterable[str]) -> set[str]:
    return {name.lower() for name in names}


def _refuse_list(path: Path, lines: list[str]) -> None:
    """Raises UserError for JSON lines that are one JSON list."""
    value, error = _parsed("\n".join(lines))
    if not error and isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        advice = f"let its name end in .json, or convert it with: jq -c '.[]' {path.name} > rows.jsonl"
        raise mismatch(path, "JSON lines, one object a line", "one JSON list", advice)


def _row(path: Path, number: int, line: str) -> Row:
    value, error = _parsed(line, _NATIVE_DECODER if path.name.endswith(PYTHON_ROWS) else _DECODER)
    if error:
        hint = ""
        if number == 1 and line.strip() in ("{", "["):
            hint = "; a document over several lines needs a name that ends in .json"
        raise UserError(f"{place_of(str(path), number)}: expected valid JSON, got an error ({error}){hint}")
    if not isinstance(value, dict):
        raise UserError(f"{place_of(str(path), number)}: {_no_object(value)}")
    return Row(value, path.name, number)


def _no_object(value: object) -> str:
    return f"expected an object such as {_EXAMPLE}, got {'a list' if isinstance(value, list) else 'a value'}"


def parse_json(text: str) -> Any:
    """A JSON value whose numbers are still text; NaN and Infinity, which Python writes for a gap, are null.

    Raises:
        ValueError, RecursionError: the text is no JSON, has a key of an object twice, or is too deep.
    """
    return _DECODER.decode(text)


class _TwiceError(ValueError):
    """An object has one key twice: one of the values would be lost."""


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for place, key in enumerate(keys) if key in keys[:place])
        raise _TwiceError(f"the key {quoted(twice)} twice in one object")
    return value


# Made once: `json.loads` would make a new one for every line.
def _decoder(number: type[str]) -> json.JSONDecoder:
    def gap(_: str) -> None:
        return None

    return json.JSONDecoder(
        object_pairs_hook=_object_of, parse_int=number, parse_float=number, parse_constant=gap
    )


_DECODER, _NATIVE_DECODER = _decoder(str), _decoder(NativeNumber)


def _comma_hint(error: json.JSONDecodeError) -> str:
    """What to do about a comma behind the last value, which JSON does not have."""
    before, behind = error.doc[: error.pos].rstrip(), error.doc[error.pos :].lstrip()
    if (before.endswith(",") and behind[:1] in ("]", "}")) or behind == ",":
        return "; take out the comma behind the last value"
    return ""


def _parsed(text: str, decoder: json.JSONDecoder | None = None) -> tuple[Any, str]:
    """A JSON value whose numbers are still text, and what is wrong with it; empty where nothing is."""
    value, error, _ = _parsed_with_line(text, decoder)
    return value, error


def _parsed_with_line(text: str, decoder: json.JSONDecoder | None = None) -> tuple[Any, str, int]:
    """As `_parsed`, and the line of the fault, from 1; 0 for none."""
    try:
        value = (decoder or _DECODER).decode(text)
    except json.JSONDecodeError as error:
        return None, error.msg + _comma_hint(error), error.lineno
    except _TwiceError as error:
        return None, str(error), 0
    except RecursionError:
        return None, _TOO_DEEP, 0
    # A text without so many brackets is not that deep, so most are not looked at again.
    if text.count("[") + text.count("{") > DEEPEST and _depth(value) > DEEPEST:
        return None, _TOO_DEEP, 0
    return value, "", 0


def _depth(value: Any) -> int:
    """How many levels of lists and objects a JSON value has, at most DEEPEST + 1."""
    depth, level = 0, [value]
    # Level by level and not by recursion, which is what a deep value would break.
    while depth <= DEEPEST and (level := [item for item in level if isinstance(item, dict | list)]):
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth
