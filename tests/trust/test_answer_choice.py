"""Which answer is given, and what each method costs, on rows written by hand."""

import pytest

from dupo.trust.answer_choice import Candidate, differences, enough, method_rows, ranked, tokens_of


def names(order):
    return [candidate.answer for candidate in order]


def test_the_highest_backward_rate_comes_first_whatever_the_votes():
    given = [Candidate("popular", 6, 0.25), Candidate("right", 1, 1.0), Candidate("other", 1, 0.5)]
    assert names(ranked(given, "dual")) == ["right", "other", "popular"]


def test_a_tie_goes_to_more_votes_then_to_the_first_seen():
    given = [Candidate("a", 1, 0.5), Candidate("b", 3, 0.5), Candidate("c", 3, 0.5), Candidate("d", 1, 0.5)]
    assert names(ranked(given, "dual")) == ["b", "c", "a", "d"]
    assert names(ranked(given[::-1], "dual")) == ["c", "b", "d", "a"]


def test_without_a_dual_both_orders_are_that_of_the_votes():
    given = [Candidate("a", 2, 0.0), Candidate("b", 5, 0.0), Candidate("c", 1, 0.0)]
    assert names(ranked(given, "dual")) == names(ranked(given, "product")) == ["b", "a", "c"]


def test_product_weighs_the_rate_with_the_votes():
    given = [Candidate("rare", 1, 1.0), Candidate("common", 5, 0.5), Candidate("wrong", 6, 0.25)]
    assert names(ranked(given, "product")) == ["common", "wrong", "rare"]  # 2.5, 1.5 and 1
    assert names(ranked(given, "dual")) == ["rare", "common", "wrong"]
    assert ranked([], "product") == []


TOKENS = {"n": 4, "greedy": 10, "samples": 42, "duals": 30, "equal_cost": 45, "more_votes": 7}


@pytest.mark.parametrize(
    ("method", "spent"),
    [
        ("greedy", 10),
        ("mean", 10.5),
        ("majority", 42),
        ("dual", 72),
        ("equal_cost", 45),
        ("more_votes", 49),
        ("pass", 42),
    ],
)
def test_what_each_method_generates(method, spent):
    assert tokens_of(TOKENS, method) == spent


def row(quality, **tokens):
    keys = ("greedy", "mean", "majority", "dual", "more_votes", "pass")
    found = None if quality is None else dict(zip(keys, quality, strict=True)) | {"equal_cost": quality[2]}
    return {"tokens": TOKENS | tokens, "quality": found}


ROWS = [
    row((1.0, 0.5, 0.0, 1.0, 1.0, 1.0)),
    row((0.0, 0.25, 0.0, 1.0, 0.0, 1.0), samples=43, duals=0),
    row((0.0, 0.0, 1.0, 0.0, 1.0, 1.0), greedy=1),
    row(None, samples=20),  # no right answer is known: its tokens count, its score does not
]


def test_figures_and_costs_of_all_methods():
    found = {m["method"]: m for m in method_rows(ROWS, 4, 16)}
    scores = {name: m["score"] for name, m in found.items()}
    expected = {"greedy": 1 / 3, "mean@4": 0.25, "majority@4": 1 / 3, "dual rerank@4": 2 / 3}
    expected["majority, equal tokens"] = 1 / 3
    assert scores == pytest.approx(expected | {"majority@16": 2 / 3, "pass@4": 1.0})
    tokens = {name: m["tokens"] for name, m in found.items()}
    drawn = 42 + 43 + 42 + 20
    expected = {"greedy": 31, "mean@4": round(drawn / 4), "majority@4": drawn, "dual rerank@4": drawn + 90}
    more = {"majority@16": drawn + 28, "majority, equal tokens": 4 * 45, "pass@4": drawn}
    assert tokens == expected | more
    assert found["dual rerank@4"]["tokens_per_problem"] == (drawn + 90) / 4
    assert (found["pass@4"]["low"], found["pass@4"]["high"]) == (1, 1)
    assert found["greedy"]["low"] == 0 and found["greedy"]["high"] == 1  # 1 of 3 problems


@pytest.mark.parametrize(
    ("budget", "count"), [(0, 1), (1, 1), (5, 1), (6, 2), (11, 2), (12, 3), (14, 3), (15, 3)]
)
def test_a_vote_of_equal_cost_takes_samples_until_they_have_the_tokens(budget, count):
    assert enough([5, 6, 3], budget) == count  # 5, 11, 14; more than there are: all


def test_differences_are_over_the_same_problems():
    found = differences(ROWS, method_rows(ROWS, 4, 0))
    assert set(found) == {"greedy", "mean@4", "majority@4"}
    assert found["greedy"]["mean"] == pytest.approx(1 / 3)
    assert found["mean@4"]["mean"] == pytest.approx((0.5 + 0.75 + 0) / 3)
    twice = [row((0.3, 0, 0, 0.4, 0, 1)), row((0.8, 0, 0, 0.9, 0, 1))]
    # two methods that differ by as much everywhere: each alone has a wide interval, the difference has none
    assert differences(twice, method_rows(twice, 4, 0))["greedy"] == pytest.approx(
        {"mean": 0.1, "low": 0.1, "high": 0.1}
    )


def test_without_right_answers_there_are_costs_only():
    blind = [row(None), row(None)]
    found = method_rows(blind, 4, 16)
    names = ["greedy", "majority@4", "dual rerank@4", "majority, equal tokens", "majority@16"]
    assert [m["method"] for m in found] == names
    assert {m["score"] for m in found} == {None} and found[2]["tokens"] == 144
    assert differences(blind, found) == {}
    assert method_rows([], 4, 0)[0]["tokens_per_problem"] == 0
