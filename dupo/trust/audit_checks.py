"""Is a reward one to train on? The checks of an audit, and the verdict."""

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dupo.trust.audit_metrics import AuditMetrics
from dupo.views.counts import counted

# Every advice says first what is wrong, then what to try.
TRUNCATED = (
    "completions are cut at the limit: raise --max_completion_length; "
    "a model that never ends needs another prompt or more training"
)
CANNOT_ANSWER = (
    "the dual cannot answer: another --dual_model, more --dual_max_completion_length, easier problems"
)
LEAKS = "duals are solved without the answer: run dupo.select and train on --selected_duals"
UNREADABLE = "answers cannot be read or do not pass the gates: another prompt or model"
DISAGREES = "the reward does not tell better from worse answers: another --dual_model, metric or --reward"
TOO_FEW = (
    "too few problems with readable answers of different quality to tell the reward from chance: "
    "more problems, more --num_generations, or a prompt whose answers can be read"
)
ALL_EQUAL = (
    "readable answers to one problem all get the same reward: "
    "more --num_generations, problems of another level, or a prompt whose answers can be read"
)

# How a measurement has to stand to its bound.
AT_LEAST, ABOVE, AT_MOST = "at least", "above", "at most"
_HOLDS = {AT_LEAST: operator.ge, ABOVE: operator.gt, AT_MOST: operator.le}


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The bounds of the checks. All are ours: the paper names none.

    Attributes:
        truncated: largest share of completions that are cut at the limit of their length.
        dual_on_gold: least recovery from right answers; below, verdicts of the dual are noise.
        beyond_decoys: least share of solved duals beyond that of controls, which stands in without gold.
        leaks: largest share of duals that a control solves.
        readable: least share of completions with an answer.
        agreement: least agreement within problems, among readable answers. 0.65 is a rank correlation of 0.3,
            below which a back-translation reward was seen to do harm.
        chance: agreement of a reward that knows nothing; the whole interval has to lie above.
        differing: least share of groups whose readable answers have different rewards.
    """

    truncated: float = 0.2
    dual_on_gold: float = 0.3
    beyond_decoys: float = 0.05
    leaks: float = 0.1
    readable: float = 0.1
    agreement: float = 0.65
    chance: float = 0.5
    differing: float = 0.1


class Check(NamedTuple):
    """One condition of training.

    Attributes:
        name: what was measured.
        value: the measurement; None where nothing was told apart.
        of: how many of what were measured, "48 pairs".
        sense: how the value has to stand to the bound: AT_LEAST, ABOVE or AT_MOST.
        bound: what the value is compared with.
        advice: what is wrong, and what to do, where the check fails.
        needs_value: fails without a value, because there was something to measure.
    """

    name: str
    value: float | None
    of: str
    sense: str
    bound: float
    advice: str
    needs_value: bool = False

    @property
    def passed(self) -> bool | None:
        """Whether the condition is met; None where there was nothing to measure."""
        if self.value is None:
            return False if self.needs_value else None
        return bool(_HOLDS[self.sense](self.value, self.bound))

    @property
    def measured(self) -> str:
        """The measurement in words, with as many digits as tell the value from the bound."""
        if self.value is None:
            return "none"
        is_rounded = round(self.value, 2) == round(self.bound, 2) and self.value != self.bound
        return f"{self.value:.{4 if is_rounded else 2}f}"

    @property
    def needed(self) -> str:
        """The bound in words."""
        return f"{self.sense} {self.bound:.2f}"

    def to_json(self) -> dict[str, Any]:
        """The check as audit.json holds it."""
        words = {"measured": self.measured, "needed": self.needed}
        return {**self._asdict(), **words, "passed": self.passed}


def checks(metrics: AuditMetrics, thresholds: Thresholds | None = None) -> list[Check]:
    """What training needs, in the order in which to put failures right; without what was not measured."""
    return list(_checks(metrics, thresholds or Thresholds()))


def _checks(metrics: AuditMetrics, bounds: Thresholds) -> Iterator[Check]:
    # What was cut has no end to read or to judge: every later check would blame something else for it.
    completions = counted(metrics.completions, "completion")
    name = "completions cut at the limit"
    yield Check(name, metrics.truncated, completions, AT_MOST, bounds.truncated, TRUNCATED)
    name = "completions with an answer"
    yield Check(name, metrics.readable, completions, AT_LEAST, bounds.readable, UNREADABLE)
    yield from _dual_checks(metrics, bounds)
    if metrics.with_gold:
        yield from _agreement_checks(metrics, bounds)
    # Last, because this check may fail for a reward that is right: on problems that are too easy or too hard.
    rewards = metrics.rewards
    groups = f"{counted(metrics.problems, 'group')}, {rewards.comparable:,} with two readable answers"
    # A group without two readable answers cannot differ, whatever the reward is.
    can_differ = rewards.comparable >= bounds.differing * metrics.problems
    advice = ALL_EQUAL if can_differ else TOO_FEW
    name = "groups whose rewards differ, readable answers"
    yield Check(name, rewards.readable_differing, groups, AT_LEAST, bounds.differing, advice)


def _dual_checks(metrics: AuditMetrics, bounds: Thresholds) -> Iterator[Check]:
    """Nothing where the reward asks no duals."""
    gold, leaks = metrics.gold, metrics.leaks
    # A dual that fails with the right answer fails with all: no later check would say anything then.
    if gold.dual_on_gold is not None:
        name, duals = "dual accuracy on right answers", counted(gold.duals_on_gold, "dual")
        yield Check(name, gold.dual_on_gold, duals, AT_LEAST, bounds.dual_on_gold, CANNOT_ANSWER)
    # Without gold, sampled answers must at least do better than controls, which hold no right answer.
    elif metrics.beyond_decoys is not None:
        name, duals = (
            "duals solved by samples, less those by controls",
            counted(metrics.answered_duals, "dual"),
        )
        yield Check(name, metrics.beyond_decoys, duals, AT_LEAST, bounds.beyond_decoys, CANNOT_ANSWER)
    # Next the opposite fault: duals that are solved whatever the answer is.
    if leaks.no_answer is not None:
        name, duals = "duals solved with no answer", counted(leaks.duals, "dual")
        yield Check(name, leaks.no_answer, duals, AT_MOST, bounds.leaks, LEAKS)
    if leaks.decoy is not None:
        name, duals = "duals solved with a decoy", counted(leaks.with_decoy, "dual")
        yield Check(name, leaks.decoy, duals, AT_MOST, bounds.leaks, LEAKS)


def _agreement_checks(metrics: AuditMetrics, bounds: Thresholds) -> Iterator[Check]:
    """Within problems, because advantages compare answers to one problem only."""
    agreement = metrics.gold.readable
    pairs, problems = counted(agreement.within_pairs, "pair"), counted(agreement.problems, "problem")
    mean = agreement.within.mean if agreement.within else None
    # Pairs that no reward orders speak against the reward; that there is no pair does not.
    is_tied = mean is None and agreement.within_pairs > 0
    pairs += ", all tied" if is_tied else ""
    name = "within-problem agreement with gold, readable answers"
    yield Check(name, mean, pairs, AT_LEAST, bounds.agreement, DISAGREES, needs_value=is_tied)
    # Chance itself does not pass: a reward that knows nothing would, as often as not.
    low = agreement.within.low if agreement.within else None
    yield Check("low end of its 95% interval", low, problems, ABOVE, bounds.chance, TOO_FEW)


def verdict(results: Sequence[Check], with_gold: bool) -> str:
    """`train`, or what to put right first, with the threshold that decided.

    Args:
        with_gold: right answers took part in the checks.
    """
    # One cause at a time: what fails later often fails because of what failed first.
    failed = next((check for check in results if check.passed is False), None)
    # A right answer that could be compared with nothing is no evidence for the reward.
    unmeasured = next((check for check in results if check.passed is None), None)
    decisive = failed or unmeasured
    if decisive is not None:
        advice = decisive.advice if failed else TOO_FEW
        measured = f"{decisive.name} {decisive.measured} of {decisive.of}"
        return f"fix this first: {advice} ({measured}, {decisive.needed} needed)"
    return "train" if with_gold else "train, as far as can be told without right answers"
