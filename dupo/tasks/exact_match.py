"""Scores of tasks whose problems have exactly one right answer."""

import operator
from collections.abc import Callable, Sequence

from dupo.records import Problem

Same = Callable[[str, str], bool]


def exact_match(problem: Problem, answer: str | None, same: Same = operator.eq) -> float:
    """Returns 1 for the gold answer, else 0.

    Args:
        same: says whether an answer and the gold answer mean the same; by default, whether they are equal.
    """
    return float(answer is not None and problem.gold is not None and same(answer, problem.gold))


def accuracy(problems: Sequence[Problem], answers: Sequence[str | None], same: Same = operator.eq) -> float:
    """Returns the share of problems that got their gold answer; `same` as in `exact_match`."""
    # A problem without an answer counts as wrong, so that refusing to answer never pays.
    right = sum(exact_match(problem, answer, same) for problem, answer in zip(problems, answers, strict=True))
    return right / len(problems)
