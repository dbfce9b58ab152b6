"""Which of several sampled answers to give, with no training (DuPO, section 3.5 and table 4).

    backward rate   mean over the duals of a problem, and their samples, of 1 - d for that answer
    dual            the highest backward rate; a tie goes to the answer with more votes, then to the first
    product         share of the votes x backward rate (FOBAR, arXiv 2308.07758, with equal weights)

A figure of a method is a mean over problems; its cost is the number of tokens generated for it, all counted.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from dupo.evaluation.intervals import bootstrap

Row = dict[str, Any]
EQUAL_COST = "majority, equal tokens"


class Candidate(NamedTuple):
    """One different answer to a problem.

    Attributes:
        votes: how many of the samples gave it.
        backward_rate: how well the question is recovered from it, in [0, 1]; 0 where there is no dual.
    """

    answer: str
    votes: int
    backward_rate: float


def ranked(candidates: Sequence[Candidate], by: str) -> list[Candidate]:
    """Best first. `by`: dual or product."""

    def key(candidate: Candidate) -> tuple[float, int]:
        factor = candidate.votes if by == "product" else 1
        return factor * candidate.backward_rate, candidate.votes

    return sorted(candidates, key=key, reverse=True)  # a stable sort: the first seen wins a tie


def enough(lengths: Sequence[int], budget: int) -> int:
    """How many samples, in the order in which they were drawn, have at least `budget` tokens together: a vote
    of them costs what something else cost. All, where they do not reach it."""
    spent = list(accumulate(lengths))
    return next((k for k, tokens in enumerate(spent, start=1) if tokens >= budget), len(spent))


def method_rows(rows: Sequence[Row], n: int, vote_samples: int) -> list[Row]:
    """Every way to answer, with its figure and its cost.

    Args:
        rows: of answers.jsonl, each with `tokens` (what was generated for it) and, where there is a gold
            answer, `quality` (score in [0, 1] of what each method answers).

    Returns:
        {key, method, tokens, tokens_per_problem, score, low, high} of each; without gold the last three are
        None.
    """
    names = {"greedy": "greedy", "mean": f"mean@{n}", "majority": f"majority@{n}", "dual": f"dual rerank@{n}"}
    if vote_samples:
        names |= {"equal_cost": EQUAL_COST, "more_votes": f"majority@{vote_samples}"}
    names["pass"] = f"pass@{n}"
    judged = [row["quality"] for row in rows if row.get("quality")]
    found = []
    for key, name in names.items():
        spent = [tokens_of(row["tokens"], key) for row in rows]
        estimate = bootstrap([quality[key] for quality in judged]) if judged else (None, None, None)
        score, low, high = estimate
        per_problem = sum(spent) / max(1, len(spent))
        found.append(
            {"key": key, "method": name, "tokens": round(sum(spent)), "tokens_per_problem": per_problem}
            | {"score": score, "low": low, "high": high}
        )
    return found if judged else [row for row in found if row["key"] not in ("mean", "pass")]


def tokens_of(tokens: Row, method: str) -> float:
    """What a method generates for one problem: its samples, and for the dual the reconstructions as well.
    One sample, where `mean` is the method, is as long as all are in the mean."""
    if method == "mean":
        return tokens["samples"] / tokens["n"]
    spent = {"greedy": ("greedy",), "dual": ("samples", "duals"), "more_votes": ("samples", "more_votes")}
    spent["equal_cost"] = ("equal_cost",)
    return sum(tokens[part] for part in spent.get(method, ("samples",)))


def differences(rows: Sequence[Row], methods: Sequence[Row]) -> dict[str, Any]:
    """Dual rerank minus each of the other methods, over the same problems, with the interval of that."""
    judged = [row["quality"] for row in rows if row.get("quality")]
    others = [method for method in methods if method["key"] not in ("dual", "pass")] if judged else []
    return {m["method"]: bootstrap([q["dual"] - q[m["key"]] for q in judged])._asdict() for m in others}
