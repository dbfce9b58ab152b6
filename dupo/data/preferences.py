"""Pairs of a better and a worse answer, by TRL's names of columns.

prompt, chosen, rejected   texts, or lists of messages; chosen and rejected may be whole chats
chosen, rejected           whole chats, which differ in their last message alone
"""

from collections.abc import Sequence
from typing import NamedTuple

from dupo.data.chats import messages_at
from dupo.data.columns import LeftOut, RowError, column_names, raw_text, usual_columns
from dupo.data.contents import missing_header, shown_names
from dupo.data.examples import PROMPT_COLUMN, Example, last_turn, read_split
from dupo.data.rows import Row
from dupo.data.sources import read_rows
from dupo.errors import UserError
from dupo.progress import telling
from dupo.records import Message, Problem

CHOSEN_COLUMN, REJECTED_COLUMN = "chosen", "rejected"


class Pair(NamedTuple):
    """Two answers to one prompt."""

    chosen: Example
    rejected: Example


class Pairs(NamedTuple):
    """The pairs of a run.

    Attributes:
        train: to learn from.
        held_out: to measure with; no prompt stands in both.
        notes: what was read, what was left out and why, for the start-up table.
    """

    train: list[Pair]
    held_out: list[Pair]
    notes: list[str]


def read_pairs_of_answers(dataset: str, eval_dataset: str | None, eval_size: int | None) -> Pairs:
    """Reads pairs and splits them by their prompts; arguments and errors are those of `read_examples`."""
    split, notes = read_split(_read, dataset, eval_dataset, eval_size)
    return Pairs(_pairs(split.train), _pairs(split.held_out), notes)


def _read(path: str, option: str) -> tuple[list[Problem], list[str]]:
    """Reads pairs as problems whose right answer is the chosen one."""
    rows, notes = read_rows(path, option)
    names = usual_columns(rows, [f"{CHOSEN_COLUMN},{REJECTED_COLUMN}"])
    if not names:
        expected = f"columns {PROMPT_COLUMN}, {CHOSEN_COLUMN} and {REJECTED_COLUMN} in {path}"
        got = shown_names(column_names(rows)) or "no column"
        advice = missing_header(column_names(rows)) or ": rename the columns of the data"
        raise UserError(f"{option}: expected {expected}, got {got}{advice}")
    (prompt_name,) = usual_columns(rows, [PROMPT_COLUMN]) or (PROMPT_COLUMN,)
    problems, left_out = [], LeftOut()
    for row in telling("rows", rows):
        try:
            pair = _pair(row, prompt_name, names)
        except RowError as error:
            left_out.add(error)
            continue
        chosen = pair.chosen
        problems.append(Problem(row.id, chosen.whole_prompt, chosen.completion, {"pair": pair}))
    left_out.check_rest(problems)
    return problems, notes + left_out.notes()


def _pair(row: Row, prompt_name: str, names: Sequence[str]) -> Pair:
    prompt = _prompt(row, prompt_name)
    chosen, rejected = (last_turn(row, name, _chat(row, prompt, prompt_name, name)) for name in names)
    # Answers to other questions say nothing of each other.
    if chosen._replace(completion="") != rejected._replace(completion=""):
        raise RowError(row, "chats that differ in their last message alone", "others")
    # White space alone is nothing to like.
    if chosen.completion.strip() == rejected.completion.strip():
        raise RowError(row, "two answers that differ", "the same twice")
    return Pair(chosen, rejected)


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


def _pairs(problems: Sequence[Problem]) -> list[Pair]:
    return [problem.columns["pair"] for problem in problems]
