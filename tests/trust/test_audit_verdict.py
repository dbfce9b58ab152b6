"""The verdict of an audit: what each check decides, and in which order."""

from dataclasses import replace

import pytest

from dupo.evaluation.intervals import Estimate
from dupo.trust.agreement import Agreement
from dupo.trust.audit_checks import Thresholds, checks, verdict
from dupo.trust.audit_metrics import AuditMetrics, GoldMetrics, RewardMetrics, audit_metrics
from dupo.trust.dual_filter import LeakRates
from tests.helpers.audit_rows import CLEAR, MIXED, dual, row

BOUNDS = Thresholds()
AGREEMENT = Estimate(BOUNDS.agreement, BOUNDS.chance + 0.001, 0.9)


def measured(
    dual_on_gold: float | None = BOUNDS.dual_on_gold,
    beyond_decoys: float | None = BOUNDS.beyond_decoys,
    no_answer: float = BOUNDS.leaks,
    decoy: float = BOUNDS.leaks,
    truncated: float = BOUNDS.truncated,
    readable: float = BOUNDS.readable,
    agreement: Estimate = AGREEMENT,
    differing: float = BOUNDS.differing,
) -> AuditMetrics:
    """Metrics that just pass every check, unless told otherwise."""
    return replace(
        audit_metrics([CLEAR], 0.5),
        truncated=truncated,
        readable=readable,
        leaks=LeakRates(no_answer, decoy, 20, 10),
        beyond_decoys=beyond_decoys,
        rewards=RewardMetrics(0.5, 0.5, 0.0, 1.0, 1, differing, all_zero=0.0),
        gold=GoldMetrics(
            dual_on_gold=dual_on_gold, duals_on_gold=20, readable=Agreement(0.7, 90, agreement, 48, 14)
        ),
    )


# in the order in which they decide: what is broken, and what is said of it
BROKEN = [
    ({"truncated": 0.3}, "completions are cut at the limit", "limit 0.30 of 4 completions, at most 0.20"),
    ({"readable": 0.05}, "answers cannot be read", "with an answer 0.05 of 4 completions, at least 0.10"),
    ({"dual_on_gold": 0.29}, "the dual cannot answer", "right answers 0.29 of 20 duals, at least 0.30"),
    ({"no_answer": 0.11}, "duals are solved without", "with no answer 0.11 of 20 duals, at most 0.10"),
    ({"decoy": 0.2}, "duals are solved without", "with a decoy 0.20 of 10 duals, at most 0.10"),
    (
        {"agreement": Estimate(0.6, 0.55, 0.7)},
        "the reward does not tell",
        "readable answers 0.60 of 48 pairs, at least 0.65",
    ),
    ({"agreement": Estimate(0.7, 0.5, 0.8)}, "too few problems", "0.50 of 14 problems, above 0.50"),
    (
        {"differing": 0.05},
        "all get the same reward",
        "readable answers 0.05 of 1 group, 1 with two readable answers, at least 0.10",
    ),
]


def test_at_every_bound_there_is_training():
    assert verdict(checks(measured()), with_gold=True) == "train"


@pytest.mark.parametrize("place", range(len(BROKEN)))
def test_each_check_decides_alone_and_before_those_after_it(place):
    values, advice, threshold = BROKEN[place]
    results = checks(measured(**values))
    assert [check.passed for check in results] == [n != place for n in range(len(BROKEN))]
    later = {key: value for more, *_ in BROKEN[place:] for key, value in more.items()}
    for outcome in (results, checks(measured(**later | values))):
        decision = verdict(outcome, with_gold=True)
        assert decision.startswith("fix this first: ") and advice in decision
        assert decision.endswith(f"{threshold} needed)")


def test_other_thresholds_decide_otherwise():
    strict = replace(BOUNDS, readable=0.5)
    assert verdict(checks(measured(), strict), with_gold=True).startswith("fix this first: answers cannot")


def test_without_right_answers_samples_must_solve_more_than_chance_does():
    blind = {"dual_on_gold": None}
    assert verdict(checks(measured(**blind)), with_gold=False).startswith("train")
    decision = verdict(checks(measured(**blind, beyond_decoys=0.04)), with_gold=False)
    assert "the dual cannot answer" in decision
    assert "less those by controls 0.04 of 0 duals, at least 0.05" in decision
    # two of three samples solve it, one of two controls does
    tried = dual({"9": 1.0, "8": 0.0}, no_answer=1.0, decoys={"7": 0.0})
    metrics = audit_metrics([row([1.0, 1.0, 0.0, 0.0], answers=["9", "9", "8", None], duals=[tried])], 0.5)
    assert metrics.beyond_decoys == pytest.approx(2 / 3 - 1 / 2)
    # a dual model that guesses right one time in five: so do some answer of a large pool and some decoy
    guessed = dual({a: float(a == "0") for a in "01234"}, decoys={d: float(d == "x") for d in "xyzw"})
    metrics = audit_metrics([row([0.2] * 5, answers=list("01234"), duals=[guessed])], 0.5)
    assert metrics.solvable == 1 and metrics.beyond_decoys == pytest.approx(0)


def test_a_reward_without_duals_is_not_asked_for_them():
    metrics = audit_metrics([CLEAR, MIXED], 0.5)
    names = [
        "completions cut at the limit",
        "completions with an answer",
        "within-problem agreement with gold, readable answers",
        "low end of its 95% interval",
        "groups whose rewards differ, readable answers",
    ]
    assert [check.name for check in checks(metrics)] == names
    assert verdict(checks(audit_metrics([CLEAR, MIXED] * 6, 0.5)), with_gold=True) == "train"


def test_a_measurement_is_told_from_its_bound():
    """In two digits 0.496, 0.5 and 0.504 look alike, but one of them passes."""
    low_ends = [measured(agreement=Estimate(0.7, low, 0.9)) for low in (0.496, 0.5, 0.504)]
    results = [next(c for c in checks(m) if "interval" in c.name) for m in low_ends]
    assert [(c.measured, c.passed) for c in results] == [("0.4960", False), ("0.50", False), ("0.5040", True)]
    assert {c.needed for c in results} == {"above 0.50"}
    assert results[0].to_json()["needed"] == "above 0.50" and results[0].to_json()["measured"] == "0.4960"
