"""Pairs of a better and a worse answer, by TRL's names of columns.

prompt, chosen, rejected   texts, or lists of messages; chosen and rejected may be whole chats
chosen, rejected           whole chats, which differ in their last message alone
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from dupo.data.chats import messages_at
from dupo.data.columns import RowError, raw_text, usual_columns
from dupo.data.examples import PROMPT_COLUMN, Example, Examples, last_turn, read_split
from dupo.data.rows import Row
from dupo.records import Message

CHOSEN_COLUMN, REJECTED_COLUMN = "chosen", "rejected"


class Pair(NamedTuple):
    """Two answers to one prompt."""

    chosen: Example
    rejected: Example


def read_pairs_of_answers(dataset: str, eval_dataset: str | None, eval_size: int | None) -> Examples[Pair]:
    """Reads pairs and splits them by their prompts; arguments and errors are those of `read_examples`."""
    columns = f"{PROMPT_COLUMN}, {CHOSEN_COLUMN} and {REJECTED_COLUMN}"
    # A prompt may have several pairs, and all of them are of one side.
    files = (dataset, eval_dataset, eval_size)
    return read_split(columns, pair_reader, lambda pair: pair.chosen, *files, keeps_all=True)


def pair_reader(rows: Sequence[Row]) -> Callable[[Row], Pair] | None:
    """How a row is read as a pair."""
    names = usual_columns(rows, [f"{CHOSEN_COLUMN},{REJECTED_COLUMN}"])
    (prompt_name,) = usual_columns(rows, [PROMPT_COLUMN]) or (PROMPT_COLUMN,)
    return (lambda row: _pair(row, prompt_name, names)) if names else None


def _pair(row: Row, prompt_name: str, names: Sequence[str]) -> Pair:
    return Pair(*answers_in(row, prompt_name, [(row, name) for name in names]))


def answers_in(row: Row, prompt_name: str, cells: Sequence[tuple[Row, str]]) -> list[Example]:
    """The answers to the prompt of a row.

    Args:
        cells: where an answer stands: a row, and the name of its column.

    Raises:
        RowError: something is no answer; or two answers are the same, or to different prompts.
    """
    prompt = _prompt(row, prompt_name)
    answers = [last_turn(cell, name, _chat(cell, prompt, prompt_name, name)) for cell, name in cells]
    # Answers to other questions say nothing of each other.
    if len({answer._replace(completion="") for answer in answers}) > 1:
        raise RowError(row, "chats that differ in their last message alone", "others")
    # White space alone is nothing to like.
    if len({answer.completion.strip() for answer in answers}) < len(answers):
        raise RowError(row, "answers that differ", "the same twice")
    return answers


def _prompt(row: Row, name: str) -> list[Message]:
    """The messages of the column of the prompt; none where there is none."""
    # Whether that matters is known with the answers, which may be whole chats.
    messages = messages_at(row, name)
    if messages is not None:
        return messages
    text = raw_text(row, name, row.get(name))
    return [Message("user", text)] if text.strip() else []


def _chat(row: Row, prompt: Sequence[Message], prompt_name: str, name: str) -> list[Message]:
    """The whole chat that ends in the answer of a column."""
    messages = messages_at(row, name) or [Message("assistant", raw_text(row, name, row.get(name)))]
    # As in TRL: a chat that starts before its answer brings the prompt, whatever the column of it says.
    if messages[0].role != "assistant":
        return messages
    if not prompt:
        raise RowError(row, f"text in {prompt_name!r}", "none")
    return [*prompt, *messages]
