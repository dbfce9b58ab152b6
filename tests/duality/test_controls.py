"""Controls: answers that should not help a dual, and what still solves it."""

from dupo.duality.controls import NO_ANSWER, answers_of_other_problems, with_other_digits
from dupo.records import Dual

DUALS = [Dual("@?+654=", "321", "?"), Dual("@321+?=", "2.50", "?")]


def test_every_digit_of_every_number_changes_but_those_of_hidden_values():
    for seed in range(100):
        first, second, third = (with_other_digits("9750;321;2.50", DUALS, seed) or "").split(";")
        assert len(first) == 4 and first.isdigit() and all(a != b for a, b in zip(first, "9750", strict=True))
        assert (second, third) == ("321", "2.50")
        integer, _, fraction = (with_other_digits("1,200.75", DUALS, seed) or "").rpartition(".")
        assert integer[1] == "," and integer.replace(",", "").isdigit() and integer != "1,200"
        assert len(fraction) == 2
        longer = with_other_digits("3210", DUALS, seed)
        assert longer is not None and not longer.startswith("3")  # a longer number is another number
    assert with_other_digits("9750", DUALS, 3) == with_other_digits("9750", DUALS, 3)


def test_where_no_number_would_change_there_is_no_such_decoy():
    assert with_other_digits("321", DUALS, 0) is None
    assert with_other_digits("no digits, ١٢", DUALS, 0) is None
    assert with_other_digits("", DUALS, 0) is None


def test_answers_to_other_problems_are_decoys_if_they_are_other_answers():
    others = ["4444", "5555", "6666", "4444", "9750", ""]
    decoys = answers_of_other_problems(["9750", None], others, 2, seed=1)
    assert len(decoys) == len(set(decoys)) == 2 and set(decoys) < {"4444", "5555", "6666"}
    assert decoys == answers_of_other_problems(["9750", None], others, 2, seed=1)
    drawn = {tuple(answers_of_other_problems([], others, 1, seed)) for seed in range(50)}
    assert drawn == {("4444",), ("5555",), ("6666",), ("9750",)}
    assert len(answers_of_other_problems(["9750"], others, 9, seed=0)) == 3
    assert (
        answers_of_other_problems([], others, 0, seed=0) == answers_of_other_problems([], [], 2, seed=0) == []
    )
    assert NO_ANSWER == ""
