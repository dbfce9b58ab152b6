"""Prompt/completion pairs for supervised training, from a JSON-lines file."""

from collections.abc import Sequence
from typing import NamedTuple

from dupo.data.files import choose_column, column_text, read_jsonl
from dupo.data.splits import split_problems
from dupo.records import Message, Problem

PROMPT_COLUMN, COMPLETION_COLUMN = "prompt", "completion"


class Example(NamedTuple):
    """One pair.

    Attributes:
        id: file name and line.
        # TRL's names of the columns, and no others: a guess could train on the wrong text.
        prompt: text of the last message of the user.
        completion: the text to learn.
        history: the messages before the prompt: a system message, earlier turns.
    """

    id: str
    prompt: str
    completion: str
    history: tuple[Message, ...] = ()


def read_examples(
    dataset: str, eval_dataset: str | None, eval_size: int
) -> tuple[list[Example], list[Example]]:
    """Reads (train, held-out) examples.

    Args:
        dataset: JSON-lines file with the columns prompt and completion.
        eval_dataset: file of the held-out examples; None: they come from `dataset`.
        eval_size: number of examples to hold out, chosen by a hash of the prompt.

    Raises:
        UserError: a file cannot be read, lacks a column, or nothing is left to train on.
    """
    eval_problems = _read_pairs(eval_dataset) if eval_dataset is not None else None
    split = split_problems(_read_pairs(dataset), eval_problems, eval_size)
    return _examples(split.train), _examples(split.held_out)


def _read_pairs(path: str) -> list[Problem]:
    """Reads pairs as problems whose gold answer is the completion, because the split works on problems."""
    rows = read_jsonl(path)
    prompt_column = choose_column(rows, path, PROMPT_COLUMN, (), "dataset")
    completion_column = choose_column(rows, path, COMPLETION_COLUMN, (), "dataset")
    for row in rows:
        # A pair without a completion is refused: an empty one would teach the model to say nothing.
        column_text(row, prompt_column, required=True)
        column_text(row, completion_column, required=True)
    # The texts as they stand in the file: an indent or a last line break is part of what is learnt.
    return [Problem(row.id, row[prompt_column], row[completion_column]) for row in rows]


def _examples(problems: Sequence[Problem]) -> list[Example]:
    return [Example(problem.id, problem.text, problem.gold or "") for problem in problems]
