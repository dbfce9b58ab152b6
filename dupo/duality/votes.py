"""Votes: how often each answer of a group was given."""

from collections import Counter
from collections.abc import Iterable


def votes(answers: Iterable[str | None]) -> Counter[str]:
    """How often each readable answer was given, in the order in which the answers first came."""
    return Counter(answer for answer in answers if answer is not None)


def majority_answer(counts: Counter[str]) -> str | None:
    """The most frequent answer, the first of several; None where there is none."""
    # most_common is stable: of equal counts the answer that came first wins.
    return counts.most_common(1)[0][0] if counts else None
