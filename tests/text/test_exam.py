"""The rules on numbers sit an exam: competition problems labelled by a person without sight of the rules."""

import pytest

from tests.text.exam.judge import determined_share, judged_by_the_rules, read_rows, span_of, verdict_of

ROWS = read_rows()
CAKE = {
    "problem": "A cake of 8 slices weighs 8 ounces. Of the 8 slices, 13 - 5 have cream.",
    "numbers": [
        {"text": "8", "occurrence": 0, "label": "determined", "quantity": "slices"},
        {"text": "8", "occurrence": 1, "label": "determined"},
        {"text": "8", "occurrence": 2, "label": "determined", "quantity": "slices"},
        {"text": "13", "occurrence": 0, "label": "useless"},
    ],
}
SLICES, OUNCES, SLICES_AGAIN, THIRTEEN, FIVE = (10, 11), (26, 27), (43, 44), (53, 55), (58, 59)


def test_the_exam_has_ten_problems_of_each_of_fifteen_kinds_and_its_labels_point_at_numbers():
    kinds = [row["kind"] for row in ROWS]
    assert len(set(kinds)) == 15 and all(kinds.count(kind) == 10 for kind in kinds)
    for row in ROWS:
        spans = [span_of(row["problem"], number) for number in row["numbers"]]
        assert spans == sorted(set(spans)), row["problem"]
        assert {number["label"] for number in row["numbers"]} <= {"determined", "useless"}


@pytest.mark.parametrize(
    ("places", "verdict"),
    [
        ([SLICES, SLICES_AGAIN], "determined"),
        ([SLICES], "useless"),  # the other place shows the value
        ([SLICES, OUNCES, SLICES_AGAIN], "useless"),  # two quantities
        ([OUNCES], "determined"),
        ([THIRTEEN], "useless"),
        ([(54, 55)], "unlisted"),  # the 3 of 13
        ([FIVE], "unlisted"),
        ([OUNCES, THIRTEEN, FIVE], "useless"),
    ],
)
def test_a_dual_is_judged_by_all_that_it_hides(places, verdict):
    assert verdict_of(CAKE, places) == verdict


def test_quantities_that_the_answer_determines_together_may_be_hidden_together():
    assert verdict_of({**CAKE, "joint": "determined"}, [SLICES, OUNCES, SLICES_AGAIN]) == "determined"


def test_of_what_is_hidden_in_competition_problems_85_percent_are_determined_by_the_answer():
    duals = judged_by_the_rules(ROWS)
    unlisted = [dual for dual in duals if dual.verdict == "unlisted"]
    assert len(unlisted) <= 0.03 * len(duals), unlisted
    useless = [dual for dual in duals if dual.verdict == "useless"]
    assert determined_share(duals) >= 0.85, useless


def test_of_competition_problems_80_percent_keep_a_dual():
    assert len({dual.problem for dual in judged_by_the_rules(ROWS)}) >= 0.8 * len(ROWS)
