"""The built-in task: additions and subtractions, made on the spot, small enough for a laptop to learn.

    primal   #321+654=  ->  9750        123 + 456 = 579
    dual     @?+654=9750:  ->  321      which number plus 456 is 579? (each operand is hidden in turn)

Numbers are zero-padded and written least significant digit first, so that carries run the way the model
reads.
"""

import random
import re
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from dupo.config.task_options import TaskOptions
from dupo.records import Dual, Problem
from dupo.tasks.base import Lessons
from dupo.tasks.exact_match import ExactMatchTask
from dupo.tasks.generated import generate_dev, generate_split, set_of, stream_seed

OPERAND_DIGITS, RESULT_DIGITS = 3, 4
# ASCII: other digits, such as full-width ones, are none of the vocabulary.
OPERAND = re.compile(rf"\d{{{OPERAND_DIGITS}}}", re.ASCII)
RESULT = re.compile(rf"\d{{{RESULT_DIGITS}}}", re.ASCII)
QUESTION = re.compile(rf"#(\d{{{OPERAND_DIGITS}}})([+-])(\d{{{OPERAND_DIGITS}}})=")
VOCABULARY = "0123456789+-=#@?:"


class Arithmetic(ExactMatchTask):
    """Sums with one hidden operand as duals; see `dupo.tasks.base.Task`.

    Args:
        options: how many problems are held out, and how many duals a problem has.
        seed: decides which training problems are made; the held-out ones are always the same.

    Raises:
        UserError: too many held-out problems.
    """

    def __init__(self, options: TaskOptions, seed: int) -> None:
        self.train, self.held_out = generate_split(random_problems, options.eval_size, seed)
        self.problems = self.train
        self.lessons = Lessons(VOCABULARY, lesson_examples, partial(generate_dev, random_problems))
        self.duals_per_prompt = options.duals_per_prompt
        self.notes = [
            "three-digit + and -, digits written from the right: #321+654= asks for 123 + 456",
            f"{len(self.train):,} problems, {len(self.held_out):,} held out",
        ]

    def prompt(self, problem: Problem) -> str:
        """The text of the problem; the built-in model has no chat template."""
        return problem.text

    def plain(self, text: str) -> str:
        """Sums as people write them: `#321+654=9750` is 123 + 456 = 579, and `?` is what a dual asks for."""
        numbers_turned = re.sub(r"\d+", lambda digits: str(int(digits[0][::-1])), text.strip("#@"))
        return re.sub(r"[+=-]", r" \g<0> ", numbers_turned).replace(":", ", ? = ").strip()

    def answer(self, problem: Problem, completion: str) -> str | None:
        """The completion, if it is a result of four digits and nothing else."""
        return completion if RESULT.fullmatch(completion) else None

    def duals(self, problem: Problem) -> list[Dual]:
        """Masks each operand in turn."""
        # Subtraction is not symmetric, so both operands are worth asking for.
        first, operator, second = read_question(problem)
        duals = [Dual(f"@?{operator}{second}=", first, "?"), Dual(f"@{first}{operator}?=", second, "?")]
        return duals[: self.duals_per_prompt or None]  # 0: all

    def dual_prompt(self, problem: Problem, dual: Dual, answer: str) -> tuple[str, ...]:
        """The question without an operand, with its result: @?+654=9750:"""
        return dual.known, answer, ":"

    def distance(self, dual: Dual, completion: str) -> float | None:
        """0 for the hidden operand, 1 for another one, None for what is no operand."""
        if not OPERAND.fullmatch(completion):
            return None
        return float(completion != dual.unknown)


class Question(NamedTuple):
    """The three fields of a problem, operands as written."""

    first: str
    operator: str
    second: str


def read_question(problem: Problem) -> Question:
    """Reads the operands and the operator of a problem.

    Raises:
        ValueError: the text is no problem of this task.
    """
    match = QUESTION.fullmatch(problem.text)
    if not match:
        raise ValueError(f"problem: expected a text such as #321+654=, got {problem.text!r}")
    return Question(*match.groups())


def reversed_digits(number: int, digits: int) -> str:
    """Writes a number zero-padded, least significant digit first."""
    return str(number).zfill(digits)[::-1]


def random_problems(set_name: str, seed: int) -> Iterator[Problem]:
    """Yields random labelled problems of one of `generated.SETS`, for ever, with repeats."""
    rng = random.Random(stream_seed("arithmetic", set_name, seed))
    while True:
        first, second, operator = rng.randrange(1000), rng.randrange(1000), rng.choice("+-")
        # No result is negative: a sign would be a fifth character of the answer.
        if operator == "-" and first < second:
            first, second = second, first
        operands = reversed_digits(first, OPERAND_DIGITS), reversed_digits(second, OPERAND_DIGITS)
        text = f"#{operands[0]}{operator}{operands[1]}="
        result = first + second if operator == "+" else first - second
        if set_of(text) == set_name:
            yield Problem(text, text, reversed_digits(result, RESULT_DIGITS))


def lesson_examples(seed: int, dual_share: float) -> Iterator[tuple[str, str]]:
    """Yields (prompt, completion) pairs of both formats from the set of lessons, for ever."""
    # Formats have random numbers of their own, so that the problems do not depend on the share of duals.
    rng = random.Random(f"arithmetic formats {seed}")
    for problem in random_problems("lessons", seed):
        first, operator, second = read_question(problem)
        gold = problem.gold or ""
        if rng.random() >= dual_share:
            yield problem.text, gold
        # Either operand is hidden in half of the duals, as `Arithmetic.duals` asks for both.
        elif rng.random() < 0.5:
            yield f"@?{operator}{second}={gold}:", first
        else:
            yield f"@{first}{operator}?={gold}:", second
