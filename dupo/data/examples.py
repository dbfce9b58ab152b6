"""Prompt/completion pairs for supervised training, from a JSON-lines file."""

from pathlib import Path
from typing import NamedTuple

from dupo.data.files import column, make_split, read_jsonl, text_at
from dupo.records import Problem

PROMPT_COLUMN, COMPLETION_COLUMN = "prompt", "completion"


class Example(NamedTuple):
    """One pair.

    Attributes:
        id: file name and line.
        prompt: text of the user message.
        completion: the text to learn.
    """

    id: str
    prompt: str
    completion: str


def read_examples(
    dataset: str, eval_dataset: str | None, eval_size: int
) -> tuple[list[Example], list[Example]]:
    """Reads (train, held-out) examples.

    Args:
        dataset: JSON-lines file with the columns prompt and completion.
        eval_dataset: file of the held-out examples.
        eval_size: without `eval_dataset`, so many examples of `dataset` are held out, by a hash of the
            prompt.

    Raises:
        UserError: a file cannot be read, lacks a column, or nothing is left to train on.
    """
    eval_problems = _read(eval_dataset) if eval_dataset is not None else None
    train, held_out = make_split(_read(dataset), eval_problems, eval_size)
    return _examples(train), _examples(held_out)


def _read(path: str) -> list[Problem]:
    """The pairs as problems whose gold answer is the completion: the split of the data works on problems."""
    rows = read_jsonl(path)
    prompt = column(rows, path, PROMPT_COLUMN, (), "dataset")
    completion = column(rows, path, COMPLETION_COLUMN, (), "dataset")
    return [
        Problem(
            f"{Path(path).name}:{getattr(row, 'line', '?')}",
            text_at(row, path, prompt, needed=True) or "",
            text_at(row, path, completion, needed=True),
        )
        for row in rows
    ]


def _examples(problems: list[Problem]) -> list[Example]:
    return [Example(problem.id, problem.text, problem.gold or "") for problem in problems]
