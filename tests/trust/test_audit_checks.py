"""Figures and verdict of an audit, against numbers worked out by hand."""

import json
import math
from dataclasses import replace

import pytest

from dupo.evaluation.intervals import Estimate
from dupo.records import Dual
from dupo.trust.audit_checks import Thresholds, checks, verdict
from dupo.trust.audit_metrics import AuditMetrics, GoldMetrics, RewardMetrics, audit_metrics
from dupo.trust.dual_filter import LeakRates, Trial
from dupo.trust.rows import AuditRow, TrialRow


def dual(solved=None, no_answer=0.0, decoys=None, gold=None, unread=0.0, outcome="kept") -> TrialRow:
    return TrialRow(outcome, Trial(Dual("@?", "1", "?"), solved or {}, no_answer, decoys or {}, unread, gold))


def row(rewards, quality=None, answers=None, duals=(), refused=None) -> AuditRow:
    answers = list("abcd"[: len(rewards)]) if answers is None else answers
    refused = refused or {"unreadable": answers.count(None)}
    refused = {reason: count for reason, count in refused.items() if count}
    return AuditRow("id", "text", None, answers, refused, rewards, quality, list(duals), "")


MIXED = row([1.0, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0])
CLEAR = row([1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0])
WRONG = row([0.0] * 4, [0.0] * 4)
ROWS = [MIXED, CLEAR, WRONG]


def test_reward_against_quality():
    metrics = audit_metrics(ROWS, 0.5)
    assert (metrics.problems, metrics.with_gold, metrics.completions) == (3, 3, 12)
    assert metrics.gold.accuracy == pytest.approx(4 / 12)
    # 4 right (rewards 1, 1, 1, 0) x 8 wrong (0.5, seven 0): 24 wins of the 1s, 7 halves of the 0
    assert metrics.gold.reward_auc == pytest.approx((24 + 3.5) / 32)
    # within MIXED 2 wins and a tie of 4 pairs, within CLEAR all; WRONG has no pair and says nothing
    assert metrics.gold.agreement.mean == pytest.approx((2.5 / 4 + 1) / 2)
    assert metrics.gold.agreement.low == 0.625 and metrics.gold.agreement.high == 1
    assert metrics.gold.reward_accuracy == pytest.approx((2 + 4 + 4) / 12)
    assert metrics.gold.best_of_n == pytest.approx((1 + 1 + 0) / 3)
    tied = row([1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0])
    assert audit_metrics([tied], 0.5).gold.best_of_n == pytest.approx(1 / 3)  # one of the three best is right


def test_signal_is_the_push_of_the_gradient_towards_quality():
    assert audit_metrics([CLEAR, WRONG], 0.5).gold.signal == pytest.approx(1)
    assert audit_metrics([row([0.0, 1.0], [1.0, 0.0])], 0.5).gold.signal == pytest.approx(-1)
    assert audit_metrics([row([0.3, 0.3], [1.0, 0.0])], 0.5).gold.signal == pytest.approx(0)
    # MIXED: rewards less their mean are .625, .125, -.375, -.375, quality less its own +-.5
    reward_std, gold_std = math.sqrt(0.6875 / 3) + 1e-4, math.sqrt(1 / 3) + 1e-4
    assert audit_metrics([MIXED], 0.5).gold.signal == pytest.approx((0.25 / reward_std) / (1 / gold_std))
    both = (0.25 / reward_std + 1 / gold_std) / (2 / gold_std)
    assert audit_metrics([MIXED, CLEAR], 0.5).gold.signal == pytest.approx(both)
    assert audit_metrics([MIXED], 0.5, "none").gold.signal == pytest.approx(0.25)  # nothing is divided by
    assert audit_metrics([WRONG], 0.5).gold.signal is None


def test_spread_of_rewards():
    metrics = audit_metrics([*ROWS, row([0.1] * 4, [1.0] * 4)], 0.5)
    rewards = metrics.rewards
    assert (rewards.frac_reward_zero_std, rewards.differing, rewards.all_zero) == (2 / 4, 2 / 4, 1 / 4)
    assert rewards.reward == pytest.approx((0.375 + 0.5 + 0 + 0.1) / 4)
    assert rewards.reward_std == pytest.approx((math.sqrt(0.6875 / 3) + math.sqrt(1 / 3)) / 4)


def test_a_tenth_of_ten_groups_is_a_tenth():
    groups = [CLEAR, *[WRONG] * 9]  # 1 - 9/10 is less than 0.1 in floating point
    (check,) = [c for c in checks(audit_metrics(groups, 0.5)) if "differ" in c.name]
    assert check.value == check.bound and check.passed


def test_duals_of_right_and_of_wrong_answers():
    asked = [
        dual({"9": 1.0, "8": 0.25}, gold=1.0, unread=0.5),
        dual({"9": 0.5, "8": 0.0}, gold=0.5, outcome="no answer solves it"),
    ]
    metrics = audit_metrics([row([0.75, 0.1, 0.1, 0.0], [1.0, 0, 0, 0], ["9", "8", "8", None], asked)], 0.6)
    assert metrics.gold.dual_on_gold == pytest.approx(0.75)
    # the wrong answer counts once, however often given
    assert metrics.gold.dual_on_wrong == pytest.approx(0.125)
    assert metrics.solvable == 0.5  # 0.5 is below this threshold
    assert metrics.dual_readable == 0.75
    assert metrics.duals_per_problem == 2 and metrics.without_dual == 0
    assert metrics.outcomes == {"kept": 1, "no answer solves it": 1}
    # the right answer was not sampled: what the dual makes of it is known all the same
    unseen = row([0.0, 0.0], [0.0, 0.0], ["8", "8"], [dual({"8": 0.5}, gold=1.0)])
    assert audit_metrics([unseen], 0.5).gold.dual_on_gold == 1


def test_leaks_are_shares_of_the_duals():
    tried = [
        dual({"9": 1.0}, no_answer=0.5),
        dual({"9": 1.0}, decoys={"7": 0.25, "6": 0.75}),
        dual({"9": 1.0}, decoys={"7": 0.4}, no_answer=0.4),
        dual({}),
    ]
    metrics = audit_metrics([row([1.0, 1.0], duals=tried)], 0.5)
    assert metrics.leaks.no_answer == 0.25
    assert metrics.leaks.decoy == 0.5  # of the two that were tried with decoys
    assert metrics.solvable == 1  # the dual that no answer was put through is not counted


def test_readable_and_refused():
    refused = {"copy": 1, "language": 2}
    metrics = audit_metrics([row([0.0] * 4, answers=["a", None, None, None], refused=refused), CLEAR], 0.5)
    assert metrics.readable == 5 / 8
    assert metrics.refused == {"language": 0.25, "copy": 0.125}


def test_without_right_answers_what_needs_them_is_none_and_not_checked():
    blind = [row([1.0, 0.0, 0.0, 0.0], duals=[dual({"a": 1.0, "b": 0.0}, decoys={"c": 0.0})])]
    metrics = audit_metrics(blind, 0.5)
    needs = "accuracy reward_auc reward_accuracy agreement best_of_n dual_on_gold dual_on_wrong signal"
    values = metrics.to_json()
    assert {values[name] for name in needs.split()} == {None} and metrics.with_gold == 0
    results = checks(metrics)
    assert [check.name for check in results] == [
        "duals solved by samples, less those by controls",
        "duals solved with no answer",
        "duals solved with a decoy",
        "completions with an answer",
        "groups whose rewards differ",
    ]
    assert verdict(results, with_gold=False) == "train, as far as can be told without right answers"
    partly = audit_metrics([*blind, CLEAR], 0.5)  # a part of the problems has them
    assert (partly.with_gold, partly.gold.accuracy, partly.problems) == (1, 0.5, 2)


def test_what_was_not_tried_decides_nothing():
    """No completion can be read: the duals were asked nothing, and are not to blame."""
    silent = row([0.0, 0.0], answers=[None, None], duals=[dual(outcome="no answer could be read")])
    metrics = audit_metrics([silent], 0.5)
    assert (metrics.solvable, metrics.dual_readable) == (None, None)
    assert verdict(checks(metrics), with_gold=True).startswith("fix this first: answers cannot be read")
    metrics = audit_metrics([row([1.0, 0.0])], 0.5)  # no problem has a dual
    assert (metrics.leaks.no_answer, metrics.leaks.decoy) == (None, None)
    assert len(checks(metrics)) == 2


# --- the verdict ---

BOUNDS = Thresholds()
AGREEMENT = Estimate(BOUNDS.agreement, BOUNDS.chance, 0.9)


def measured(
    dual_on_gold: float | None = BOUNDS.dual_on_gold,
    beyond_decoys: float | None = BOUNDS.beyond_decoys,
    no_answer: float = BOUNDS.leaks,
    decoy: float = BOUNDS.leaks,
    readable: float = BOUNDS.readable,
    agreement: Estimate | None = AGREEMENT,
    differing: float = BOUNDS.differing,
) -> AuditMetrics:
    """Metrics that just pass every check, unless told otherwise."""
    return replace(
        audit_metrics([CLEAR], 0.5),
        readable=readable,
        leaks=LeakRates(no_answer, decoy),
        beyond_decoys=beyond_decoys,
        rewards=RewardMetrics(0.5, 0.5, 1 - differing, differing, all_zero=0.0),
        gold=GoldMetrics(agreement=agreement, dual_on_gold=dual_on_gold),
    )


# in the order in which they decide: what is broken, and what is said of it
BROKEN = [
    ({"dual_on_gold": 0.29}, "the dual cannot answer", "dual accuracy on right answers 0.29, at least 0.30"),
    ({"no_answer": 0.11}, "duals are solved without", "with no answer 0.11, at most 0.10"),
    ({"decoy": 0.2}, "duals are solved without", "with a decoy 0.20, at most 0.10"),
    ({"readable": 0.05}, "answers cannot be read", "with an answer 0.05, at least 0.10"),
    (
        {"agreement": Estimate(0.6, 0.55, 0.7)},
        "the reward does not tell",
        "agreement with gold 0.60, at least 0.65",
    ),
    ({"agreement": Estimate(0.7, 0.45, 0.8)}, "too few problems with right", "0.45, at least 0.50"),
    ({"differing": 0.05}, "all get the same reward", "rewards differ 0.05, at least 0.10"),
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
    blind = {"dual_on_gold": None, "agreement": None}
    assert verdict(checks(measured(**blind)), with_gold=False).startswith("train")
    decision = verdict(checks(measured(**blind, beyond_decoys=0.04)), with_gold=False)
    assert "the dual cannot answer" in decision
    assert "less those by controls 0.04, at least 0.05" in decision
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
        "completions with an answer",
        "within-problem agreement with gold",
        "low end of its 95% interval",
        "groups whose rewards differ",
    ]
    assert [check.name for check in checks(metrics)] == names
    assert verdict(checks(metrics), with_gold=True) == "train"


def test_rows_and_metrics_go_into_json_and_rows_come_back():
    tried = [dual({"9": 1.0}, decoys={"7": 0.25}, gold=0.5, unread=0.1), dual({}, outcome="dropped")]
    for written in (row([1.0, 0.25], [1.0, 0.0], ["9", None], tried), row([0.5])):
        assert AuditRow.from_json(json.loads(json.dumps(written.to_json()))) == written
    assert "gold" not in tried[1].to_json() and tried[0].to_json()["gold"] == 0.5
    metrics = audit_metrics(ROWS, 0.5)
    values = json.loads(json.dumps(metrics.to_json()))
    assert (values["leak/no_answer"], values["reward"]) == (None, metrics.rewards.reward)
    assert values["agreement"]["low"] == 0.625 and len(values) == 26
