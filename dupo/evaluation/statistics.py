"""How well rewards follow quality."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class PairOrder(NamedTuple):
    """Pairs of samples of different quality, and in how many of the pairs the reward agrees.

    Attributes:
        wins: pairs whose better sample has the higher reward; a tie of the reward counts half.
        pairs: number of pairs.
        ties: number of pairs whose rewards are equal.
    """

    wins: float = 0.0
    pairs: int = 0
    ties: int = 0

    @property
    def share(self) -> float | None:
        """Share of the pairs in which the reward agrees; None without a pair: there is nothing to order."""
        return self.wins / self.pairs if self.pairs else None

    @property
    def auc(self) -> float | None:
        """`share`; None where all pairs are ties as well: a half would be the figure of no comparison."""
        return None if self.ties == self.pairs else self.share


def readable_only(
    answers: Sequence[str | None], rewards: Sequence[float], quality: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Rewards and qualities of the samples that have an answer; the arguments are of the same samples."""
    triples = zip(answers, rewards, quality, strict=True)
    pairs = [(reward, score) for answer, reward, score in triples if answer is not None]
    return [reward for reward, _ in pairs], [score for _, score in pairs]


def pair_order(rewards: npt.ArrayLike, quality: npt.ArrayLike) -> PairOrder:
    """Counts the pairs of different quality, and those that the reward orders right.

    For quality in {0, 1} the share of those pairs is the area under the ROC curve (AUC).

    Args:
        rewards: (n,) numbers.
        quality: (n,) numbers.
    """
    rewards, quality = np.asarray(rewards, float), np.asarray(quality, float)
    # Sorted by quality, so that `worse` below is every sample before the current value.
    order = np.argsort(quality, kind="stable")
    rewards, quality = rewards[order], quality[order]
    wins, pairs, ties = 0.0, 0, 0
    for value in np.unique(quality)[1:]:
        worse, same = np.sort(rewards[quality < value]), rewards[quality == value]
        # A tie counts half: it is between the two insertion points.
        below = np.searchsorted(worse, same, "left")
        not_above = np.searchsorted(worse, same, "right")
        wins += float((below + not_above).sum()) / 2
        pairs += len(worse) * len(same)
        ties += int((not_above - below).sum())
    return PairOrder(wins, pairs, ties)
