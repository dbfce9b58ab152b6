"""A task says what to ask, how to read an answer, and how to turn the answer back into the question.

To add one: write `dupo/tasks/<name>.py` with a class that has the members of `Task` (it is constructed
with the `Config`), and put it into `TASKS`. Nothing else changes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol, cast

from dupo.config.options import BUILT_IN, Config
from dupo.errors import UserError
from dupo.records import Dual, Problem
from dupo.tasks import arithmetic, conlang
from dupo.tasks.arithmetic import Arithmetic
from dupo.tasks.conlang import Conlang
from dupo.tasks.selected_duals import Selected, read_kept
from dupo.tasks.translation import Translation
from dupo.tasks.word_problems import WordProblems


class Task(Protocol):
    """Attributes:
    problems: all that the data set has; `train` and `held_out` are made from them.
    train: the problems that are sampled in training; their `gold` is None or ignored.
    held_out: disjoint from `train`; used by evaluation only. Empty: nothing is evaluated.
    headline: the key of `evaluate` that the progress line and the before/after table show.
    one_answer: a problem has one right answer. If not (a sentence has many translations), several answers
        that recover the hidden part say nothing against its dual.
    notes: what was read and what was left out, for the start-up table.
    """

    problems: Sequence[Problem]
    train: Sequence[Problem]
    held_out: Sequence[Problem]
    headline: str
    one_answer: bool
    notes: list[str]

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


TASKS: dict[str, type] = {
    "arithmetic": Arithmetic,
    "conlang": Conlang,
    "word_problems": WordProblems,
    "translation": Translation,
}


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


LESSONS: dict[str, Lessons] = {
    "arithmetic": Lessons(
        "0123456789+-=#@?:",
        arithmetic.labelled_examples,
        partial(arithmetic.draw, "dev", arithmetic.DEV_SIZE, seed=0),
    ),
    "conlang": Lessons(
        conlang.VOCABULARY, conlang.labelled_examples, partial(conlang.draw, "dev", conlang.DEV_SIZE, seed=0)
    ),
}
assert tuple(LESSONS) == BUILT_IN


def make_task(config: Config) -> Task:
    """The task that `config.task` names, its data read and checked."""
    task = TASKS[config.task](config)
    if config.selected_duals is None:
        return task
    chosen = with_duals(task, read_kept(config.selected_duals), config.duals_per_prompt)
    if not chosen.train:
        raise UserError(f"selected_duals: {config.selected_duals} keeps no dual of the training problems")
    return chosen


def with_duals(task: Task, kept: Mapping[str, list[Dual]], most: int = 0) -> Task:
    """The same task with these duals (of each problem's text) and no others."""
    return cast(Task, Selected(task, kept, most))
