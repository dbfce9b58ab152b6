"""Pairs of prompt and completion for supervised training, by TRL's names of columns.

prompt, completion   both text, or both lists of messages
messages             the last message, of the assistant, is the completion; all before it are the prompt
"""

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from dupo.data.chats import CHAT_COLUMNS, messages_at
from dupo.data.columns import LeftOut, RowError, column_names, raw_text, usual_columns
from dupo.data.contents import missing_header, shown_names
from dupo.data.rows import Row
from dupo.data.sources import read_rows
from dupo.data.splits import copies_note, evaluation_note, split_problems, with_texts_of
from dupo.errors import UserError
from dupo.progress import telling
from dupo.records import Message, Problem

# TRL's names, and no others: a guess could train on the wrong text.
PROMPT_COLUMN, COMPLETION_COLUMN = "prompt", "completion"
Item = TypeVar("Item")


class Example(NamedTuple):
    """One pair.

    Attributes:
        id: file name and line.
        prompt: text of the last message of the user.
        completion: the text to learn.
        history: the messages before the prompt: a system message, earlier turns.
    """

    id: str
    prompt: str
    completion: str
    history: tuple[Message, ...] = ()

    @property
    def whole_prompt(self) -> str:
        """What tells prompts apart: two chats that end in "Why?" are different prompts."""
        return "\n".join([*(message.content for message in self.history), self.prompt])


class Examples(NamedTuple, Generic[Item]):
    """The examples of a run, or what else the rows of a file are read as.

    Attributes:
        train: to learn from.
        held_out: to measure with; no prompt stands in both.
        notes: what was read, what was left out and why, for the start-up table.
    """

    train: list[Item]
    held_out: list[Item]
    notes: list[str]


def read_examples(dataset: str, eval_dataset: str | None, eval_size: int | None) -> Examples[Example]:
    """Reads examples and splits them.

    Args:
        dataset: what `read_rows` reads.
        eval_dataset: the same, of the held-out examples; None: they come from `dataset`.
        eval_size: number of examples to hold out, chosen by a hash of the prompt; None: see `split_problems`.

    Raises:
        UserError: a file cannot be read, lacks a column, or nothing is left to train on.
    """
    columns = f"{PROMPT_COLUMN} and {COMPLETION_COLUMN}, or messages,"
    return read_split(columns, example_reader, lambda example: example, dataset, eval_dataset, eval_size)


def read_split(
    columns: str,
    reader: Callable[[Sequence[Row]], Callable[[Row], Item] | None],
    example_of: Callable[[Item], Example],
    dataset: str,
    eval_dataset: str | None,
    eval_size: int | None,
    *,
    keeps_all: bool = False,
) -> Examples[Item]:
    """Reads the rows of a file and splits them by their prompts.

    Args:
        columns: that the rows must have, in words.
        reader: makes the function that reads a row, which raises `RowError`; None where columns are missing.
        example_of: the prompt of what a row was read as, with the answer that is right.
        dataset, eval_dataset, eval_size: see `read_examples`.
        keeps_all: hold all rows of a held-out prompt out, and not the first alone.

    Raises:
        UserError: as `read_examples`.
    """

    def read(path: str, option: str) -> tuple[list[Problem], list[str]]:
        """The rows as problems, because the split works on problems."""
        rows, notes = read_rows(path, option)
        read_row = reader(rows)
        if read_row is None:
            got = shown_names(column_names(rows)) or "no column"
            advice = missing_header(column_names(rows)) or ": rename the columns of the data"
            raise UserError(f"{option}: expected columns {columns} in {path}, got {got}{advice}")
        problems, left_out = [], LeftOut()
        for row in telling("rows", rows):
            try:
                item = read_row(row)
            except RowError as error:
                left_out.add(error)
                continue
            example = example_of(item)
            problems.append(Problem(row.id, example.whole_prompt, example.completion, {"item": item}))
        left_out.check_rest(problems)
        return problems, notes + left_out.notes()

    eval_problems, notes = None, list[str]()
    if eval_dataset is not None:
        eval_problems, notes = read(eval_dataset, "eval_dataset")
    problems, own_notes = read(dataset, "dataset")
    split = split_problems(problems, eval_problems, eval_size)
    source = problems if eval_problems is None else eval_problems
    if keeps_all:  # eval_size counts prompts
        split = split._replace(held_out=with_texts_of(source, split.held_out))
    notes = own_notes + notes + evaluation_note(source, split.held_out, eval_size, "no pair held out")
    notes += copies_note(len(problems), split, are_apart=eval_problems is not None)
    train, held_out = ([problem.columns["item"] for problem in side] for side in split)
    return Examples(train, held_out, notes)


def example_reader(rows: Sequence[Row]) -> Callable[[Row], Example] | None:
    """How a row is read as a pair of prompt and completion."""
    if pair := usual_columns(rows, [f"{PROMPT_COLUMN},{COMPLETION_COLUMN}"]):
        return lambda row: _pair(row, *pair)
    if chat := usual_columns(rows, CHAT_COLUMNS):
        return lambda row: last_turn(row, chat[0], _messages(row, chat[0]))
    return None


def _pair(row: Row, prompt_column: str, completion_column: str) -> Example:
    prompt, completion = messages_at(row, prompt_column), messages_at(row, completion_column)
    if prompt is None and completion is None:
        # The texts as they stand in the file: an indent or a last line break is part of what is learnt.
        text = raw_text(row, prompt_column, row.get(prompt_column))
        learnt = raw_text(row, completion_column, row.get(completion_column))
        return _with_text(row, Example(row.id, text, learnt), prompt_column, completion_column)
    if prompt is None:
        prompt = [Message("user", raw_text(row, prompt_column, row.get(prompt_column)))]
    if completion is None:
        completion = [Message("assistant", raw_text(row, completion_column, row.get(completion_column)))]
    return last_turn(row, completion_column, [*prompt, *completion])


def _messages(row: Row, name: str) -> list[Message]:
    messages = messages_at(row, name)
    if messages is None:
        raise RowError(row, f"a list of messages in {name!r}", "none")
    return messages


def last_turn(row: Row, name: str, messages: Sequence[Message]) -> Example:
    """The last question of a chat with its answer.

    Raises:
        RowError: the chat does not end so, or one of both is empty.
    """
    roles = [message.role for message in messages]
    if roles[-2:] != ["user", "assistant"]:
        got = ", ".join(roles[-2:])
        raise RowError(row, f"a message of the user and then one of the assistant last in {name!r}", got)
    *history, prompt, completion = messages
    example = Example(row.id, prompt.content, completion.content, tuple(history))
    return _with_text(row, example, name, name)


def _with_text(row: Row, example: Example, prompt_column: str, completion_column: str) -> Example:
    """The example, if both of its texts are there: an empty completion would teach to say nothing."""
    for name, text in ((prompt_column, example.prompt), (completion_column, example.completion)):
        if not text.strip():
            raise RowError(row, f"text in {name!r}", "none")
    return example
