"""Hiding: the variable stands where the number stood, and the seed decides the names."""

import pytest

from dupo import text
from dupo.text.numbers.hide import NAME_LETTERS
from tests.helpers.number_texts import check_hidden


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize(
    ("problem", "known"),
    [
        (
            "5 cats at $5, then 5 more",
            ["V cats at $5, then 5 more", "5 cats at $V, then 5 more", "5 cats at $5, then V more"],
        ),
        ("half as many, twice a week", ["V times as many, twice a week", "half as many, V times a week"]),
        ("half of an 8", ["V of an 8", "half of an V"]),
        ("Half of it, another half walk", ["V of it, another V walk"]),
        (
            "3 times as many, thrice as old",
            ["V times as many, thrice as old", "3 times as many, V times as old"],
        ),
        ("Ann has two cats. The two cats", ["Ann has V cats. The V cats"]),
        ("x_1 only", []),
    ],
)
def test_what_stands_for_a_number(problem: str, known: list[str]) -> None:
    (hidden,) = text.hide_numbers([problem], [0])
    assert [h.known.replace(h.variable, "V") for h in hidden] == known
    check_hidden(problem, hidden)


@pytest.mark.usefixtures("served_by")
def test_at_most_so_many_chosen_by_the_seed() -> None:
    problem = "2 and 3 and 4 and 5 and 6"
    (every,) = text.hide_numbers([problem], [0])
    assert [h.numbers[0].surface for h in every] == ["2", "3", "4", "5", "6"]
    chosen = set()
    for seed in range(40):
        (hidden,) = text.hide_numbers([problem], [seed], most=2)
        surfaces = [h.numbers[0].surface for h in hidden]
        assert len(surfaces) == 2 and surfaces == sorted(surfaces)
        chosen.add(tuple(surfaces))
    assert len(chosen) > 6


@pytest.mark.usefixtures("served_by")
def test_a_name_never_stands_in_the_text() -> None:
    crowded = " ".join(f"v{a}{b}" for a in NAME_LETTERS for b in NAME_LETTERS) + " and 77 more"
    (hidden,) = text.hide_numbers([crowded], [3])
    assert [len(h.variable) for h in hidden] == [4]
    check_hidden(crowded, hidden)
