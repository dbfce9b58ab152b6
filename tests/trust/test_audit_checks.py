"""Figures and verdict of an audit, against numbers worked out by hand."""

import math

import pytest

from dupo.trust.audit_checks import (
    AGREEMENT,
    BEYOND,
    CHANCE,
    DUAL_ANSWERS,
    LEAKS,
    READABLE,
    SPREAD,
    checks,
    figures,
)
from dupo.trust.audit_checks import verdict as decided


def verdict(made, judged=True):
    return decided(made, judged)


def dual(solved=None, no_answer=0.0, decoys=None, gold=None, unread=0.0, outcome="kept"):
    made = {"solved": solved or {}, "no_answer": no_answer, "decoys": decoys or {}, "unread": unread}
    return {**made, "outcome": outcome} | ({} if gold is None else {"gold": gold})


def row(rewards, quality=None, answers=None, duals=(), refused=None):
    answers = list("abcd"[: len(rewards)]) if answers is None else answers
    refused = refused or {"unreadable": answers.count(None)}
    refused = {reason: count for reason, count in refused.items() if count}
    made = {"rewards": rewards, "quality": quality, "answers": answers, "duals": list(duals)}
    return {**made, "refused": refused}


MIXED = row([1.0, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0])
CLEAR = row([1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0])
WRONG = row([0.0] * 4, [0.0] * 4)
ROWS = [MIXED, CLEAR, WRONG]


def test_reward_against_quality():
    found = figures(ROWS, 0.5)
    assert (found["problems"], found["with_gold"], found["completions"]) == (3, 3, 12)
    assert found["accuracy"] == pytest.approx(4 / 12)
    # 4 right (rewards 1, 1, 1, 0) x 8 wrong (0.5, seven 0): 24 wins of the 1s, 7 halves of the 0
    assert found["reward_auc"] == pytest.approx((24 + 3.5) / 32)
    # within MIXED 2 wins and a tie of 4 pairs, within CLEAR all; WRONG has no pair and says nothing
    assert found["agreement"]["mean"] == pytest.approx((2.5 / 4 + 1) / 2)
    assert found["agreement"]["low"] == 0.625 and found["agreement"]["high"] == 1
    assert found["reward_accuracy"] == pytest.approx((2 + 4 + 4) / 12)
    assert found["best_of_n"] == pytest.approx((1 + 1 + 0) / 3)
    tied = row([1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0])
    assert figures([tied], 0.5)["best_of_n"] == pytest.approx(1 / 3)  # one of the three best is right


def test_signal_is_the_push_of_the_gradient_towards_quality():
    assert figures([CLEAR, WRONG], 0.5)["signal"] == pytest.approx(1)
    assert figures([row([0.0, 1.0], [1.0, 0.0])], 0.5)["signal"] == pytest.approx(-1)
    assert figures([row([0.3, 0.3], [1.0, 0.0])], 0.5)["signal"] == pytest.approx(0)
    # MIXED: rewards less their mean are .625, .125, -.375, -.375, quality less its own +-.5
    reward_std, gold_std = math.sqrt(0.6875 / 3) + 1e-4, math.sqrt(1 / 3) + 1e-4
    assert figures([MIXED], 0.5)["signal"] == pytest.approx((0.25 / reward_std) / (1 / gold_std))
    both = (0.25 / reward_std + 1 / gold_std) / (2 / gold_std)
    assert figures([MIXED, CLEAR], 0.5)["signal"] == pytest.approx(both)
    assert figures([MIXED], 0.5, "none")["signal"] == pytest.approx(0.25)  # nothing is divided by
    assert figures([WRONG], 0.5)["signal"] is None


def test_spread_of_rewards():
    found = figures([*ROWS, row([0.1] * 4, [1.0] * 4)], 0.5)
    assert (found["frac_reward_zero_std"], found["differing"], found["all_zero"]) == (2 / 4, 2 / 4, 1 / 4)
    assert found["reward"] == pytest.approx((0.375 + 0.5 + 0 + 0.1) / 4)
    assert found["reward_std"] == pytest.approx((math.sqrt(0.6875 / 3) + math.sqrt(1 / 3)) / 4)


def test_a_tenth_of_ten_groups_is_a_tenth():
    groups = [CLEAR, *[WRONG] * 9]  # 1 - 9/10 is less than 0.1 in floating point
    (check,) = [c for c in checks(figures(groups, 0.5)) if "differ" in c.name]
    assert check.value == check.bound and check.passed


def test_duals_of_right_and_of_wrong_answers():
    asked = [
        dual({"9": 1.0, "8": 0.25}, gold=1.0, unread=0.5),
        dual({"9": 0.5, "8": 0.0}, gold=0.5, outcome="no answer solves it"),
    ]
    found = figures([row([0.75, 0.1, 0.1, 0.0], [1.0, 0, 0, 0], ["9", "8", "8", None], asked)], 0.6)
    assert found["dual_on_gold"] == pytest.approx(0.75)
    assert found["dual_on_wrong"] == pytest.approx(0.125)  # the wrong answer counts once, however often given
    assert found["solvable"] == 0.5  # 0.5 is below this threshold
    assert found["dual_readable"] == 0.75
    assert found["duals_per_problem"] == 2 and found["without_dual"] == 0
    assert found["outcomes"] == {"kept": 1, "no answer solves it": 1}
    # the right answer was not sampled: what the dual makes of it is known all the same
    unseen = row([0.0, 0.0], [0.0, 0.0], ["8", "8"], [dual({"8": 0.5}, gold=1.0)])
    assert figures([unseen], 0.5)["dual_on_gold"] == 1


def test_leaks_are_shares_of_the_duals():
    tried = [
        dual({"9": 1.0}, no_answer=0.5),
        dual({"9": 1.0}, decoys={"7": 0.25, "6": 0.75}),
        dual({"9": 1.0}, decoys={"7": 0.4}, no_answer=0.4),
        dual({}),
    ]
    found = figures([row([1.0, 1.0], duals=tried)], 0.5)
    assert found["leak/no_answer"] == 0.25
    assert found["leak/decoy"] == 0.5  # of the two that were tried with decoys
    assert found["solvable"] == 1  # the dual that no answer was put through is not counted


def test_readable_and_refused():
    refused = {"copy": 1, "language": 2}
    found = figures([row([0.0] * 4, answers=["a", None, None, None], refused=refused), CLEAR], 0.5)
    assert found["readable"] == 5 / 8
    assert found["refused"] == {"language": 0.25, "copy": 0.125}


def test_without_right_answers_what_needs_them_is_none_and_not_checked():
    blind = [row([1.0, 0.0, 0.0, 0.0], duals=[dual({"a": 1.0, "b": 0.0}, decoys={"c": 0.0})])]
    found = figures(blind, 0.5)
    needs = "accuracy reward_auc reward_accuracy agreement best_of_n dual_on_gold dual_on_wrong signal"
    assert {found[name] for name in needs.split()} == {None} and found["with_gold"] == 0
    made = checks(found)
    assert [check.name for check in made] == [
        "duals solved by samples, less those by controls",
        "duals solved with no answer",
        "duals solved with a decoy",
        "completions with an answer",
        "groups whose rewards differ",
    ]
    assert verdict(made, judged=False) == "train, as far as can be told without right answers"
    some = figures([*blind, CLEAR], 0.5)  # a part of the problems has them
    assert (some["with_gold"], some["accuracy"], some["problems"]) == (1, 0.5, 2)


def test_what_was_not_tried_decides_nothing():
    """No completion can be read: the duals were asked nothing, and are not to blame."""
    silent = row([0.0, 0.0], answers=[None, None], duals=[dual(outcome="no answer could be read")])
    found = figures([silent], 0.5)
    assert (found["solvable"], found["dual_readable"]) == (None, None)
    assert verdict(checks(found)).startswith("fix this first: answers cannot be read")
    found = figures([row([1.0, 0.0])], 0.5)  # no problem has a dual
    assert (found["leak/no_answer"], found["leak/decoy"]) == (None, None)
    assert len(checks(found)) == 2


# --- the verdict ---

SOUND = {
    "dual_on_gold": DUAL_ANSWERS,
    "beyond_decoys": BEYOND,
    "leak/no_answer": LEAKS,
    "leak/decoy": LEAKS,
    "readable": READABLE,
    "agreement": {"mean": AGREEMENT, "low": CHANCE, "high": 0.9},
    "differing": SPREAD,
}
# in the order in which they decide: what is broken, and what is said of it
BROKEN = [
    ({"dual_on_gold": 0.29}, "the dual cannot answer", "dual accuracy on right answers 0.29, at least 0.30"),
    ({"leak/no_answer": 0.11}, "duals are solved without", "with no answer 0.11, at most 0.10"),
    ({"leak/decoy": 0.2}, "duals are solved without", "with a decoy 0.20, at most 0.10"),
    ({"readable": 0.05}, "answers cannot be read", "with an answer 0.05, at least 0.10"),
    (
        {"agreement": {"mean": 0.6, "low": 0.55}},
        "the reward does not tell",
        "agreement with gold 0.60, at least 0.65",
    ),
    ({"agreement": {"mean": 0.7, "low": 0.45}}, "too few problems with right", "0.45, at least 0.50"),
    ({"differing": 0.05}, "all get the same reward", "rewards differ 0.05, at least 0.10"),
]


def test_at_every_bound_there_is_training():
    assert verdict(checks(SOUND)) == "train"


@pytest.mark.parametrize("place", range(len(BROKEN)))
def test_each_check_decides_alone_and_before_those_after_it(place):
    found, advice, threshold = BROKEN[place]
    made = checks(SOUND | found)
    assert [check.passed for check in made] == [n != place for n in range(len(BROKEN))]
    later = {key: value for more, *_ in BROKEN[place:] for key, value in more.items()}
    for said in (verdict(made), verdict(checks(SOUND | later | found))):
        assert said.startswith("fix this first: ") and advice in said
        assert said.endswith(f"{threshold} needed)")


def test_without_right_answers_samples_must_solve_more_than_chance_does():
    blind = SOUND | {"dual_on_gold": None, "agreement": None}
    assert verdict(checks(blind), False).startswith("train")
    said = verdict(checks(blind | {"beyond_decoys": 0.04}), False)
    assert "the dual cannot answer" in said and "less those by controls 0.04, at least 0.05" in said
    # two of three samples solve it, one of two controls does
    tried = dual({"9": 1.0, "8": 0.0}, no_answer=1.0, decoys={"7": 0.0})
    found = figures([row([1.0, 1.0, 0.0, 0.0], answers=["9", "9", "8", None], duals=[tried])], 0.5)
    assert found["beyond_decoys"] == pytest.approx(2 / 3 - 1 / 2)
    # a dual model that guesses right one time in five: so do some answer of a large pool and some decoy
    guessed = dual({a: float(a == "0") for a in "01234"}, decoys={d: float(d == "x") for d in "xyzw"})
    found = figures([row([0.2] * 5, answers=list("01234"), duals=[guessed])], 0.5)
    assert found["solvable"] == 1 and found["beyond_decoys"] == pytest.approx(0)


def test_a_reward_without_duals_is_not_asked_for_them():
    found = figures([CLEAR, MIXED], 0.5)
    names = [
        "completions with an answer",
        "within-problem agreement with gold",
        "low end of its 95% interval",
        "groups whose rewards differ",
    ]
    assert [check.name for check in checks(found)] == names
    assert verdict(checks(found)) == "train"
