"""Word problems from the rows of a data set, with the right answers that their solutions state."""

import re
from collections.abc import Sequence

from dupo.config.task_options import TaskOptions
from dupo.data.chats import CHAT_COLUMNS
from dupo.data.columns import (
    LeftOut,
    RowError,
    choose_columns,
    column_names,
    column_text,
    filled_columns,
    usual_columns,
    value_at,
)
from dupo.data.contents import LONGEST_NAME, shown_names
from dupo.data.files import column_without_name
from dupo.data.questions import question_of
from dupo.data.rows import Row
from dupo.data.sources import read_rows
from dupo.errors import UserError
from dupo.progress import telling
from dupo.records import Problem
from dupo.tasks.final_answer import gold_answer, last_boxed, same_answer

# The names of public data sets, the first that a file has; several joined by a comma are read together.
QUESTION_COLUMNS = (
    "body,question",  # SVAMP, ASDiv: the numbers stand in the body
    "question",
    "problem",
    "prompt",
    "instruction,input",  # Alpaca
    "instruction,context",  # Dolly
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
# Columns without which a question beside them may have no answer, as in SQuAD.
CONTEXTS = ("context", "passage", "story", "paragraph", "article", "background", "input")
# What stands for an answer where there is none; "none" itself may be the answer.
_NO_ANSWER = re.compile(
    r"[-\u2010-\u2015_.?\s]*|n/a|n\.a\.?|nan|null|unknown|tbd|알 수 없음|미상|해당 없음|未知|不明",
    re.IGNORECASE,
)
# Between semicolons 3,5 may be a decimal or a list; beside such a number 1,250 and 1.250 have two readings.
_UNIT = r"(\s?[^\d\s,.].*)?"
_DECIMAL_COMMA = re.compile(r"[-+€£]?\s?(?!\d{1,3},\d{3}(?!\d))\d[\d.]*(,|\{,\})\d+" + _UNIT)
_UNCLEAR_MARK = re.compile(r"[-+€£]?\s?(\d[\d.]*(,|\{,\})\d+|\d{1,3}\.\d{3})" + _UNIT)
_EMPTY_BOX = re.compile(r"\\f?boxed ?\{\s*\}")
# Columns that hold the choices of a question. Without them the question is another, and its answer a letter.
CHOICES = ("choices", "options", "A,B,C,D")
WORKED = "solution"  # beside an answer: how it is reached, with the answer in a box at the end


def read_problems(
    dataset: str, options: TaskOptions, *, answers_needed: bool
) -> tuple[list[Problem], list[str]]:
    """The problems and notes of `read_with_columns` without its line on the columns."""
    problems, _, notes = read_with_columns(dataset, options, answers_needed=answers_needed)
    return problems, notes


def read_with_columns(
    dataset: str, options: TaskOptions, *, answers_needed: bool
) -> tuple[list[Problem], list[str], list[str]]:
    """Reads the problems of a data set; gold answers are extracted and normalised where there are any.

    Args:
        answers_needed: the data set is that of evaluation.

    Returns:
        The problems; the line for the user on the columns that were read, none for files without columns;
        lines on the files of a folder that were read, and on rows that were left out.

    Raises:
        UserError: the data set, or a column that is named or needed, is missing or cannot be read.
    """
    option = "eval_dataset" if answers_needed else "dataset"
    rows, notes = read_rows(dataset, option)
    usual = [*QUESTION_COLUMNS, *column_without_name(rows)]
    columns = choose_columns(rows, dataset, options.question_column, usual, "question_column")
    if options.question_column is None:
        _refuse_choices(rows, columns)
        _refuse_contexts(rows, columns)
    answer_columns = usual_columns(rows, ANSWER_COLUMNS)
    if options.answer_column is not None:
        answer_columns = choose_columns(rows, dataset, options.answer_column, (), "answer_column")
    worked = usual_columns(rows, [WORKED]) if options.answer_column is None else ()
    has_commas = _has_decimal_commas(rows, answer_columns)
    disagreements = 0
    left_out, unread, problems = LeftOut(), LeftOut("answers not read"), list[Problem]()
    for row in telling("rows", rows):
        try:
            question = question_of(row, columns)
        except RowError as error:
            left_out.add(error)
            continue
        boxed, error = _boxed_answer(row, worked, has_decimal_commas=has_commas), None
        try:
            gold = _stated_answer(row, answer_columns, question.answer, has_decimal_commas=has_commas)
        except RowError as lack:  # a problem without an answer can still be trained on
            gold, error = None, lack
        if boxed is not None and (gold is None or not same_answer(gold, boxed)):
            disagreements += gold is not None
            gold = boxed
        if error is not None and gold is None:
            unread.add(error)
        # All problems have the form of the first, as in TRL: no reward function is to look at each.
        is_chat = problems[0].is_chat if problems else question.is_chat
        problems.append(Problem(row.id, question.text, gold, row, question.system, is_chat))
    left_out.check_rest(problems)
    # Training reads no answer, so a data set without answers is fine unless somebody asks for them.
    if answers_needed and not answer_columns and all(problem.gold is None for problem in problems):
        choose_columns(rows, dataset, None, ANSWER_COLUMNS, "answer_column")
    in_chat = not answer_columns and any(problem.gold is not None for problem in problems)
    answers = [*answer_columns, *worked, *(["the chat"] if in_chat and not worked else [])]
    notes += left_out.notes() + unread.notes()
    if disagreements:
        notes.append(
            f"{disagreements:,} answers are not those in the box of their {WORKED}: the box is taken"
        )
    return problems, _columns_note(rows, columns, answers), notes


def _columns_note(rows: Sequence[Row], questions: Sequence[str], answers: Sequence[str]) -> list[str]:
    """The line for the user on the columns that were read; none for files that have no columns."""
    if column_without_name(rows):
        return []
    shown = ", ".join(dict.fromkeys(answers)) or "no usual name"
    others = [name for name in column_names(rows) if name not in questions]
    # An answer under another name would be left out in silence, and with it the evaluation.
    lack = f" among {shown_names(others)} (--answer_column names it)" if others and not answers else ""
    return [f"question: {', '.join(questions)}, answer: {shown if others else 'none'}{lack}"]


def _boxed_answer(row: Row, columns: Sequence[str], *, has_decimal_commas: bool) -> str | None:
    """The answer in the box of a worked solution, None where the row has no such box."""
    solution = row.get(columns[0]) if columns else None
    if not isinstance(solution, str) or last_boxed(solution) is None:
        return None
    return None if has_decimal_commas and _is_unclear(row, solution) else gold_answer(solution)


def _has_decimal_commas(rows: Sequence[Row], columns: Sequence[str]) -> bool:
    """Whether an answer of a table with semicolons is a number with a comma that parts no thousands."""
    tables = (row for row in rows if row.may_have_decimal_commas)
    cells = (row.get(name) for row in tables for name in columns)
    return any(_DECIMAL_COMMA.fullmatch(_stated_end(cell)) for cell in cells if isinstance(cell, str))


def _stated_answer(
    row: Row, columns: Sequence[str], answer_of_chat: str | None, *, has_decimal_commas: bool
) -> str | None:
    """The right answer in the answer columns, or in the chat where there are none; None: a chat without one.

    Args:
        has_decimal_commas: see `_has_decimal_commas`.

    Raises:
        RowError: no answer where one should stand, or one that can be read in two ways.
    """
    if not columns and answer_of_chat is None:
        return None
    texts = [column_text(row, name, required=False) for name in columns] or [answer_of_chat]
    solution = "\n".join(text for text in texts if text)
    if has_decimal_commas and _is_unclear(row, solution):
        expected = "decimals as 3.5, lists as (3, 5) and thousands as 1250 in a table with semicolons"
        raise RowError(row, expected, _stated_end(solution))
    gold = None if _states_nothing(solution) else gold_answer(solution)
    if gold is None:
        shown = " ".join(solution.split())[:LONGEST_NAME] or "none"
        raise RowError(row, f"an answer in {', '.join(map(repr, columns)) or 'the chat'}", shown)
    return gold


def _is_unclear(row: Row, solution: str) -> bool:
    return row.may_have_decimal_commas and _UNCLEAR_MARK.fullmatch(_stated_end(solution)) is not None


def _states_nothing(solution: str) -> bool:
    """Says whether a word for a lack, or an empty box, stands where the answer should."""
    boxed = last_boxed(solution)
    if boxed is None and _EMPTY_BOX.search(solution):
        return True
    return _NO_ANSWER.fullmatch(_stated_end(solution)) is not None


def _stated_end(solution: str) -> str:
    """What stands in the box of a solution, or behind its last ####; else all of the solution."""
    boxed = last_boxed(solution)
    return (solution.rsplit("####", 1)[-1] if boxed is None else boxed).strip(" \n$")


def _refuse_contexts(rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Raises UserError where the text that a question speaks of would not be read."""
    others = [name for name in CONTEXTS if name not in {column.lower() for column in columns}]
    for context in filled_columns(rows, others):
        pairs = [(value_at(row, context) or "", value_at(row, columns[-1])) for row in rows]
        # A copy of the question, or of a part of it, is no lack.
        if all(str(text) in str(question) for text, question in pairs):
            continue
        are_texts = all(isinstance(value, str | None) for pair in pairs for value in pair)
        joined = f"join them with --question_column {','.join([context, *columns])}"
        raise UserError(
            f"question_column: expected questions with what they speak of, got {context} beside "
            f"{', '.join(columns)}: {joined if are_texts else 'write them into one text'}, "
            f"or name {','.join(columns)} to leave {context} out"
        )


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
