"""Questions with numbers in them, from a JSON-lines file: hide one number, find it again from the answer.

    primal   Natalia sold clips to 48 friends in April and half as many in May. How many in all?   -> 72
    dual     Natalia sold clips to Vqk friends in April and half as many in May. How many in all?
             The final answer is \\boxed{72}. What is Vqk?                                         -> 48

DuPO, section 3.4 and appendix A: numbers are found by rule (`dupo.text.numbers`), one is hidden per dual
behind a fresh name, and the dual sees the final answer only, never how it was reached.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from dupo.config.options import TaskOptions
from dupo.data.files import column, columns, keyed_hash, make_split, read_jsonl, text_at
from dupo.records import Dual, Problem
from dupo.tasks.final_answer import final_answer, last_boxed, last_number, normalise, parse_number
from dupo.text import MOST_HIDDEN, find_numbers, hide_numbers

QUESTION_COLUMNS = ("question", "problem", "prompt")
ANSWER_COLUMNS = ("answer", "solution")
LONGEST_SHORT_ANSWER = 4  # words; a gold answer of more words is a sentence that ends on its number

PRIMAL = """{question}

Think step by step. At the end, write the final answer, and nothing else, inside \\boxed{{}}."""

TEMPLATES = (
    """{known}

One number of this problem was replaced by {variable}. The final answer of the problem is \\boxed{{{answer}}}.
Work out, step by step, which number {variable} stands for, and write it inside \\boxed{{}}.""",
    """The problem below has the final answer \\boxed{{{answer}}}, but one of its numbers is unknown and is \
called {variable}.

{known}

What must {variable} be? Reason step by step and end with its value inside \\boxed{{}}.""",
    """Work backwards in this problem, where {variable} stands for an unknown number:

{known}

Its solution ends with the final answer \\boxed{{{answer}}}. Find the value of {variable}, step by step, and \
give it inside \\boxed{{}}.""",
    """{known}

Take it as given that the final answer here is \\boxed{{{answer}}}. Which value of {variable} leads to it? \
Show your steps, then put the value of {variable} inside \\boxed{{}}.""",
)


class WordProblems:
    """See `dupo.tasks.base.Task`. Problems with no number to hide are left out of `train`.

    Attributes:
        notes: what was read, one line each, for the start-up table.
    """

    headline = "accuracy"
    one_answer = True
    lessons = None

    def __init__(self, options: TaskOptions, seed: int) -> None:
        assert options.dataset is not None  # held by `Config`
        self.seed, self.duals_per_prompt = seed, options.duals_per_prompt
        self.problems = problems = read_problems(options.dataset, options, answers_needed=False)
        apart = options.eval_dataset and read_problems(options.eval_dataset, options, answers_needed=True)
        texts = [p.text for p in problems]
        found = zip(texts, find_numbers(texts), strict=True)
        maskable = {text for text, numbers in found if any(n.skip is None for n in numbers)}
        train, self.held_out = make_split(problems, apart or None, options.eval_size)
        self.train = [p for p in train if p.text in maskable]
        with_number = sum(p.text in maskable for p in problems)
        self.notes = [
            f"{len(problems):,} problems read; {with_number:,} with a number to mask; "
            f"{len(self.held_out):,} held out"
        ]
        if not self.held_out and options.eval_size:
            self.notes.append("no held-out problem with a known answer: accuracy cannot be given")

    def prompt(self, problem: Problem) -> str:
        return PRIMAL.format(question=problem.text)

    def answer(self, problem: Problem, completion: str) -> str | None:
        return final_answer(completion)

    def refusal(self, problem: Problem, completion: str) -> str | None:
        return "unreadable" if self.answer(problem, completion) is None else None

    def duals(self, problem: Problem) -> list[Dual]:
        return duals_of(problem.text, self.seed, self.duals_per_prompt)

    def dual_prompt(self, problem: Problem, dual: Dual, answer: str) -> tuple[str, ...]:
        before, after = around_answer(dual, self.seed)
        return before, without_unknown(answer, dual), after

    def distances(
        self, duals: Sequence[Dual], answers: Sequence[str], completions: Sequence[str]
    ) -> list[float | None]:
        return [self.distance(d, text) for d, text in zip(duals, completions, strict=True)]

    def distance(self, dual: Dual, completion: str) -> float | None:
        found = final_answer(completion)
        return None if found is None else float(found != normalise(dual.unknown))

    def score(self, problem: Problem, answer: str | None) -> float:
        return float(answer is not None and answer == problem.gold)

    def evaluate(self, problems: Sequence[Problem], answers: Sequence[str | None]) -> dict[str, float]:
        right = sum(self.score(p, a) for p, a in zip(problems, answers, strict=True))
        return {"accuracy": right / len(problems)}


def read_problems(path: str, options: TaskOptions, *, answers_needed: bool) -> list[Problem]:
    """The problems of a JSON-lines file, gold answers extracted and normalised where it has them.

    Raises:
        UserError: the file, or a column that is named or needed, is missing or cannot be read.
    """
    rows = read_jsonl(path)
    question = column(rows, path, options.question_column, QUESTION_COLUMNS, "question_column")
    answer = None
    if answers_needed or options.answer_column is not None or set(ANSWER_COLUMNS) & set(columns(rows)):
        answer = column(rows, path, options.answer_column, ANSWER_COLUMNS, "answer_column")
    problems = []
    for row in rows:
        text = text_at(row, path, question, needed=True) or ""
        solution = text_at(row, path, answer, needed=False) if answer is not None else None
        gold = gold_answer(solution) if solution is not None else None
        problems.append(Problem(f"{Path(path).name}:{getattr(row, 'line', '?')}", text, gold, row))
    return problems


def gold_answer(solution: str) -> str | None:
    """The final answer that a data set states: after ####, in \\boxed{}, the whole of a short text, or the
    last number of a long one; normalised. None if there is none of these."""
    if "####" in solution or last_boxed(solution) is not None:
        return final_answer(solution)
    if parse_number(solution) is None and len(solution.split()) > LONGEST_SHORT_ANSWER:
        return last_number(solution)
    return normalise(solution)


def duals_of(text: str, seed: int, most: int = 0) -> list[Dual]:
    """The numbers of a text hidden in turn, at most `most` of them (0: all), in the order of the text."""
    most = min(most or MOST_HIDDEN, MOST_HIDDEN)
    (hidden,) = hide_numbers([text], [keyed_hash(text, f"hide {seed}")], most=most)
    return [Dual(h.known, h.numbers[0].surface, h.variable) for h in hidden]


@lru_cache(maxsize=64)  # a dual is asked about one answer after another
def around_answer(dual: Dual, seed: int) -> tuple[str, str]:
    """What stands before and after the answer in a dual prompt."""
    template = TEMPLATES[keyed_hash(dual.known, f"template {seed}") % len(TEMPLATES)]
    before, _, after = template.partition("{answer}")
    given = {"known": dual.known, "variable": dual.variable}
    return before.format(**given), after.format(**given)


def without_unknown(answer: str, dual: Dual) -> str:
    """An answer that is more than one number, with the hidden value in it replaced by the variable.

    Otherwise "(72, 48)" would tell the dual what to say, and the policy would learn to write that.
    """
    if parse_number(answer) is not None:
        return answer
    hidden = parse_number(dual.unknown)
    (numbers,) = find_numbers([answer])
    for number in reversed(numbers):
        if hidden is not None and number.value in (hidden, 100 * hidden, hidden / 100):
            answer = answer[: number.start] + dual.variable + answer[number.end :]
    return answer
