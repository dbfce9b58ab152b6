"""Word problems from the rows of a data set, with the right answers that their solutions state."""

from collections.abc import Sequence

from dupo.config.task_options import TaskOptions
from dupo.data.chats import CHAT_COLUMNS
from dupo.data.columns import LeftOut, RowError, choose_columns, column_text, filled_columns, usual_columns
from dupo.data.files import column_without_name
from dupo.data.questions import question_of
from dupo.data.rows import Row
from dupo.data.sources import read_rows
from dupo.errors import UserError
from dupo.records import Problem
from dupo.tasks.final_answer import gold_answer, last_boxed, same_answer

# The names of public data sets, the first that a file has; several joined by a comma are read together.
QUESTION_COLUMNS = (
    "body,question",  # SVAMP, ASDiv: the numbers stand in the body
    "question",
    "problem",
    "prompt",
    "instruction,input",  # Alpaca
    "instruction",
    "query",
    "input",
    "질문",
    "문제",
    *CHAT_COLUMNS,
)
ANSWER_COLUMNS = (
    "answer",
    "solution",
    "final_answer",
    "final_ans",
    "expected_answer",
    "ground_truth",
    "reward_model.ground_truth",
    "output_answer",
    "output",
    "response",
    "정답",
    "답",
    "풀이",
)
# Columns that hold the choices of a question. Without them the question is another, and its answer a letter.
CHOICES = ("choices", "options", "A,B,C,D")
WORKED = "solution"  # beside an answer: how it is reached, with the answer in a box at the end


def read_problems(
    dataset: str, options: TaskOptions, *, answers_needed: bool
) -> tuple[list[Problem], list[str]]:
    """Reads the problems of a data set; gold answers are extracted and normalised where there are any.

    Args:
        answers_needed: the data set is that of evaluation.

    Returns:
        The problems, and lines for the user: files of a folder that were read, rows that were left out.

    Raises:
        UserError: the data set, or a column that is named or needed, is missing or cannot be read.
    """
    option = "eval_dataset" if answers_needed else "dataset"
    rows, notes = read_rows(dataset, option)
    usual = [*QUESTION_COLUMNS, *column_without_name(rows)]
    columns = choose_columns(rows, dataset, options.question_column, usual, "question_column")
    if options.question_column is None:
        _refuse_choices(rows, columns)
    answer_columns = usual_columns(rows, ANSWER_COLUMNS)
    if options.answer_column is not None:
        answer_columns = choose_columns(rows, dataset, options.answer_column, (), "answer_column")
    worked = usual_columns(rows, [WORKED]) if options.answer_column is None else ()
    disagreements = 0
    left_out, unread, problems = LeftOut(), LeftOut("answers not read"), list[Problem]()
    for row in rows:
        try:
            question = question_of(row, columns)
        except RowError as error:
            left_out.add(error)
            continue
        try:
            solution = _solution(row, answer_columns) if answer_columns else question.answer
        except RowError as error:  # a problem without an answer can still be trained on
            unread.add(error)
            solution = None
        gold = gold_answer(solution) if solution is not None else None
        boxed = _boxed_answer(row, worked)
        if boxed is not None and (gold is None or not same_answer(gold, boxed)):
            disagreements += gold is not None
            gold = boxed
        problems.append(Problem(row.id, question.text, gold, row, question.system))
    left_out.check_rest(problems)
    # Training reads no answer, so a data set without answers is fine unless somebody asks for them.
    if answers_needed and not answer_columns and all(problem.gold is None for problem in problems):
        choose_columns(rows, dataset, None, ANSWER_COLUMNS, "answer_column")
    notes += left_out.notes() + unread.notes()
    if disagreements:
        notes.append(
            f"{disagreements:,} answers are not those in the box of their {WORKED}: the box is taken"
        )
    return problems, notes


def _boxed_answer(row: Row, columns: Sequence[str]) -> str | None:
    """The answer in the box of a worked solution, None where the row has no such box."""
    solution = row.get(columns[0]) if columns else None
    return gold_answer(solution) if isinstance(solution, str) and last_boxed(solution) is not None else None


def _solution(row: Row, columns: Sequence[str]) -> str | None:
    texts = [column_text(row, name, required=False) for name in columns]
    return "\n".join(text for text in texts if text) or None


def _refuse_choices(rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Raises UserError where the choices of multiple-choice questions would not be read."""
    if choices := filled_columns(rows, CHOICES):
        how = "write them into the text"
        if len(choices) > 1:
            how = f"join them with --question_column {','.join([*columns, *choices])}"
        raise UserError(
            f"question_column: expected questions with their choices, got these in {', '.join(choices)} "
            f"beside {', '.join(columns)}: {how}, or name {columns[0]} to leave them out"
        )
