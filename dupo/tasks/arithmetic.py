"""The built-in task: additions and subtractions, made on the spot, small enough for a laptop to learn.

    primal   #321+654=  ->  9750        123 + 456 = 579
    dual     @?+654=9750:  ->  321      which number plus 456 is 579? (each operand is masked in turn)

Numbers are zero-padded and written least significant digit first, so that carries run the way the
model reads. A problem belongs to one of four disjoint sets by a hash of its text: warm-up (4 of 10),
training without labels (4), held-out (1) and dev (1, which stops the warm-up).
"""

import random
import re
from collections.abc import Iterator, Sequence
from functools import partial

from dupo.config.options import TaskOptions
from dupo.errors import UserError
from dupo.records import Dual, Problem
from dupo.tasks.base import Lessons
from dupo.tasks.generated import belongs, different

OPERAND_DIGITS, RESULT_DIGITS = 3, 4
TRAIN_SIZE, DEV_SIZE, MOST_HELD_OUT = 20_000, 500, 50_000
SHAPE = re.compile(rf"#(\d{{{OPERAND_DIGITS}}})([+-])(\d{{{OPERAND_DIGITS}}})=")


class Arithmetic:
    """See `dupo.tasks.base.Task`. `seed` decides which problems are drawn; held-out ones are always the same."""

    headline = "accuracy"
    one_answer = True

    def __init__(self, options: TaskOptions, seed: int) -> None:
        if options.eval_size > MOST_HELD_OUT:
            raise UserError(f"eval_size: expected at most {MOST_HELD_OUT:,} sums, got {options.eval_size:,}")
        self.problems = self.train = draw("train", TRAIN_SIZE, seed)
        self.held_out = draw("held_out", options.eval_size, seed=0)
        self.lessons = Lessons("0123456789+-=#@?:", labelled_examples, partial(draw, "dev", DEV_SIZE, seed=0))
        self.duals_per_prompt = options.duals_per_prompt
        self.notes = [
            "three-digit + and -, digits written from the right: #321+654= asks for 123 + 456",
            f"{TRAIN_SIZE:,} problems to train on, {options.eval_size:,} held out",
        ]

    def prompt(self, problem: Problem) -> str:
        return problem.text

    def answer(self, problem: Problem, completion: str) -> str | None:
        return completion if re.fullmatch(rf"\d{{{RESULT_DIGITS}}}", completion, re.ASCII) else None

    def refusal(self, problem: Problem, completion: str) -> str | None:
        return "unreadable" if self.answer(problem, completion) is None else None

    def duals(self, problem: Problem) -> list[Dual]:
        first, op, second = parts(problem)
        duals = [Dual(f"@?{op}{second}=", first, "?"), Dual(f"@{first}{op}?=", second, "?")]
        return duals[: self.duals_per_prompt or None]

    def dual_prompt(self, problem: Problem, dual: Dual, answer: str) -> tuple[str, ...]:
        return dual.known, answer, ":"

    def distances(
        self, duals: Sequence[Dual], answers: Sequence[str], completions: Sequence[str]
    ) -> list[float | None]:
        return [self.distance(d, text) for d, text in zip(duals, completions, strict=True)]

    def distance(self, dual: Dual, completion: str) -> float | None:
        if not re.fullmatch(rf"\d{{{OPERAND_DIGITS}}}", completion, re.ASCII):
            return None
        return float(completion != dual.unknown)

    def score(self, problem: Problem, answer: str | None) -> float:
        return float(answer is not None and answer == problem.gold)

    def evaluate(self, problems: Sequence[Problem], answers: Sequence[str | None]) -> dict[str, float]:
        right = sum(self.score(p, a) for p, a in zip(problems, answers, strict=True))
        return {"accuracy": right / len(problems)}


def parts(problem: Problem) -> tuple[str, str, str]:
    """First operand, operator, second operand, as written."""
    found = SHAPE.fullmatch(problem.text)
    if not found:
        raise ValueError(f"expected an arithmetic problem such as #321+654=, got {problem.text!r}")
    return found[1], found[2], found[3]


def write(number: int, digits: int) -> str:
    """Zero-padded, least significant digit first."""
    return str(number).zfill(digits)[::-1]


def stream(which: str, seed: int) -> Iterator[Problem]:
    """Random labelled problems of one of `made.SETS`, for ever, with repeats."""
    rng = random.Random(f"arithmetic {which} {seed}")
    while True:
        a, b, op = rng.randrange(1000), rng.randrange(1000), rng.choice("+-")
        if op == "-" and a < b:
            a, b = b, a
        text = f"#{write(a, OPERAND_DIGITS)}{op}{write(b, OPERAND_DIGITS)}="
        if belongs(text) == which:
            yield Problem(text, text, write(a + b if op == "+" else a - b, RESULT_DIGITS))


def draw(which: str, count: int, seed: int) -> list[Problem]:
    """`count` different problems of one of `made.SETS`."""
    return different(stream(which, seed), count)


def labelled_examples(seed: int, dual_share: float) -> Iterator[tuple[str, str]]:
    """(prompt, completion) pairs of both formats from the warm-up set, for ever."""
    rng = random.Random(f"arithmetic formats {seed}")
    for problem in stream("warmup", seed):
        first, op, second = parts(problem)
        gold = problem.gold or ""
        if rng.random() >= dual_share:
            yield problem.text, gold
        elif rng.random() < 0.5:
            yield f"@?{op}{second}={gold}:", first
        else:
            yield f"@{first}{op}?={gold}:", second
