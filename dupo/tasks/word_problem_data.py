"""Word problems from JSON-lines files, with the right answers that their solutions state."""

from dupo.config.task_options import TaskOptions
from dupo.data.files import choose_column, column_names, column_text, read_jsonl
from dupo.records import Problem
from dupo.tasks.final_answer import gold_answer

QUESTION_COLUMNS = ("question", "problem", "prompt")
ANSWER_COLUMNS = ("answer", "solution")


def read_problems(path: str, options: TaskOptions, *, answers_needed: bool) -> list[Problem]:
    """Reads the problems of a JSON-lines file; gold answers are extracted and normalised where there are any.

    Raises:
        UserError: the file, or a column that is named or needed, is missing or cannot be read.
    """
    rows = read_jsonl(path)
    question_column = choose_column(rows, path, options.question_column, QUESTION_COLUMNS, "question_column")
    has_answers = bool(set(ANSWER_COLUMNS) & set(column_names(rows)))
    # Training reads no answer, so a file without answers is fine unless somebody asks for them.
    answer_column = None
    if answers_needed or options.answer_column is not None or has_answers:
        answer_column = choose_column(rows, path, options.answer_column, ANSWER_COLUMNS, "answer_column")
    problems = []
    for row in rows:
        text = column_text(row, question_column, required=True) or ""
        solution = column_text(row, answer_column, required=False) if answer_column is not None else None
        gold = gold_answer(solution) if solution is not None else None
        problems.append(Problem(row.id, text, gold, row))
    return problems
