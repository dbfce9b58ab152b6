"""Answers to one prompt from the best to the worst, by TRL's names of columns.

prompt, chosen, rejected   pairs, with `margin` where somebody says by how much the first is better
prompt, completions        a list of answers, the best first: texts, or messages of the assistant
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from dupo.data.columns import RowError, usual_columns, value_at
from dupo.data.contents import as_text
from dupo.data.examples import PROMPT_COLUMN, Example, Examples, read_split
from dupo.data.json_rows import parse_json
from dupo.data.preferences import answers_in, pair_reader
from dupo.data.rows import Row

RANKED_COLUMN, MARGIN_COLUMN = "completions", "margin"


class Ranking(NamedTuple):
    """Answers to one prompt.

    Attributes:
        answers: at least two that differ, the best first.
        margin: of a pair, by how much its first score should be higher; 0 where nobody says.
    """

    answers: tuple[Example, ...]
    margin: float = 0.0


def read_rankings(dataset: str, eval_dataset: str | None, eval_size: int | None) -> Examples[Ranking]:
    """Reads rankings and splits them by their prompts; arguments and errors are those of `read_examples`."""
    columns = f"{PROMPT_COLUMN}, chosen and rejected, or {PROMPT_COLUMN} and {RANKED_COLUMN},"
    files = (dataset, eval_dataset, eval_size)
    return read_split(columns, _reader, lambda ranking: ranking.answers[0], *files, keeps_all=True)


def _reader(rows: Sequence[Row]) -> Callable[[Row], Ranking] | None:
    """How a row is read as a pair, or as a longer list."""
    if (read_pair := pair_reader(rows)) is not None:
        (margin_name,) = usual_columns(rows, [MARGIN_COLUMN]) or ("",)
        return lambda row: Ranking(tuple(read_pair(row)), _margin(row, margin_name))
    names = usual_columns(rows, [f"{PROMPT_COLUMN},{RANKED_COLUMN}"])
    return (lambda row: _ranking(row, *names)) if names else None


def _margin(row: Row, name: str) -> float:
    value = row.get(name)
    if value is None or not str(value).strip():
        return 0.0
    try:
        margin = float(str(value))
    except ValueError:
        margin = math.nan
    # Below 0 the worse answer would be told from the better one by its column alone.
    if not 0 <= margin < math.inf:
        raise RowError(row, f"a number of at least 0 in {name!r}", as_text(value)[:40])
    return margin


def _ranking(row: Row, prompt_name: str, name: str) -> Ranking:
    listed = _list_at(row, name)
    if len(listed) < 2:
        raise RowError(row, f"at least two answers in {name!r}", f"{len(listed)}")
    # An answer of a list is read as if it stood in a column by itself.
    cells = [(Row({name: answer}, row.file_name, row.number, row.unit), name) for answer in listed]
    return Ranking(tuple(answers_in(row, prompt_name, cells)))


def _list_at(row: Row, name: str) -> list[Any]:
    """The list in a column; in a table it stands as JSON."""
    value = value_at(row, name)
    if isinstance(value, str):
        # A cell of a table is a text, and may as well be one answer alone, which ranks nothing.
        try:
            value = parse_json(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, list | tuple):
        raise RowError(row, f"a list of answers, the best first, in {name!r}", as_text(row.get(name))[:40])
    return list(value)
