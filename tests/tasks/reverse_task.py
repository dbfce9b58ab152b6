"""A whole task in one file, as a user would write it: digits in reverse.

primal   #123=   ->  321
dual     @321:   ->  123
"""

from collections.abc import Sequence

from dupo.config.task_options import TaskOptions
from dupo.records import Dual, Problem


class Reverse:
    """See `dupo.tasks.base.Task`."""

    headline = "accuracy"
    one_answer = True
    lessons = None

    def __init__(self, options: TaskOptions, seed: int) -> None:
        self.problems = [Problem(f"reverse:{n}", f"#{n}=", str(n)[::-1]) for n in range(100, 200)]
        self.train, self.held_out = self.problems[options.eval_size :], self.problems[: options.eval_size]
        self.notes = [f"{len(self.train)} numbers to reverse"]

    def prompt(self, problem: Problem) -> str:
        return problem.text

    def plain(self, text: str) -> str | None:
        return None

    def answer(self, problem: Problem, completion: str) -> str | None:
        digits = "".join(char for char in completion if char.isdigit())
        return digits or None

    def refusal(self, problem: Problem, completion: str) -> str | None:
        return None if self.answer(problem, completion) else "unreadable"

    def duals(self, problem: Problem) -> list[Dual]:
        return [Dual(known="", unknown=problem.text.strip("#="))]

    def dual_prompt(self, problem: Problem, dual: Dual, answer: str) -> tuple[str, ...]:
        return "@", answer, ":"

    def distances(
        self, duals: Sequence[Dual], answers: Sequence[str], completions: Sequence[str]
    ) -> list[float | None]:
        return [float(text != dual.unknown) for dual, text in zip(duals, completions, strict=True)]

    def score(self, problem: Problem, answer: str | None) -> float:
        return float(answer == problem.gold)

    def evaluate(self, problems: Sequence[Problem], answers: Sequence[str | None]) -> dict[str, float]:
        scores = [self.score(problem, answer) for problem, answer in zip(problems, answers, strict=True)]
        return {"accuracy": sum(scores) / len(scores)}
