"""Whether a reward puts the better of two completions first: over all completions, and among readable ones.

A completion that cannot be read, or that a gate refuses, has reward 0 and quality 0. Each pair with such a
completion agrees by construction, so a reward looks as if it knew better from worse wherever some answers
are refused. Only pairs of readable answers tell whether it does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dupo.evaluation.intervals import Estimate, estimate_mean
from dupo.evaluation.statistics import pair_order


class Judged(NamedTuple):
    """The completions of one problem: rewards, and qualities in [0, 1], in the same order."""

    rewards: Sequence[float]
    quality: Sequence[float]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well rewards follow quality, by pairs of different quality; None where no pair is ordered.

    Attributes:
        reward_auc: chance that of two completions the better one has the higher reward; a tie counts half.
        reward_auc_pairs: number of pairs, of all problems together.
        within: `reward_auc` within a problem, mean over problems with its 95 % interval.
        within_pairs: number of pairs within problems.
        problems: number of problems with a pair.
    """

    reward_auc: float | None = None
    reward_auc_pairs: int = 0
    within: Estimate | None = None
    within_pairs: int = 0
    problems: int = 0

    def to_json(self, prefix: str = "") -> dict[str, Any]:
        """The figures as audit.json holds them, each name behind `prefix`."""
        return {
            f"{prefix}reward_auc": self.reward_auc,
            f"{prefix}reward_auc_pairs": self.reward_auc_pairs,
            f"{prefix}agreement": self.within._asdict() if self.within else None,
            f"{prefix}agreement_pairs": self.within_pairs,
            f"{prefix}agreement_problems": self.problems,
        }


def agreement_of(groups: Sequence[Judged]) -> Agreement:
    """The agreement over the completions of some problems; a problem may have any number of them."""
    over_all = pair_order([r for g in groups for r in g.rewards], [q for g in groups for q in g.quality])
    # A problem whose answers are all equally good has no order to agree with.
    orders = [pair_order(group.rewards, group.quality) for group in groups]
    shares = [order.share for order in orders if order.share is not None]
    return Agreement(
        over_all.auc,
        over_all.pairs,
        estimate_mean(shares) if any(order.ties < order.pairs for order in orders) else None,
        sum(order.pairs for order in orders),
        len(shares),
    )
