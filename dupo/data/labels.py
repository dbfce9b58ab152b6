"""Answers that are good or bad, each by itself, by TRL's names of columns.

prompt, completion, label   texts or lists of messages; whether the completion is good
prompt, chosen, rejected    pairs, of which each makes a good answer and a bad one
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

from dupo.data.columns import RowError, usual_columns
from dupo.data.examples import COMPLETION_COLUMN, PROMPT_COLUMN, Example, Examples, example_reader, read_split
from dupo.data.preferences import pair_reader
from dupo.data.rows import Row
from dupo.errors import UserError

LABEL_COLUMN = "label"
# As JSON, Python, tables and numpy write the two values, in lower case.
_LABELS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


class Labelled(NamedTuple):
    """An answer, and whether it is good."""

    example: Example
    desirable: bool


def read_labelled(dataset: str, eval_dataset: str | None, eval_size: int | None) -> Examples[Labelled]:
    """Reads labelled answers and splits them by their prompts; arguments are those of `read_examples`.

    Raises:
        UserError: as `read_examples`; or all answers to train on have one label.
    """
    columns = f"{PROMPT_COLUMN}, {COMPLETION_COLUMN} and {LABEL_COLUMN}, or chosen and rejected,"
    # Both labels of a prompt are held out, not the first of its rows alone.
    files = (dataset, eval_dataset, eval_size)
    read = read_split(columns, _reader, lambda items: items[0].example, *files, keeps_all=True)
    train, held_out = list(chain(*read.train)), list(chain(*read.held_out))
    labels = {item.desirable for item in train}
    if len(labels) == 1:
        raise UserError(f"dataset: expected answers of both labels, got {str(labels.pop()).lower()} alone")
    return Examples(train, held_out, read.notes)


def _reader(rows: Sequence[Row]) -> Callable[[Row], tuple[Labelled, ...]] | None:
    """How a row is read as one answer, or as the two of a pair."""
    names, read_answer = usual_columns(rows, [LABEL_COLUMN]), example_reader(rows)
    if names and read_answer is not None:
        return lambda row: (Labelled(read_answer(row), _label(row, names[0])),)
    # A file of pairs has labels in the names of its columns.
    read_pair = pair_reader(rows)
    if read_pair is None:
        return None
    return lambda row: _both(*read_pair(row))


def _both(chosen: Example, rejected: Example) -> tuple[Labelled, ...]:
    # Ids tell answers apart.
    return Labelled(chosen, True), Labelled(rejected._replace(id=f"{rejected.id} (rejected)"), False)


def _label(row: Row, name: str) -> bool:
    value = row.get(name)
    label = _LABELS.get(str(value).strip().lower())
    if label is None:
        raise RowError(row, f"true or false in {name!r}", repr(value))
    return label
