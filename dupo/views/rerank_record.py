"""What summary.json and answers.jsonl of a rerank hold, as its page shows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from dupo.views.exchange import DualExchangeRow, read_dual

SHOWN = 3  # problems of either end that the screen shows


class Scored(Protocol):
    """What has a score; None where no dual was asked."""

    @property
    def score(self) -> float | None:
        """How well the duals recover the hidden parts, in [0, 1]."""
        ...


ScoredT = TypeVar("ScoredT", bound=Scored)


class Mean(NamedTuple):
    """A mean over problems with its 95 % interval, each in [0, 1], or in [-1, 1] for a difference."""

    mean: float
    low: float
    high: float


class Way(NamedTuple):
    """One way to answer.

    Attributes:
        key: of the method in `AnsweredProblem.quality`.
        score: mean over the problems with gold; None without gold.
        tokens: generated for one problem, on average.
    """

    key: str
    name: str
    score: Mean | None
    tokens: float


class Candidate(NamedTuple):
    """One different answer to a problem, with the samples that gave it, and what the choice is by."""

    answer: str
    votes: int
    score: float


@dataclass(frozen=True)
class AnsweredProblem:
    """A row of answers.jsonl.

    Attributes:
        score: how well the duals recover the hidden parts, in [0, 1], or the reward; None: neither.
        answers: method -> its answer.
        quality: method -> score of its answer against gold, in [0, 1]; None without gold.
        duals: what each dual gave back from the answer.
        plain: problem and answer as people write them; None: they stand so already.
        plain_gold: problem and right answer likewise.
    """

    problem: str
    question: str
    answer: str | None
    score: float | None
    votes: int
    answers: Mapping[str, str | None]
    candidates: Sequence[Candidate]
    completion: str
    gold: str | None
    quality: Mapping[str, float] | None
    duals: Sequence[DualExchangeRow]
    plain: str | None
    plain_gold: str | None


@dataclass(frozen=True)
class RerankRecord:
    """What summary.json holds.

    Attributes:
        problems: number of problems.
        with_gold: number of problems with a right answer.
        unanswered: number of problems without a readable sample.
        without_dual: number of problems without a dual.
        changed: number of problems for which the choice is another answer than the majority.
        ways: every way to answer.
        chosen_by: "dual" or "reward".
        chosen_minus: name of a way -> score of the choice minus the score of that way.
    """

    problems: int
    with_gold: int
    unanswered: int
    without_dual: int
    changed: int
    ways: Sequence[Way]
    chosen_by: str
    chosen_minus: Mapping[str, Mean]
    signature: str


def best_and_worst(
    rows: Sequence[ScoredT], count: int = SHOWN, chosen_by: str = "dual"
) -> list[tuple[str, ScoredT]]:
    """The rows with the highest and the lowest scores, at most `count` of each and none twice."""
    names = {"dual": ("recovered best", "recovered worst"), "reward": ("highest reward", "lowest reward")}
    # A stable sort: among equal scores the first problems of the data stand first.
    scored = sorted((row for row in rows if row.score is not None), key=lambda row: -(row.score or 0.0))
    num_best, num_worst = min(count, (len(scored) + 1) // 2), min(count, len(scored) // 2)
    best, worst = scored[:num_best], scored[len(scored) - num_worst :]
    first, last = names[chosen_by]
    return [(first, row) for row in best] + [(last, row) for row in worst]


def read_rerank(summary: Mapping[str, Any]) -> RerankRecord:
    """Reads the content of summary.json."""
    chosen_by = summary.get("chosen_by", "dual")  # reruns of older versions know duals alone
    return RerankRecord(
        problems=summary["problems"],
        with_gold=summary["with_gold"],
        unanswered=summary["unanswered"],
        without_dual=summary["without_dual"],
        changed=summary["other_than_majority"],
        ways=[_read_way(row) for row in summary["methods"]],
        chosen_by=chosen_by,
        chosen_minus={name: Mean(**mean) for name, mean in summary[f"{chosen_by}_minus"].items()},
        signature=summary["signature"],
    )


def _read_way(row: Mapping[str, Any]) -> Way:
    score = None if row["score"] is None else Mean(row["score"], row["low"], row["high"])
    return Way(row["key"], row["method"], score, row["tokens_per_problem"])


def read_answer(row: Mapping[str, Any]) -> AnsweredProblem:
    """Reads one row of answers.jsonl."""
    return AnsweredProblem(
        problem=row["problem"],
        question=row["question"],
        answer=row["answer"],
        score=row["score"],
        votes=row["votes"],
        answers=row["answers"],
        candidates=[_candidate(c) for c in row["candidates"]],
        completion=row["completion"],
        gold=row["gold"],
        quality=row["quality"],
        # Rows of older versions lack what the duals gave back.
        duals=[read_dual(dual) for dual in row.get("reconstructions", [])],
        plain=row.get("plain"),
        plain_gold=row.get("plain_gold"),
    )


def _candidate(row: Mapping[str, Any]) -> Candidate:
    reward = row.get("reward")  # absent in rows of older versions
    return Candidate(row["answer"], row["votes"], row["backward_rate"] if reward is None else reward)
