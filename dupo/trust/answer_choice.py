"""Which of several sampled answers to give, with no training (DuPO, section 3.5 and table 4).

backward rate   mean over the duals of a problem, and their samples, of 1 - d for that answer
reward          the highest reward of its samples (`--reward`, best-of-n)
dual            the highest backward rate; a tie goes to the answer with more votes, then to the first
product         share of the votes x backward rate (FOBAR, arXiv 2308.07758, with equal weights)

The score of a method is a mean over problems. The cost of a method is the number of tokens generated for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

from dupo.evaluation.intervals import Estimate, estimate_mean
from dupo.trust.rows import AnswerRow, Candidate, TokenCounts

# Shown beside the others because a fair comparison gives the vote as many tokens as the duals cost.
EQUAL_COST = "majority, equal tokens"
DUAL, REWARD = "dual", "reward"  # what chooses


@dataclass(frozen=True, slots=True)
class MethodResult:
    """What one way to answer is worth, and what it costs.

    Attributes:
        key: of the method in `AnswerRow.quality`.
        method: name for people.
        tokens: generated for all problems.
        score: mean score in [0, 1] over the problems with gold, with its 95 % interval; None without gold.
    """

    key: str
    method: str
    tokens: int
    tokens_per_problem: float
    score: Estimate | None

    def to_json(self) -> dict[str, Any]:
        """The method as summary.json holds it."""
        score, low, high = self.score or (None, None, None)
        return {**asdict(self), "score": score, "low": low, "high": high}


def ranked(candidates: Sequence[Candidate], by: str) -> list[Candidate]:
    """Orders the candidates, best first.

    Args:
        by: "dual" or "product".
    """

    def key(candidate: Candidate) -> tuple[float, int]:
        # Rewards have no bounds, so no share of votes is multiplied with them: votes decide between equals.
        if candidate.reward is not None:
            return candidate.reward, candidate.votes
        # Votes need no division by the number of samples, which is the same for all candidates.
        factor = candidate.votes if by == "product" else 1
        return factor * candidate.backward_rate, candidate.votes

    # The sort is stable: among equals the first seen answer stays first.
    return sorted(candidates, key=key, reverse=True)


def samples_for_budget(lengths: Sequence[int], budget: int) -> int:
    """Number of samples whose tokens first reach `budget`; all of them if they never do.

    Args:
        lengths: tokens of each sample, in the order in which they were drawn.
    """
    totals = accumulate(lengths)
    return next((count for count, total in enumerate(totals, start=1) if total >= budget), len(lengths))


def method_results(
    rows: Sequence[AnswerRow], n: int, vote_samples: int, way: str = DUAL
) -> list[MethodResult]:
    """Score and cost of every way to answer.

    Args:
        n: samples of each problem that were put through duals.
        vote_samples: samples of the larger vote; 0: there was none.
        way: what chooses, `DUAL` or `REWARD`.

    Returns:
        The methods in the order in which they are shown; without gold, no method that needs gold.
    """
    # The order of the table: single answers first, what sees all samples last.
    names = {"greedy": "greedy", "mean": f"mean@{n}", "majority": f"majority@{n}", way: f"{way} rerank@{n}"}
    if vote_samples:
        names |= {"equal_cost": EQUAL_COST, "more_votes": f"majority@{vote_samples}"}
    names["pass"] = f"pass@{n}"
    qualities = _qualities(rows)
    # `mean` and `pass` are no ways to answer: without scores only their costs would be left.
    if not qualities:
        names = {key: name for key, name in names.items() if key not in ("mean", "pass")}
    results = []
    for key, name in names.items():
        tokens = [tokens_of(row.tokens, key) for row in rows]
        score = estimate_mean([quality[key] for quality in qualities]) if qualities else None
        results.append(MethodResult(key, name, round(sum(tokens)), sum(tokens) / max(1, len(tokens)), score))
    return results


def tokens_of(tokens: TokenCounts, method: str) -> float:
    """Tokens that a method generates for one problem; for `mean`, those of an average sample."""
    match method:
        # What one sample costs: the mean of the scores is the expected score of a single sample.
        case "mean":
            return tokens.samples / tokens.n
        case "greedy":
            return tokens.greedy
        # The duals are paid for on top of the samples; a reward asks none, or those that it needs.
        case "dual" | "reward":
            return tokens.samples + tokens.duals
        case "equal_cost":
            return tokens.equal_cost
        case "more_votes":
            return tokens.samples + tokens.more_votes
        case _:
            return tokens.samples


def differences(
    rows: Sequence[AnswerRow], methods: Sequence[MethodResult], way: str = DUAL
) -> dict[str, Estimate]:
    """The choice minus each other method over the same problems; empty without gold.

    Args:
        way: what chooses, `DUAL` or `REWARD`.

    Returns:
        Name of the method -> mean difference of the scores, with the interval of the paired differences.
    """
    qualities = _qualities(rows)
    if not qualities:
        return {}
    # Paired by problem: what makes a problem hard for both methods cancels out.
    return {
        method.method: estimate_mean([quality[way] - quality[method.key] for quality in qualities], -1.0)
        for method in methods
        if method.key not in (way, "pass")
    }


def _qualities(rows: Sequence[AnswerRow]) -> list[Mapping[str, float]]:
    return [row.quality for row in rows if row.quality]
