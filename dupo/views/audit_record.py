"""What audit.json and audit.jsonl hold, as the page of an audit shows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Check:
    """One condition of training, measured.

    Attributes:
        value: what was measured.
        bound: the least value that passes, or the most: see `at_least`.
        advice: what to do if the check fails.
    """

    name: str
    value: float
    bound: float
    at_least: bool
    passed: bool
    advice: str


@dataclass(frozen=True)
class AuditRecord:
    """The result of an audit; a metric that could not be measured is None.

    Attributes:
        verdict: begins with "train" where the reward is one to train on.
        reward_auc: how well the reward tells right from wrong, in [0, 1].
        agreement: mean agreement of reward and quality within a problem.
        signal: share of the signal that gold rewards would give.
        dual_on_gold: share of duals that are solved from the right answer.
        dual_on_wrong: share of duals that are solved from a wrong answer.
        readable: share of completions with an answer.
        differing: share of problems whose completions get different rewards.
        refusals: reason -> share of the completions that have no answer for that reason.
        dual_outcomes: outcome -> share of the duals.
    """

    verdict: str
    checks: Sequence[Check]
    signature: str
    reward_auc: float | None
    agreement: float | None
    signal: float | None
    dual_on_gold: float | None
    dual_on_wrong: float | None
    readable: float | None
    differing: float | None
    refusals: Mapping[str, float]
    dual_outcomes: Mapping[str, float]


@dataclass(frozen=True)
class AuditedDual:
    """A dual of a problem: the question, the hidden part, and how the dual fared."""

    question: str
    hidden: str
    outcome: str


@dataclass(frozen=True)
class AuditedProblem:
    """A problem with its sampled answers.

    Attributes:
        gold: the right answer; None: unknown.
        answers: one for each completion; None: none could be read.
        rewards: one for each answer.
        qualities: score of each answer against gold, in [0, 1]; None without gold.
    """

    text: str
    gold: str | None
    answers: Sequence[str | None]
    rewards: Sequence[float]
    qualities: Sequence[float] | None
    duals: Sequence[AuditedDual]


def read_audit(summary: Mapping[str, Any]) -> AuditRecord:
    """Reads the content of audit.json."""
    metrics = summary["metrics"]
    outcomes = metrics["outcomes"]
    total = sum(outcomes.values())
    return AuditRecord(
        verdict=summary["verdict"],
        checks=[_read_check(row) for row in summary["checks"]],
        signature=summary["signature"],
        reward_auc=metrics["reward_auc"],
        # The interval of the agreement has a check of its own; the card shows the mean.
        agreement=(metrics["agreement"] or {}).get("mean"),
        signal=metrics["signal"],
        dual_on_gold=metrics["dual_on_gold"],
        dual_on_wrong=metrics["dual_on_wrong"],
        readable=metrics["readable"],
        differing=metrics["differing"],
        refusals=metrics["refused"],
        # audit.json counts duals; a reader compares shares.
        dual_outcomes={name: count / total for name, count in outcomes.items()},
    )


def _read_check(row: Mapping[str, Any]) -> Check:
    return Check(
        name=row["name"],
        value=row["value"],
        bound=row["bound"],
        at_least=row["at_least"],
        passed=row["passed"],
        advice=row["advice"],
    )


def read_problem(row: Mapping[str, Any]) -> AuditedProblem:
    """Reads one row of audit.jsonl."""
    return AuditedProblem(
        text=row["text"],
        gold=row["gold"],
        answers=row["answers"],
        rewards=row["rewards"],
        qualities=row["quality"],
        # A dual that hides the whole source (translation) has no other part to show.
        duals=[
            AuditedDual(dual["known"] or dual["unknown"], dual["unknown"], dual["outcome"])
            for dual in row["duals"]
        ],
    )
