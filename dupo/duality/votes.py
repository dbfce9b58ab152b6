"""Votes: how often each answer of a group was given, and what an answer is worth by that."""

from collections import Counter
from collections.abc import Iterable, Sequence


def votes(answers: Iterable[str | None]) -> Counter[str]:
    """How often each readable answer was given, in the order in which the answers first came."""
    return Counter(answer for answer in answers if answer is not None)


def majority_answer(counts: Counter[str]) -> str | None:
    """The most frequent answer, the first of several; None where there is none."""
    # most_common is stable: of equal counts the answer that came first wins.
    return counts.most_common(1)[0][0] if counts else None


def majority_rewards(group: Sequence[str | None]) -> list[float]:
    """1 for the most frequent readable answer of the group (TTRL, arXiv 2504.16084), the first of several."""
    best = majority_answer(votes(group))
    return [float(answer is not None and answer == best) for answer in group]


def soft_vote_rewards(group: Sequence[str | None]) -> list[float]:
    """Share of the group that gave the same answer (EMPO, arXiv 2504.05812, without its entropy band)."""
    counts = votes(group)
    return [counts[answer] / len(group) if answer is not None else 0.0 for answer in group]
