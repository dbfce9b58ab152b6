"""Which answer is given, and what each method costs, on rows written by hand."""

import json

import pytest

from dupo.records import DualExchange
from dupo.trust.answer_choice import differences, method_results, ranked, samples_for_budget, tokens_of
from dupo.trust.rows import AnswerRow, Candidate, TokenCounts


def names(order):
    return [candidate.answer for candidate in order]


def test_the_highest_backward_rate_comes_first_whatever_the_votes():
    candidates = [Candidate("popular", 6, 0.25), Candidate("right", 1, 1.0), Candidate("other", 1, 0.5)]
    assert names(ranked(candidates, "dual")) == ["right", "other", "popular"]


def test_a_tie_goes_to_more_votes_then_to_the_first_seen():
    candidates = [
        Candidate("a", 1, 0.5),
        Candidate("b", 3, 0.5),
        Candidate("c", 3, 0.5),
        Candidate("d", 1, 0.5),
    ]
    assert names(ranked(candidates, "dual")) == ["b", "c", "a", "d"]
    assert names(ranked(candidates[::-1], "dual")) == ["c", "b", "d", "a"]


def test_without_a_dual_both_orders_are_that_of_the_votes():
    candidates = [Candidate("a", 2, 0.0), Candidate("b", 5, 0.0), Candidate("c", 1, 0.0)]
    assert names(ranked(candidates, "dual")) == names(ranked(candidates, "product")) == ["b", "a", "c"]


def test_product_weighs_the_rate_with_the_votes():
    candidates = [Candidate("rare", 1, 1.0), Candidate("common", 5, 0.5), Candidate("wrong", 6, 0.25)]
    assert names(ranked(candidates, "product")) == ["common", "wrong", "rare"]  # 2.5, 1.5 and 1
    assert names(ranked(candidates, "dual")) == ["rare", "common", "wrong"]
    assert ranked([], "product") == []


TOKENS = TokenCounts(n=4, greedy=10, samples=42, duals=30, equal_cost=45, more_votes=7)


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


def row(quality, **tokens) -> AnswerRow:
    """A row of which only quality and tokens matter."""
    keys = ("greedy", "mean", "majority", "dual", "more_votes", "pass")
    if quality is not None:
        quality = dict(zip(keys, quality, strict=True)) | {"equal_cost": quality[2]}
    answer = dict(answer=None, score=None, votes=0, runner_up=None, answers={}, candidates=[])
    return AnswerRow(
        "id", "text", 2, **answer, completion="", gold=None, quality=quality, tokens=TOKENS._replace(**tokens)
    )


ROWS = [
    row((1.0, 0.5, 0.0, 1.0, 1.0, 1.0)),
    row((0.0, 0.25, 0.0, 1.0, 0.0, 1.0), samples=43, duals=0),
    row((0.0, 0.0, 1.0, 0.0, 1.0, 1.0), greedy=1),
    row(None, samples=20),  # no right answer is known: its tokens count, its score does not
]


def test_scores_and_costs_of_all_methods():
    methods = {m.method: m for m in method_results(ROWS, 4, 16)}
    scores = {name: m.score.mean for name, m in methods.items()}
    expected = {"greedy": 1 / 3, "mean@4": 0.25, "majority@4": 1 / 3, "dual rerank@4": 2 / 3}
    expected["majority, equal tokens"] = 1 / 3
    assert scores == pytest.approx(expected | {"majority@16": 2 / 3, "pass@4": 1.0})
    tokens = {name: m.tokens for name, m in methods.items()}
    drawn = 42 + 43 + 42 + 20
    expected = {"greedy": 31, "mean@4": round(drawn / 4), "majority@4": drawn, "dual rerank@4": drawn + 90}
    more = {"majority@16": drawn + 28, "majority, equal tokens": 4 * 45, "pass@4": drawn}
    assert tokens == expected | more
    assert methods["dual rerank@4"].tokens_per_problem == (drawn + 90) / 4
    # The bounds of Clopper and Pearson of 3 of 3 problems and of 1 of 3.
    assert methods["pass@4"].score[1:] == pytest.approx((0.2924, 1), abs=0.01)
    assert methods["greedy"].score[1:] == pytest.approx((0.0084, 0.9057), abs=0.01)
    row = methods["greedy"].to_json()
    assert list(row) == ["key", "method", "tokens", "tokens_per_problem", "score", "low", "high"]
    assert (row["score"], row["low"], row["high"]) == methods["greedy"].score


@pytest.mark.parametrize(
    ("budget", "count"), [(0, 1), (1, 1), (5, 1), (6, 2), (11, 2), (12, 3), (14, 3), (15, 3)]
)
def test_a_vote_of_equal_cost_takes_samples_until_they_have_the_tokens(budget, count):
    assert samples_for_budget([5, 6, 3], budget) == count  # 5, 11, 14; more than there are: all


def test_differences_are_over_the_same_problems():
    minus = differences(ROWS, method_results(ROWS, 4, 0))
    assert set(minus) == {"greedy", "mean@4", "majority@4"}
    assert minus["greedy"].mean == pytest.approx(1 / 3)
    assert minus["mean@4"].mean == pytest.approx((0.5 + 0.75 + 0) / 3)
    twice = [row((0.3, 0, 0, 0.4, 0, 1)), row((0.8, 0, 0, 0.9, 0, 1))]
    # Two methods that differ by as much everywhere: each has a wide interval, the difference a narrow one.
    many = 100 * twice
    methods = method_results(many, 4, 0)
    difference, alone = differences(many, methods)["greedy"], methods[0].score
    assert difference.mean == pytest.approx(0.1) and difference.low < 0.1 < difference.high
    assert difference.high - difference.low < (alone.high - alone.low) / 2


def test_without_right_answers_there_are_costs_only():
    blind = [row(None), row(None)]
    methods = method_results(blind, 4, 16)
    names = ["greedy", "majority@4", "dual rerank@4", "majority, equal tokens", "majority@16"]
    assert [m.method for m in methods] == names
    assert {m.score for m in methods} == {None} and methods[2].tokens == 144
    assert methods[0].to_json()["score"] is None
    assert differences(blind, methods) == {}
    assert method_results([], 4, 0)[0].tokens_per_problem == 0


def test_a_row_is_read_back_as_it_was_written():
    best, second = Candidate("42", 3, 0.5), Candidate("24", 1, 0.0)
    written = AnswerRow(
        "a:1", "text", 2, "42", 0.5, 3, second, {"greedy": None, "dual": "42"}, [best, second], "so 42",
        gold="42", quality={"greedy": 0.0, "dual": 1.0}, tokens=TOKENS,
        reconstructions=(DualExchange("? + 25 = 42", "17", "17", 0.0, None),), plain="17 + 25 = 42",
    )  # fmt: skip
    for each_row in (written, ROWS[3]):
        assert AnswerRow.from_json(json.loads(json.dumps(each_row.to_json()))) == each_row
    # A file of an earlier version, which a rerank continues.
    earlier = {
        key: value for key, value in ROWS[3].to_json().items() if key not in ("reconstructions", "plain")
    }
    assert AnswerRow.from_json(earlier) == ROWS[3]
