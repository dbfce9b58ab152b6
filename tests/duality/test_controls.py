"""Controls: answers that should not help a dual, and what still solves it."""

from dupo.duality.controls import NO_ANSWER, altered, foreign
from dupo.records import Dual

DUALS = [Dual("@?+654=", "321", "?"), Dual("@321+?=", "2.50", "?")]


def test_every_digit_of_every_number_changes_but_those_of_hidden_values():
    for seed in range(100):
        first, second, third = (altered("9750;321;2.50", DUALS, seed) or "").split(";")
        assert len(first) == 4 and first.isdigit() and all(a != b for a, b in zip(first, "9750", strict=True))
        assert (second, third) == ("321", "2.50")
        whole, _, part = (altered("1,200.75", DUALS, seed) or "").rpartition(".")
        assert whole[1] == "," and whole.replace(",", "").isdigit() and len(part) == 2 and whole != "1,200"
        longer = altered("3210", DUALS, seed)
        assert longer is not None and not longer.startswith("3")  # a longer number is another number
    assert altered("9750", DUALS, 3) == altered("9750", DUALS, 3)


def test_where_no_number_would_change_there_is_no_such_decoy():
    assert altered("321", DUALS, 0) is None
    assert altered("no digits, ١٢", DUALS, 0) is None
    assert altered("", DUALS, 0) is None


def test_answers_to_other_problems_are_decoys_if_they_are_other_answers():
    others = ["4444", "5555", "6666", "4444", "9750", ""]
    found = foreign(["9750", None], others, 2, seed=1)
    assert len(found) == len(set(found)) == 2 and set(found) < {"4444", "5555", "6666"}
    assert found == foreign(["9750", None], others, 2, seed=1)
    drawn = {tuple(foreign([], others, 1, seed)) for seed in range(50)}
    assert drawn == {("4444",), ("5555",), ("6666",), ("9750",)}
    assert len(foreign(["9750"], others, 9, seed=0)) == 3
    assert foreign([], others, 0, seed=0) == foreign([], [], 2, seed=0) == []
    assert NO_ANSWER == ""
