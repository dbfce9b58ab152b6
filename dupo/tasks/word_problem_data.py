"""Word problems from JSON-lines files, with the right answers that their solutions state."""

from dupo.config.task_options import TaskOptions
from dupo.data.files import choose_column, column_names, column_text, read_jsonl
from dupo.records import Problem
from dupo.tasks.answer_numbers import last_number, parse_number
from dupo.tasks.final_answer import final_answer, last_boxed, normalise

QUESTION_COLUMNS = ("question", "problem", "prompt")
ANSWER_COLUMNS = ("answer", "solution")
LONGEST_SHORT_ANSWER = 4  # words; a gold answer of more words is a sentence that ends on its number


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


def gold_answer(solution: str) -> str | None:
    """Returns the final answer that a data set states, normalised; None if there is none.

    That is the answer after ####, or in \\boxed{}, or a whole short text, or the last number of a long text.
    """
    if "####" in solution or last_boxed(solution) is not None:
        return final_answer(solution)
    if parse_number(solution) is None and len(solution.split()) > LONGEST_SHORT_ANSWER:
        return last_number(solution)
    return normalise(solution)
