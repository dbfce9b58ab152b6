"""What a task is: what to ask, how to read an answer, and how to turn the answer back into the question.

To add a task, write `dupo/tasks/<name>.py` with a class that has the members of `Task`, and add its line to
`TASKS` in `dupo/config/catalogue.py`. A task whose problems have one right answer may take its
scores from `exact_match.ExactMatchTask`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, cast

from dupo.records import ChatPrompt, Dual, Message, Problem, Prompt


class Lessons(NamedTuple):
    """What a built-in task brings for `tiny`, which starts from random weights.

    The labelled problems of the lessons are seen by the teaching and by no other stage of a run.

    Attributes:
        vocabulary: tokens of the built-in tokenizer, all of them characters or all of them words.
        examples: (seed, share of duals) -> (prompt, completion) pairs of both formats, for ever.
        dev: makes the labelled problems that tell when the teaching is over.
        goals: shares of right greedy answers, and of recovered hidden parts, at which the teaching is over;
            None: those of `dupo.methods.teaching`. A task has goals of its own where some duals have no
            solution.
    """

    vocabulary: Sequence[str]
    examples: Callable[[int, float], Iterator[tuple[str, str]]]
    dev: Callable[[], list[Problem]]
    goals: tuple[float, float] | None = None


class Task(Protocol):
    """What the trainer asks of a task. The constructor takes (options: TaskOptions, seed: int).

    Attributes:
        problems: all that the data set has; `train` and `held_out` are made from them.
        train: the problems that are sampled in training; their `gold` is None or ignored.
        held_out: disjoint from `train`; used by evaluation only. Empty: nothing is evaluated.
        headline: the key of `evaluate` that the progress line and the before/after table show.
        one_answer: a problem has one right answer. If not (a sentence has many translations), several answers
            that recover the hidden part say nothing against the dual.
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

    def plain(self, text: str) -> str | None:
        """A prompt, alone or with what answers it, as people write it; None where it stands so already."""
        ...

    def answer(self, problem: Problem, completion: str) -> str | None:
        """Reads the final answer in a completion; None if there is none.

        Answers are normalised: equal strings are equal answers. Only the final answer, never the rest of the
        completion, reaches the dual. Where the chat template has opened a thinking part, `<think>` stands
        before what was sampled.
        """
        ...

    def refusal(self, problem: Problem, completion: str) -> str | None:
        """Says why `answer` is None: `unreadable`, or the gate (`language`, `copy`, ...) that refused.

        None where there is an answer.
        """
        ...

    def duals(self, problem: Problem) -> list[Dual]:
        """The duals of a problem, the same at every call, at most `duals_per_prompt` (0: all)."""
        ...

    def dual_prompt(self, problem: Problem, dual: Dual, answer: str) -> tuple[str, ...]:
        """Asks for `dual.unknown`, given `dual.known` and the answer.

        Returns the pieces of one text. The answer is a piece by itself: a piece that is equal from one dual
        to the next is tokenised once.
        """
        ...

    def distances(
        self, duals: Sequence[Dual], answers: Sequence[str], completions: Sequence[str]
    ) -> list[float | None]:
        """Measures d(x_u, recovered) of each completion.

        All completions come in one call, because a metric may be a model itself.

        Args:
            duals: the dual of each completion.
            answers: the answer that the dual prompt of each completion contained.

        Returns:
            distances in [0, 1], 0 for a perfect recovery; None where nothing could be read.
        """
        ...

    def score(self, problem: Problem, answer: str | None) -> float:
        """Quality against `problem.gold` in [0, 1]; read by evaluation and the reward `gold` only."""
        ...

    def evaluate(self, problems: Sequence[Problem], answers: Sequence[str | None]) -> dict[str, float]:
        """Named metrics over a held-out set, `headline` among them: {"accuracy": 0.5}."""
        ...


def as_task(wrapper: object) -> Task:
    """A wrapper around a task, as the task that it is."""
    # The wrapper has every member of `Task`, most through __getattr__, which a type checker cannot see.
    return cast(Task, wrapper)


def primal_prompt(task: Task, problem: Problem) -> Prompt:
    """What asks for the answer, behind the system message that the data set gives the problem."""
    text = task.prompt(problem)
    # A dual is another question, so the message stands before the primal prompt alone.
    return text if problem.system is None else ChatPrompt((text,), (Message("system", problem.system),))
