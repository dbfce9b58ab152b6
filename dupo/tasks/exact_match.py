"""What all tasks share whose problems have exactly one right answer: refusals, distances and accuracy."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from dupo.records import Dual, Problem


class ExactMatchTask(ABC):
    """The members of `dupo.tasks.base.Task` that follow from `answer` and `distance`."""

    headline = "accuracy"
    one_answer = True

    @abstractmethod
    def answer(self, problem: Problem, completion: str) -> str | None:
        """Reads the final answer in a completion; None if there is none."""

    @abstractmethod
    def distance(self, dual: Dual, completion: str) -> float | None:
        """Measures d(x_u, recovered) of one completion; None where nothing could be read."""

    def plain(self, text: str) -> str | None:
        """None: the texts of most tasks are plain."""
        return None

    def means_gold(self, answer: str, gold: str) -> bool:
        """Says whether an answer and the gold answer mean the same: here, whether they are equal."""
        return answer == gold

    def refusal(self, problem: Problem, completion: str) -> str | None:
        """`unreadable` where the completion has no answer."""
        return "unreadable" if self.answer(problem, completion) is None else None

    def distances(
        self, duals: Sequence[Dual], answers: Sequence[str], completions: Sequence[str]
    ) -> list[float | None]:
        """See `distance`."""
        return [self.distance(dual, text) for dual, text in zip(duals, completions, strict=True)]

    def score(self, problem: Problem, answer: str | None) -> float:
        """1 for the gold answer, else 0."""
        return float(
            answer is not None and problem.gold is not None and self.means_gold(answer, problem.gold)
        )

    def evaluate(self, problems: Sequence[Problem], answers: Sequence[str | None]) -> dict[str, float]:
        """The share of problems that got their gold answer."""
        # A problem without an answer counts as wrong, so that refusing to answer never pays.
        right = sum(self.score(problem, answer) for problem, answer in zip(problems, answers, strict=True))
        return {"accuracy": right / len(problems)}
