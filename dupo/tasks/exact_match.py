"""Scores of tasks whose problems have exactly one right answer."""

from collections.abc import Sequence

from dupo.records import Problem


def exact_match(problem: Problem, answer: str | None) -> float:
    """Returns 1 for the gold answer, else 0; normalised answers are equal strings."""
    return float(answer is not None and answer == problem.gold)


def accuracy(problems: Sequence[Problem], answers: Sequence[str | None]) -> float:
    """Returns the share of problems that got their gold answer."""
    # A problem without an answer counts as wrong, so that refusing to answer never pays.
    right = sum(exact_match(problem, answer) for problem, answer in zip(problems, answers, strict=True))
    return right / len(problems)
