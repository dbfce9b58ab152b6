"""What audit.json and audit.jsonl hold, as the page of an audit shows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Check:
    """One condition of training, measured.

    Attributes:
        measured: the measurement in words; "none": there was nothing to measure.
        of: how many of what were measured.
        needed: the bound in words.
        passed: whether the value passes; None where there is none.
        advice: what to do if the check fails.
    """

    name: str
    measured: str
    of: str
    needed: str
    passed: bool | None
    advice: str


@dataclass(frozen=True)
class Order:
    """How often the better of two completions has the higher reward.

    Attributes:
        reward_auc: over all pairs of different quality, in [0, 1].
        reward_auc_pairs: number of those pairs.
        agreement: mean over problems of the same within a problem.
        agreement_pairs: number of pairs within problems.
    """

    reward_auc: float | None
    reward_auc_pairs: int
    agreement: float | None
    agreement_pairs: int


@dataclass(frozen=True)
class Guidance:
    """What following the rewards gives, with the number of completions or problems behind each figure.

    Attributes:
        accuracy: mean quality of the completions.
        reward_accuracy: share of completions with reward and quality on the same side of one half.
        compared: number of the completions of both.
        best_of_n: mean quality of the completions with the highest reward of their problem.
        signal: share of the signal that gold rewards would give.
    """

    accuracy: float | None
    reward_accuracy: float | None
    compared: int
    best_of_n: float | None
    best_of_n_problems: int
    signal: float | None
    signal_problems: int


@dataclass(frozen=True)
class AuditRecord:
    """The result of an audit; a metric that could not be measured is None.

    Attributes:
        verdict: begins with "train" where the reward is one to train on.
        problems: number of problems.
        with_gold: number of problems with a right answer.
        completions: number of completions.
        readable_order: of reward and quality, among completions with an answer.
        overall_order: the same over all completions; refused ones count as worthless.
        guidance: what following the rewards gives, among completions with an answer.
        overall_guidance: the same over all completions.
        dual_on_gold: share of duals that are solved from the right answer.
        duals_on_gold: number of duals that were tried with it.
        dual_on_wrong: share of duals that are solved from a wrong answer.
        trials_on_wrong: number of trials, one for each dual and wrong answer.
        truncated: share of completions that were cut at the limit.
        readable: share of completions with an answer.
        differing: share of problems whose readable answers get different rewards; None: none has two answers.
        refusals: reason -> share of the completions that have no answer for that reason.
        dual_outcomes: outcome -> share of the duals.
        duals: number of duals.
    """

    verdict: str
    checks: Sequence[Check]
    signature: str
    problems: int
    with_gold: int
    completions: int
    readable_order: Order
    overall_order: Order
    guidance: Guidance
    overall_guidance: Guidance
    dual_on_gold: float | None
    duals_on_gold: int
    dual_on_wrong: float | None
    trials_on_wrong: int
    truncated: float
    readable: float
    differing: float | None
    refusals: Mapping[str, float]
    dual_outcomes: Mapping[str, float]
    duals: int


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
        plain: problem and right answer as people write them; None: they stand so already.
    """

    text: str
    gold: str | None
    answers: Sequence[str | None]
    rewards: Sequence[float]
    qualities: Sequence[float] | None
    duals: Sequence[AuditedDual]
    plain: str | None


def read_audit(summary: Mapping[str, Any]) -> AuditRecord:
    """Reads the content of audit.json."""
    metrics = summary["metrics"]
    outcomes = metrics["outcomes"]
    total = sum(outcomes.values())
    return AuditRecord(
        verdict=summary["verdict"],
        checks=[_read_check(row) for row in summary["checks"]],
        signature=summary["signature"],
        problems=metrics["problems"],
        with_gold=metrics["with_gold"],
        completions=metrics["completions"],
        readable_order=_read_order(metrics, "readable_"),
        overall_order=_read_order(metrics, ""),
        guidance=_read_guidance(metrics, "readable_"),
        overall_guidance=_read_guidance(metrics, ""),
        dual_on_gold=metrics["dual_on_gold"],
        duals_on_gold=metrics["duals_on_gold"],
        dual_on_wrong=metrics["dual_on_wrong"],
        trials_on_wrong=metrics["trials_on_wrong"],
        truncated=metrics["truncated"],
        readable=metrics["readable"],
        differing=metrics["readable_differing"],
        refusals=metrics["refused"],
        # audit.json counts duals; a reader compares shares.
        dual_outcomes={name: count / total for name, count in outcomes.items()},
        duals=total,
    )


def _read_order(metrics: Mapping[str, Any], prefix: str) -> Order:
    return Order(
        reward_auc=metrics[f"{prefix}reward_auc"],
        reward_auc_pairs=metrics[f"{prefix}reward_auc_pairs"],
        # The interval of the agreement has a check of its own; the table shows the mean.
        agreement=(metrics[f"{prefix}agreement"] or {}).get("mean"),
        agreement_pairs=metrics[f"{prefix}agreement_pairs"],
    )


def _read_guidance(metrics: Mapping[str, Any], prefix: str) -> Guidance:
    return Guidance(
        accuracy=metrics[f"{prefix}accuracy"],
        reward_accuracy=metrics[f"{prefix}reward_accuracy"],
        compared=metrics[f"{prefix}compared"],
        best_of_n=metrics[f"{prefix}best_of_n"],
        best_of_n_problems=metrics[f"{prefix}best_of_n_problems"],
        signal=metrics[f"{prefix}signal"],
        signal_problems=metrics[f"{prefix}signal_problems"],
    )


def _read_check(row: Mapping[str, Any]) -> Check:
    return Check(
        name=row["name"],
        measured=row["measured"],
        of=row["of"],
        needed=row["needed"],
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
        plain=row.get("plain"),
    )
