"""What an audit measures, from the rows of audit.jsonl: metrics of answers, rewards and duals.

Shape letters: P problems, G completions of each.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

import torch

from dupo.evaluation.statistics import readable_only
from dupo.rewards.advantages import group_advantages
from dupo.trust.agreement import Agreement, Judged, agreement_of
from dupo.trust.dual_filter import LeakRates, leak_rates
from dupo.trust.guidance import Guidance, guidance_of
from dupo.trust.rows import AuditRow


@dataclass(frozen=True, slots=True)
class RewardMetrics:
    """How much rewards differ: a group whose rewards are all equal teaches nothing.

    Attributes:
        reward: mean over all completions.
        reward_std: standard deviation within a group, mean over groups.
        frac_reward_zero_std: share of the groups without any difference.
        differing: share of the groups with a difference.
        comparable: number of the groups with two readable answers at least.
        readable_differing: share of the groups whose readable answers have a difference; None where no group
            has two to compare.
        all_zero: share of the groups whose rewards are all 0.
    """

    reward: float
    reward_std: float
    frac_reward_zero_std: float
    differing: float
    comparable: int
    readable_differing: float | None
    all_zero: float


@dataclass(frozen=True, slots=True)
class GoldMetrics:
    """How well rewards follow quality; None where the right answers do not tell.

    Attributes:
        dual_on_gold: mean recovery from right answers.
        duals_on_gold: number of duals that were tried with a right answer.
        dual_on_wrong: mean recovery from sampled wrong answers.
        trials_on_wrong: number of those recoveries, one for each dual and wrong answer.
        overall: agreement of reward and quality over all completions.
        readable: the same among completions with an answer.
        overall_guidance: what following the rewards would give, over all completions.
        guidance: the same among completions with an answer.
    """

    dual_on_gold: float | None = None
    duals_on_gold: int = 0
    dual_on_wrong: float | None = None
    trials_on_wrong: int = 0
    overall: Agreement = field(default_factory=Agreement)
    readable: Agreement = field(default_factory=Agreement)
    overall_guidance: Guidance = field(default_factory=Guidance)
    guidance: Guidance = field(default_factory=Guidance)

    def to_json(self) -> dict[str, Any]:
        """The metrics as audit.json holds them, all side by side."""
        return {
            "dual_on_gold": self.dual_on_gold,
            "duals_on_gold": self.duals_on_gold,
            "dual_on_wrong": self.dual_on_wrong,
            "trials_on_wrong": self.trials_on_wrong,
            **self.overall.to_json(),
            **self.readable.to_json("readable_"),
            **self.overall_guidance.to_json(),
            **self.guidance.to_json("readable_"),
        }


@dataclass(frozen=True, slots=True)
class AuditMetrics:
    """The metrics of an audit. Metrics of duals are None where no dual was asked.

    Attributes:
        problems: number of problems.
        with_gold: number of problems with a right answer.
        completions: number of completions.
        truncated: share of completions that were cut at the limit of their length.
        readable: share of completions with an answer.
        refused: reason -> share of the completions that have no answer for that reason.
        without_dual: share of problems without a dual.
        duals_per_problem: mean number of duals.
        answered_duals: number of duals that an answer was put through.
        dual_readable: mean share of dual samples that could be read.
        solvable: share of duals that any answer of the pool solves.
        leaks: shares of duals that a control solves.
        beyond_decoys: share of (sample, dual) pairs that are solved, minus that of (control, dual) pairs.
        outcomes: outcome of `dual_filter.OUTCOMES` -> number of duals.
    """

    problems: int
    with_gold: int
    completions: int
    truncated: float
    readable: float
    refused: dict[str, float]
    without_dual: float
    duals_per_problem: float
    answered_duals: int
    dual_readable: float | None
    solvable: float | None
    leaks: LeakRates
    beyond_decoys: float | None
    outcomes: dict[str, int]
    rewards: RewardMetrics
    gold: GoldMetrics = field(default_factory=GoldMetrics)

    def to_json(self) -> dict[str, Any]:
        """The metrics as audit.json holds them, all side by side."""
        return {
            "problems": self.problems,
            "with_gold": self.with_gold,
            "completions": self.completions,
            "truncated": self.truncated,
            "readable": self.readable,
            "refused": self.refused,
            "without_dual": self.without_dual,
            "duals_per_problem": self.duals_per_problem,
            "answered_duals": self.answered_duals,
            "dual_readable": self.dual_readable,
            "solvable": self.solvable,
            **self.leaks.to_json(),
            "beyond_decoys": self.beyond_decoys,
            "outcomes": self.outcomes,
            **asdict(self.rewards),
            **self.gold.to_json(),
        }


def audit_metrics(rows: Sequence[AuditRow], threshold: float, scale_rewards: str = "group") -> AuditMetrics:
    """Measures without the right answers, and with them where there are any.

    Args:
        rows: one or more.
        threshold: least similarity at which an answer solves a dual.
        scale_rewards: how rewards become advantages, see `group_advantages`.
    """
    # Flat lists: most metrics are shares of all completions, or of all duals.
    answers = [answer for row in rows for answer in row.answers]
    duals = [dual for row in rows for dual in row.duals]
    trials = [dual.trial for dual in duals]
    # A dual that no answer was put through, because none could be read, is not to blame for that.
    answered = [trial for trial in trials if trial.solved]
    refused = Counter[str]()
    for row in rows:
        refused.update(row.refused)
    return AuditMetrics(
        problems=len(rows),
        with_gold=sum(row.quality is not None for row in rows),
        completions=len(answers),
        truncated=sum(row.truncated for row in rows) / len(answers),
        readable=share(answer is not None for answer in answers),
        refused={reason: count / len(answers) for reason, count in refused.most_common()},
        without_dual=share(not row.duals for row in rows),
        duals_per_problem=len(duals) / len(rows),
        answered_duals=len(answered),
        dual_readable=_mean(1 - trial.unread for trial in answered if trial.unread is not None),
        solvable=share(max(t.solved.values()) >= threshold for t in answered) if answered else None,
        leaks=leak_rates(trials, threshold),
        beyond_decoys=solved_beyond_decoys(rows, threshold),
        outcomes=dict(Counter(dual.outcome for dual in duals)),
        rewards=reward_metrics(rows),
        gold=gold_metrics([row for row in rows if row.quality is not None], scale_rewards),
    )


def share(conditions: Iterable[bool]) -> float:
    """Share of the conditions that hold; of one condition at least."""
    values = list(conditions)
    return sum(values) / len(values)


def _mean(values: Iterable[float]) -> float | None:
    """The mean; None without any value."""
    numbers = list(values)
    return fmean(numbers) if numbers else None


def solved_beyond_decoys(rows: Sequence[AuditRow], threshold: float) -> float | None:
    """How much more often a sampled answer solves a dual than no answer or a decoy does.

    The difference is 0 for a model that guesses the hidden part, however many answers the pool has.
    None where no answer was put through a dual.
    """
    # Answers count as often as they were sampled, as they do in the reward.
    by_samples, by_controls = list[float](), list[float]()
    for row in rows:
        for trial in (dual.trial for dual in row.duals):
            by_samples += [
                trial.solved[answer]
                for answer in row.answers
                if answer is not None and answer in trial.solved
            ]
            by_controls += [trial.no_answer, *trial.decoys.values()]
    if not by_samples:
        return None
    return share(s >= threshold for s in by_samples) - share(s >= threshold for s in by_controls)


def reward_metrics(rows: Sequence[AuditRow]) -> RewardMetrics:
    """How much the rewards of a group differ."""
    rewards_PG = torch.tensor([row.rewards for row in rows])
    # Compared for equality: 1 - frac_reward_zero_std would be off by rounding at the bound of the check.
    differs_P = (rewards_PG != rewards_PG[:, :1]).any(-1)
    is_zero_P = (rewards_PG == 0).all(-1)
    # A group that differs by what was refused only teaches to be readable.
    readable = [readable_only(row.answers, row.rewards, row.rewards)[0] for row in rows]
    comparable = sum(len(rewards) > 1 for rewards in readable)
    # TRL's metrics of a rollout, by the function that training takes them from.
    _, metrics = group_advantages(rewards_PG, "none")
    return RewardMetrics(
        **metrics,
        differing=share(differs_P.tolist()),
        comparable=comparable,
        readable_differing=share(len(set(rewards)) > 1 for rewards in readable) if comparable else None,
        all_zero=share(is_zero_P.tolist()),
    )


def gold_metrics(rows: Sequence[AuditRow], scale_rewards: str) -> GoldMetrics:
    """How well rewards follow quality, over all completions and within problems.

    Args:
        rows: rows with quality.
    """
    if not rows:
        return GoldMetrics()
    everything = [Judged(row.rewards, row.quality or ()) for row in rows]
    readable = [Judged(*readable_only(row.answers, row.rewards, row.quality or ())) for row in rows]
    # The right answer was put through the duals whether it was sampled or not.
    on_gold = [d.trial.gold for row in rows for d in row.duals if d.trial.gold is not None]
    on_wrong = _recovery_from_wrong(rows)
    return GoldMetrics(
        dual_on_gold=_mean(on_gold),
        duals_on_gold=len(on_gold),
        dual_on_wrong=_mean(on_wrong),
        trials_on_wrong=len(on_wrong),
        overall=agreement_of(everything),
        readable=agreement_of(readable),
        overall_guidance=guidance_of(everything, scale_rewards),
        guidance=guidance_of(readable, scale_rewards),
    )


def _recovery_from_wrong(rows: Sequence[AuditRow]) -> list[float]:
    """Similarity of every dual for every different wrong answer, however often the answer was given."""
    similarities = []
    for row in rows:
        wrong = {
            answer
            for answer, quality in zip(row.answers, row.quality or (), strict=True)
            if answer is not None and quality < 0.5
        }
        # A wrong answer counts once: frequent ones would hide how the dual treats the others.
        for dual in row.duals:
            similarities += [dual.trial.solved[answer] for answer in wrong if answer in dual.trial.solved]
    return similarities
