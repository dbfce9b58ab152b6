"""Figures and verdict of an audit, against numbers worked out by hand."""

import json
import math

import numpy as np
import pytest

from dupo.trust.agreement import Agreement
from dupo.trust.audit_checks import checks, verdict
from dupo.trust.audit_metrics import audit_metrics
from dupo.trust.rows import AuditRow
from tests.helpers.audit_rows import CLEAR, MIXED, WRONG, dual, row

ROWS = [MIXED, CLEAR, WRONG]


def test_reward_against_quality():
    metrics = audit_metrics(ROWS, 0.5)
    assert (metrics.problems, metrics.with_gold, metrics.completions) == (3, 3, 12)
    assert metrics.gold.overall_guidance.accuracy == pytest.approx(4 / 12)
    # 4 right (rewards 1, 1, 1, 0) x 8 wrong (0.5, seven 0): 24 wins of the 1s, 7 halves of the 0
    overall = metrics.gold.overall
    assert overall.reward_auc == pytest.approx((24 + 3.5) / 32) and overall.reward_auc_pairs == 32
    # within MIXED 2 wins and a tie of 4 pairs, within CLEAR all; WRONG has no pair and says nothing
    assert overall.within.mean == pytest.approx((2.5 / 4 + 1) / 2)
    assert overall.within.low < 0.625 and overall.within.high > 0.99
    assert (overall.within_pairs, overall.problems) == (4 + 4, 2)
    # every completion has an answer
    assert metrics.gold.readable == overall and metrics.gold.guidance == metrics.gold.overall_guidance
    assert metrics.gold.overall_guidance.reward_accuracy == pytest.approx((2 + 4 + 4) / 12)
    assert metrics.gold.overall_guidance.best_of_n == pytest.approx((1 + 1 + 0) / 3)
    tied = row([1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0])
    assert audit_metrics([tied], 0.5).gold.overall_guidance.best_of_n == pytest.approx(
        1 / 3
    )  # one of the three best is right


def test_signal_is_the_push_of_the_gradient_towards_quality():
    assert audit_metrics([CLEAR, WRONG], 0.5).gold.overall_guidance.signal == pytest.approx(1)
    assert audit_metrics([row([0.0, 1.0], [1.0, 0.0])], 0.5).gold.overall_guidance.signal == pytest.approx(-1)
    assert audit_metrics([row([0.3, 0.3], [1.0, 0.0])], 0.5).gold.overall_guidance.signal == pytest.approx(0)
    # MIXED: rewards less their mean are .625, .125, -.375, -.375, quality less its own +-.5
    reward_std, gold_std = math.sqrt(0.6875 / 3) + 1e-4, math.sqrt(1 / 3) + 1e-4
    assert audit_metrics([MIXED], 0.5).gold.overall_guidance.signal == pytest.approx(
        (0.25 / reward_std) / (1 / gold_std)
    )
    both = (0.25 / reward_std + 1 / gold_std) / (2 / gold_std)
    assert audit_metrics([MIXED, CLEAR], 0.5).gold.overall_guidance.signal == pytest.approx(both)
    assert audit_metrics([MIXED], 0.5, "none").gold.overall_guidance.signal == pytest.approx(
        0.25
    )  # nothing is divided by
    assert audit_metrics([WRONG], 0.5).gold.overall_guidance.signal is None


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
        dual({"9": 0.5, "8": 0.0}, gold=0.5, unread=0.0, outcome="no answer solves it"),
    ]
    metrics = audit_metrics([row([0.75, 0.1, 0.1, 0.0], [1.0, 0, 0, 0], ["9", "8", "8", None], asked)], 0.6)
    assert metrics.gold.dual_on_gold == pytest.approx(0.75) and metrics.gold.duals_on_gold == 2
    # the wrong answer counts once, however often given
    assert metrics.gold.dual_on_wrong == pytest.approx(0.125) and metrics.gold.trials_on_wrong == 2
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
    assert (metrics.leaks.duals, metrics.leaks.with_decoy) == (4, 2)
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
        "completions cut at the limit",
        "completions with an answer",
        "duals solved by samples, less those by controls",
        "duals solved with no answer",
        "duals solved with a decoy",
        "groups whose rewards differ, readable answers",
    ]
    assert verdict(results, with_gold=False) == "train, as far as can be told without right answers"
    partly = audit_metrics([*blind, CLEAR], 0.5)  # a part of the problems has them
    assert (partly.with_gold, partly.gold.overall_guidance.accuracy, partly.problems) == (1, 0.5, 2)


def test_what_was_not_tried_decides_nothing():
    """No completion can be read: the duals were asked nothing, and are not to blame."""
    silent = row([0.0, 0.0], answers=[None, None], duals=[dual(outcome="no answer could be read")])
    metrics = audit_metrics([silent], 0.5)
    assert (metrics.solvable, metrics.dual_readable) == (None, None)
    assert verdict(checks(metrics), with_gold=True).startswith("fix this first: answers cannot be read")
    metrics = audit_metrics([row([1.0, 0.0])], 0.5)  # no problem has a dual
    assert (metrics.leaks.no_answer, metrics.leaks.decoy) == (None, None)
    assert len(checks(metrics)) == 3


# --- among readable answers ---

# One completion is refused: reward and quality 0. Of the others the worse answers have the higher rewards.
BLIND = row([0.1, 0.2, 0.3, 0.0], [0.9, 0.6, 0.3, 0.0], ["a", "b", "c", None])


def test_a_refused_completion_agrees_with_any_reward_and_does_not_decide():
    metrics = audit_metrics([BLIND] * 8, 0.5)
    overall, readable = metrics.gold.overall, metrics.gold.readable
    # 3 pairs with the refused completion agree, the 3 pairs of answers do not
    assert (overall.within.mean, overall.within_pairs, overall.problems) == (0.5, 48, 8)
    assert (readable.within.mean, readable.within_pairs, readable.reward_auc) == (0, 24, 0)
    # two refused of five: a reward that is wrong on every pair of answers seems to follow quality
    flattered = row([0.2, 0.3, 0, 0, 0], [0.9, 0.6, 0, 0, 0], ["a", "b", None, None, None])
    metrics = audit_metrics([flattered] * 8, 0.5)
    assert metrics.gold.overall.within.mean == pytest.approx(6 / 7) and metrics.gold.readable.within.mean == 0
    decision = verdict(checks(metrics), with_gold=True)
    assert decision.startswith("fix this first: the reward does not tell better from worse")
    assert "readable answers 0.00 of 8 pairs, at least 0.65 needed" in decision


def test_a_figure_that_was_drawn_from_nothing_is_none():
    """Each wrong completion is refused, so that no two readable answers differ in quality."""
    metrics = audit_metrics(
        [row([1.0, 0.5, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], ["a", "b", None, None])] * 4, 0.5
    )
    assert metrics.gold.overall.reward_auc == 1 and metrics.gold.readable == Agreement()
    results = {check.name: check for check in checks(metrics)}
    agreement = results["within-problem agreement with gold, readable answers"]
    assert (agreement.value, agreement.measured, agreement.of) == (None, "none", "0 pairs")
    assert agreement.passed is None and agreement.to_json()["passed"] is None
    decision = verdict(list(results.values()), with_gold=True)
    assert decision.startswith("fix this first: too few problems with readable answers of different quality")
    assert decision.endswith("readable answers none of 0 pairs, at least 0.65 needed)")
    # a reward that never differs orders no pair, and is no reward to train on
    metrics = audit_metrics([row([0.0] * 4, [0.9, 0.6, 0.3, 0.0])] * 4, 0.5)
    assert metrics.gold.readable == Agreement(None, 96, None, 24, 4)
    decision = verdict(checks(metrics), with_gold=True)
    assert (
        "does not tell better from worse" in decision and "none of 24 pairs, all tied, at least" in decision
    )
    # of problems with pairs, one whose rewards are all equal still counts as a half
    metrics = audit_metrics([row([0.0, 0.0], [0.9, 0.6]), row([1.0, 0.0], [0.9, 0.6])], 0.5)
    assert metrics.gold.readable.within.mean == 0.75
    with pytest.raises(ZeroDivisionError):
        audit_metrics([], 0.5)


def test_completions_that_were_cut_are_the_first_advice():
    """Whatever else fails: nothing could be read, and the duals were asked nothing."""
    cut = row([0.0] * 4, [0.0] * 4, [None] * 4, [dual(gold=0.0)], truncated=3)
    metrics = audit_metrics([cut, CLEAR], 0.5)
    assert metrics.truncated == 3 / 8
    results = checks(metrics)
    assert results[0].name == "completions cut at the limit" and results[0].of == "8 completions"
    decision = verdict(results, with_gold=True)
    assert decision.startswith(
        "fix this first: completions are cut at the limit: raise --max_completion_length"
    )
    assert decision.endswith("(completions cut at the limit 0.38 of 8 completions, at most 0.20 needed)")


def test_a_dual_is_not_blamed_where_no_completion_can_be_read():
    silent = row([0.0] * 4, [0.0] * 4, [None] * 4, [dual(gold=0.0)])
    decision = verdict(checks(audit_metrics([silent], 0.5)), with_gold=True)
    assert decision.startswith("fix this first: answers cannot be read")


@pytest.mark.parametrize("others", [[], [row([0.3, 0.2], [0.0, 0.0])] * 98], ids=["alone", "among 100"])
@pytest.mark.parametrize("pairs", [1, 2, 3, 5])
def test_a_few_pairs_that_agree_are_too_few(pairs, others):
    """A coin agrees with two pairs one time in four, and with five one time in 32."""
    results = checks(audit_metrics([row([0.9, 0.1], [1.0, 0.0])] * pairs + others, 0.5))
    decision = verdict(results, with_gold=True)
    assert decision.startswith("fix this first: too few problems")
    assert f" of {pairs} problem" in decision and decision.endswith("above 0.50 needed)")
    assert verdict(checks(audit_metrics([row([0.9, 0.1], [1.0, 0.0])] * 6, 0.5)), True) == "train"


@pytest.mark.slow
@pytest.mark.parametrize(("problems", "completions"), [(2, 2), (6, 2), (8, 4)])
def test_a_coin_is_one_to_train_on_no_oftener_than_the_interval_says(problems, completions):
    """The interval holds 19 of 20 times, so in at most one of 40 times it lies above chance by mistake."""
    rng = np.random.default_rng(0)
    trains = 0
    for _ in range(100):
        rewards = rng.random((problems, completions)).tolist()
        quality = [float(place % 2) for place in range(completions)]
        metrics = audit_metrics([row(coins, quality) for coins in rewards], 0.5)
        trains += verdict(checks(metrics), with_gold=True).startswith("train")
    # 2.5 are expected at most, and 4.7 is three standard deviations
    assert trains <= 2.5 + 4.7


# Two of eight completions can be read, and of these the worse one has the higher reward.
MOSTLY_REFUSED = row([0.5, 0.6] + [0.0] * 6, [0.31, 0.3] + [0.0] * 6, ["a", "b"] + [None] * 6)


@pytest.mark.parametrize("scale_rewards", ["group", "batch", "none"])
def test_what_following_the_rewards_gives_among_readable_answers(scale_rewards):
    gold = audit_metrics([MOSTLY_REFUSED] * 20, 0.5, scale_rewards).gold
    overall, readable = gold.overall_guidance, gold.guidance
    # to keep from refused completions is most of what gold does over all completions
    assert overall.signal > 0.9 and overall.reward_accuracy == 6 / 8
    assert (overall.compared, overall.best_of_n_problems, overall.signal_problems) == (160, 20, 20)
    # quality differs by 0.01; the rewards by 0.1, the other way round; with "none" nothing is divided by
    assert readable.signal == pytest.approx(-10 if scale_rewards == "none" else -1, rel=0.02)
    assert readable.reward_accuracy == 0 and readable.accuracy == pytest.approx(0.305)
    assert readable.best_of_n == pytest.approx(0.3)
    assert (readable.compared, readable.best_of_n_problems, readable.signal_problems) == (40, 20, 20)
    values = audit_metrics([MOSTLY_REFUSED] * 20, 0.5, scale_rewards).to_json()
    assert (values["signal"], values["readable_signal"]) == (overall.signal, readable.signal)
    assert (values["completions"], values["compared"], values["readable_compared"]) == (160, 160, 40)


def test_a_readable_group_counts_as_if_it_were_alone():
    """Refused completions among them change nothing, and a problem without a readable answer neither."""
    alone = audit_metrics([row([1.0, 0.5, 0.2], [0.2, 1.0, 0.0])] * 2, 0.5).gold.guidance
    silent = row([0.0] * 5, [0.0] * 5, [None] * 5)
    among = row([1.0, 0.0, 0.5, 0.0, 0.2], [0.2, 0.0, 1.0, 0.0, 0.0], ["a", None, "b", None, "c"])
    assert audit_metrics([among, silent, among], 0.5).gold.guidance == alone
    # of groups of two sizes, the smaller one is filled with answers that push nowhere
    pair = row([0.0, 1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0], ["a", "b", None, None, None])
    mixed = audit_metrics([among, pair], 0.5, "none").gold.guidance
    # pushes of the deviations from the means, 17/30 and 0.4 of `among`, 0.5 and 0.5 of `pair`
    rewards, quality = (13 / 30, -2 / 30, -11 / 30), (-0.2, 0.6, -0.4)
    push = sum(r * q for r, q in zip(rewards, quality, strict=True)) + 0.5
    assert mixed.signal == pytest.approx(push / (sum(q * q for q in quality) + 0.5))


@pytest.mark.parametrize("scale_rewards", ["group", "batch", "none"])
@pytest.mark.parametrize("quality", [0.3, None], ids=["with gold", "without gold"])
def test_noise_where_one_of_eight_can_be_read_is_not_one_to_train_on(quality, scale_rewards):
    rng = np.random.default_rng(0)
    rows = [
        row([reward] + [0.0] * 7, quality and [quality] + [0.0] * 7, ["a"] + [None] * 7)
        for reward in rng.random(20).tolist()
    ]
    metrics = audit_metrics(rows, 0.5, scale_rewards)
    # no group has two readable answers to compare: nothing was measured
    rewards = metrics.rewards
    assert (rewards.differing, rewards.comparable, rewards.readable_differing) == (1, 0, None)
    last = checks(metrics)[-1]
    assert (last.measured, last.of, last.passed) == ("none", "20 groups, 0 with two readable answers", None)
    assert verdict(checks(metrics), with_gold=quality is not None).startswith("fix this first")
    guidance = metrics.gold.guidance
    assert (guidance.signal, guidance.signal_problems) == (None, 0)
    assert guidance.compared == (20 if quality else 0)


@pytest.mark.parametrize(
    ("pairs", "alone", "advice"),
    [(1, 19, "too few problems"), (20, 0, "readable answers to one problem all get the same reward")],
)
def test_groups_that_cannot_differ_are_no_fault_of_the_reward(pairs, alone, advice):
    """A group needs two readable answers before its rewards can differ."""
    equal, single = (
        row([0.5, 0.5, 0.0], answers=["a", "b", None]),
        row([0.5, 0.0, 0.0], answers=["a", None, None]),
    )
    metrics = audit_metrics([equal] * pairs + [single] * alone, 0.5)
    assert (metrics.rewards.comparable, metrics.rewards.readable_differing) == (pairs, 0.0)
    assert verdict(checks(metrics), with_gold=False).startswith(f"fix this first: {advice}")


def test_rows_and_metrics_go_into_json_and_rows_come_back():
    tried = [dual({"9": 1.0}, decoys={"7": 0.25}, gold=0.5, unread=0.1), dual({}, outcome="dropped")]
    for written in (row([1.0, 0.25], [1.0, 0.0], ["9", None], tried, truncated=1), row([0.5])):
        assert AuditRow.from_json(json.loads(json.dumps(written.to_json()))) == written
    assert "gold" not in tried[1].to_json() and tried[0].to_json()["gold"] == 0.5
    metrics = audit_metrics(ROWS, 0.5)
    values = json.loads(json.dumps(metrics.to_json()))
    assert (values["leak/no_answer"], values["reward"]) == (None, metrics.rewards.reward)
    assert values["agreement"] == values["readable_agreement"] == metrics.gold.overall.within._asdict()
    assert values["readable_agreement_pairs"] == values["agreement_pairs"] == 8 and len(values) == 52
