"""What a task is: what to ask, how to read an answer, and how to turn the answer back into the question.

To add a task, write `dupo/tasks/<name>.py` with a class that has the members of `Task`, and add its line to
`TASKS` in `dupo/config/catalogue.py`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from dupo.records import Dual, Problem


class Lessons(NamedTuple):
    """What a built-in task brings for `tiny`, which starts from random weights: a vocabulary, and labelled
    problems for the supervised warm-up, which no other part of a run sees.

    Attributes:
        vocabulary: tokens of the built-in tokenizer, all of them characters or all of them words.
        examples: (seed, share of duals) -> (prompt, completion) pairs of both formats, for ever.
        dev: the labelled problems that tell when the warm-up is over.
    """

    vocabulary: Sequence[str]
    examples: Callable[[int, float], Iterator[tuple[str, str]]]
    dev: Callable[[], list[Problem]]


class Task(Protocol):
    """Attributes:
    problems: all that the data set has; `train` and `held_out` are made from them.
    train: the problems that are sampled in training; their `gold` is None or ignored.
    held_out: disjoint from `train`; used by evaluation only. Empty: nothing is evaluated.
    headline: the key of `evaluate` that the progress line and the before/after table show.
    one_answer: a problem has one right answer. If not (a sentence has many translations), several answers
        that recover the hidden part say nothing against its dual.
    notes: what was read and what was left out, for the start-up table.
    lessons: what the built-in model is taught first; None where the task brings none.
    """

    problems: Sequence[Problem]
    train: Sequence[Problem]
    held_out: Sequence[Problem]
    headline: str
    one_answer: bool
    notes: list[str]
    lessons: Lessons | None

    def prompt(self, problem: Problem) -> str:
        """The primal prompt, before the chat template."""
        ...

    def answer(self, problem: Problem, completion: str) -> str | None:
        """The final answer in a completion, normalised so that equal answers are equal strings; None if
        there is none. Only this, never the rest of the completion, reaches the dual."""
        ...

    def refusal(self, problem: Problem, completion: str) -> str | None:
        """Why `answer` finds none: `unreadable`, or the name of a gate (`language`, `copy`, ...) that the
        completion did not pass. None where `answer` finds one."""
        ...

    def duals(self, problem: Problem) -> list[Dual]:
        """The duals of a problem, the same at every call, at most `duals_per_prompt` (0: all)."""
        ...

    def dual_prompt(self, problem: Problem, dual: Dual, answer: str) -> tuple[str, ...]:
        """Asks for `dual.unknown`, given `dual.known` and the answer. The pieces of one text: pieces that are
        equal from one dual to the next are tokenised once, so the answer stands apart."""
        ...

    def distances(
        self, duals: Sequence[Dual], answers: Sequence[str], completions: Sequence[str]
    ) -> list[float | None]:
        """d(x_u, recovered) in [0, 1] of each completion, 0 for a perfect recovery; None if nothing could be
        read. `answers`: what the dual was given. In one call, because a metric may be a model of its own."""
        ...

    def score(self, problem: Problem, answer: str | None) -> float:
        """Quality against `problem.gold` in [0, 1]. Evaluation and the gold arm only."""
        ...

    def evaluate(self, problems: Sequence[Problem], answers: Sequence[str | None]) -> dict[str, float]:
        """Named figures over a held-out set, `headline` among them: {"accuracy": 0.5}."""
        ...
