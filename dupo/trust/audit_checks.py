"""Is a reward one to train on? The checks of an audit, and the verdict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dupo.trust.audit_metrics import AuditMetrics

# Every advice says first what is wrong, then what to try.
CANNOT_ANSWER = (
    "the dual cannot answer: another --dual_model, more --dual_max_completion_length, easier problems"
)
LEAKS = "duals are solved without the answer: run dupo.select and train on --selected_duals"
UNREADABLE = "answers cannot be read or do not pass the gates: longer completions, another prompt or model"
DISAGREES = "the reward does not tell better from worse answers: another --dual_model, metric or --reward"
TOO_FEW = "too few problems with right answers to tell the reward from chance: more of them"
ALL_EQUAL = (
    "answers to one problem all get the same reward: more --num_generations, or problems of another level"
)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The bounds of the checks. All are ours: the paper names none.

    Attributes:
        dual_on_gold: least recovery from right answers; below, verdicts of the dual are noise.
        beyond_decoys: least share of solved duals beyond that of controls, which stands in without gold.
        leaks: largest share of duals that a control solves.
        readable: least share of completions with an answer.
        agreement: least agreement within problems. 0.65 is a rank correlation of 0.3, below which a
            back-translation reward was seen to do harm.
        chance: agreement of a reward that knows nothing, which the interval has to leave out.
        differing: least share of groups whose rewards differ.
    """

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
        value: the measurement.
        bound: the least value that passes, or the largest: see `at_least`.
        advice: what is wrong, and what to do, where the check fails.
    """

    name: str
    value: float
    bound: float
    at_least: bool
    advice: str

    @property
    def passed(self) -> bool:
        """Whether the condition is met."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    @property
    def needed(self) -> str:
        """The bound in words."""
        return f"{'at least' if self.at_least else 'at most'} {self.bound:.2f}"

    def to_json(self) -> dict[str, Any]:
        """The check as audit.json holds it."""
        return {**self._asdict(), "passed": self.passed}


def checks(metrics: AuditMetrics, thresholds: Thresholds | None = None) -> list[Check]:
    """What training needs, in the order in which to put failures right; without what was not measured."""
    return list(_checks(metrics, thresholds or Thresholds()))


def _checks(metrics: AuditMetrics, bounds: Thresholds) -> Iterator[Check]:
    gold = metrics.gold
    # A dual that fails with the right answer fails with all: no later check would say anything then.
    if gold.dual_on_gold is not None:
        name = "dual accuracy on right answers"
        yield Check(name, gold.dual_on_gold, bounds.dual_on_gold, True, CANNOT_ANSWER)
    # Without gold, sampled answers must at least do better than controls, which hold no right answer.
    elif metrics.beyond_decoys is not None:
        name = "duals solved by samples, less those by controls"
        yield Check(name, metrics.beyond_decoys, bounds.beyond_decoys, True, CANNOT_ANSWER)
    # Next the opposite fault: duals that are solved whatever the answer is.
    if metrics.leaks.no_answer is not None:
        yield Check("duals solved with no answer", metrics.leaks.no_answer, bounds.leaks, False, LEAKS)
    if metrics.leaks.decoy is not None:
        yield Check("duals solved with a decoy", metrics.leaks.decoy, bounds.leaks, False, LEAKS)
    yield Check("completions with an answer", metrics.readable, bounds.readable, True, UNREADABLE)
    # Within problems, because advantages compare answers to one problem only.
    if gold.agreement is not None:
        name = "within-problem agreement with gold"
        yield Check(name, gold.agreement.mean, bounds.agreement, True, DISAGREES)
        name = "low end of its 95% interval"
        yield Check(name, gold.agreement.low, bounds.chance, True, TOO_FEW)
    # Last, because this check may fail for a reward that is right: on problems that are too easy or too hard.
    differing = metrics.rewards.differing
    yield Check("groups whose rewards differ", differing, bounds.differing, True, ALL_EQUAL)


def verdict(results: Sequence[Check], with_gold: bool) -> str:
    """`train`, or what to put right first, with the threshold that decided.

    Args:
        with_gold: right answers took part in the checks.
    """
    # One cause at a time: what fails later often fails because of what failed first.
    failed = next((check for check in results if not check.passed), None)
    if failed is not None:
        return f"fix this first: {failed.advice} ({failed.name} {failed.value:.2f}, {failed.needed} needed)"
    return "train" if with_gold else "train, as far as can be told without right answers"
