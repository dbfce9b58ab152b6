"""A task says what to ask, how to read an answer, and how to turn the answer back into the question.

To add one: write `dupo/tasks/<name>.py` with a class that has the members of `Task` (it is constructed
with the `Config`), and put it into `TASKS`. Nothing else changes.
"""

from collections.abc import Sequence
from typing import Protocol

from dupo.config import Config
from dupo.records import Dual, Problem
from dupo.tasks.arithmetic import Arithmetic
from dupo.tasks.translation import Translation
from dupo.tasks.word_problems import WordProblems


class Task(Protocol):
    """Attributes:
    train: the problems that are sampled in training; their `gold` is None or ignored.
    held_out: disjoint from `train`; used by evaluation only. Empty: nothing is evaluated.
    headline: the key of `evaluate` that the progress line and the before/after table show.
    notes: what was read and what was left out, for the start-up table.
    """

    train: Sequence[Problem]
    held_out: Sequence[Problem]
    headline: str
    notes: list[str]

    def prompt(self, problem: Problem) -> str:
        """The primal prompt, before the chat template."""
        ...

    def answer(self, problem: Problem, completion: str) -> str | None:
        """The final answer in a completion, normalised so that equal answers are equal strings; None if
        there is none. Only this, never the rest of the completion, reaches the dual."""
        ...

    def duals(self, problem: Problem) -> list[Dual]:
        """The duals of a problem, the same at every call, at most `duals_per_prompt` (0: all)."""
        ...

    def dual_prompt(self, problem: Problem, dual: Dual, answer: str) -> tuple[str, ...]:
        """Asks for `dual.unknown`, given `dual.known` and the answer. The pieces of one text: pieces that are
        equal from one dual to the next are tokenised once, so the answer stands apart."""
        ...

    def distance(self, dual: Dual, completion: str) -> float | None:
        """d(x_u, recovered) in [0, 1], 0 for a perfect recovery; None if nothing could be read."""
        ...

    def score(self, problem: Problem, answer: str | None) -> float:
        """Quality against `problem.gold` in [0, 1]. Evaluation and the gold arm only."""
        ...

    def evaluate(self, problems: Sequence[Problem], answers: Sequence[str | None]) -> dict[str, float]:
        """Named figures over a held-out set, `headline` among them: {"accuracy": 0.5}."""
        ...


TASKS: dict[str, type] = {
    "arithmetic": Arithmetic,
    "word_problems": WordProblems,
    "translation": Translation,
}


def make_task(config: Config) -> Task:
    """The task that `config.task` names, its data read and checked."""
    return TASKS[config.task](config)
