"""Texts that are rows of another format: a row read as a problem would show its answer, or be no problem.

A text that merely has braces or commas is none of them: such a file has names of columns, or parses whole.
"""

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from dupo.data.contents import NUMBER

# How rows of JSON, or of Python, start: brackets alone in a line, or the name of a key.
_JSON_START = re.compile(
    r"""[\[{\s]+\Z | \[?\s*\{\s*("[^"]*"|'[^']*')\s*: | \[?\s*\{\s*\w+\s*:\s*["']""", re.VERBOSE
)
_LABEL = re.compile(r"\s*(?:-\s+)?\W?(\w+)\W?\s*:")  # question: ..., as in YAML
_NAME = re.compile(r"[^\W\d]\w*([.-]\w+)*")
_QUESTIONS = {"question", "problem", "prompt", "instruction", "query", "body", "input", "질문", "문제"}
_ANSWERS = {"answer", "solution", "completion", "output", "response", "final_answer", "정답", "답", "풀이"}
_OTHERS = {"id", "text", "context", "messages", "choices", "options", "source", "target", "level", "type"}
USUAL = _QUESTIONS | _ANSWERS | _OTHERS


class Format(NamedTuple):
    """What a text is, and how to have it read as that."""

    kind: str
    advice: str


def other_format(lines: Sequence[str]) -> Format | None:
    """The format of a text that should hold one problem a line; None where the lines are problems.

    Args:
        lines: those with text, at least one.
    """
    if _is_json(lines):
        return Format("JSON", "let its name end in .jsonl (one object a line) or .json (a list)")
    if _has_labels(lines):
        advice = 'write a row for each pair, {"question": ..., "answer": ...}, into a .jsonl file'
        return Format("questions with their answers", advice)
    # A line of a table with tabs may have commas as well, so tabs are looked at first.
    if _has_columns(lines, "\t"):
        return Format(
            "a table with tabs", "let its name end in .tsv, with the names of the columns in the first line"
        )
    if any(_has_columns(lines, delimiter) for delimiter in ",;"):
        return Format("a table with a header", "let its name end in .csv")
    if _has_columns(lines, "|"):
        return Format("a table with a header", "save the table as .csv, with a comma between two cells")
    return None


def _is_json(lines: Sequence[str]) -> bool:
    if _JSON_START.match(lines[0].lstrip()):
        return True
    starts = [line for line in lines if line.lstrip().startswith(("{", "["))]
    return any(is_json_rows(text) for text in starts)


def is_json_rows(text: str) -> bool:
    """Whether a text is an object of JSON with a key, or a list of objects or texts."""
    try:
        value = json.loads(text.strip().removesuffix(","))
    except (ValueError, RecursionError):
        return False
    items = value if isinstance(value, list) else [value]
    return any(isinstance(item, dict | str) and item for item in items)


def _has_labels(lines: Sequence[str]) -> bool:
    labels = {match[1].lower() for line in lines if (match := _LABEL.match(line))}
    return bool(labels & _QUESTIONS and labels & _ANSWERS)


def _has_columns(lines: Sequence[str], delimiter: str) -> bool:
    """Whether the first line names columns: two usual names, or names above rows of as many cells."""
    if delimiter not in lines[0]:
        return False
    if delimiter == "\t" and len(lines) > 1 and len({line.count("\t") for line in lines}) == 1:
        return True
    names = [name.strip().strip("\"'") for name in lines[0].split(delimiter)]
    if not all(_NAME.fullmatch(name) for name in names):
        return False
    num_usual = sum(name.lower() in USUAL for name in names)
    if num_usual > 1 or (delimiter != "|" and " " not in lines[0].strip() and _all_have(lines, ",;")):
        return True
    # "Hello, world" above "Yes, sir" has as many cells: sentences have no column of numbers.
    rows = _cells(lines, delimiter)[1:]
    if not rows or any(len(row) != len(names) for row in rows):
        return False
    columns = zip(*rows, strict=True)
    return num_usual == 1 or any(all(map(NUMBER.fullmatch, column)) for column in columns)


def _all_have(lines: Sequence[str], delimiters: str) -> bool:
    return all(any(delimiter in line for delimiter in delimiters) for line in lines)


def _cells(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """The rows of a table, where line ends may stand inside quotes; empty for no table."""
    text = io.StringIO("\n".join(lines), newline="")
    try:
        rows = csv.reader(text, delimiter=delimiter, strict=True, skipinitialspace=True)
        return [[cell.strip() for cell in row] for row in rows if row]
    except csv.Error:
        return []
