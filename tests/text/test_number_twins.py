"""Numbers of any text: the extension equals its Python twin, and hostile text is read in linear time."""

import json
import os
import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dupo import text
from dupo.text import extension, numbers
from dupo.text.numbers import hide
from tests.helpers.extension import CORE, needs_extension
from tests.helpers.linear_time import check_linear
from tests.helpers.number_mixtures import mixture
from tests.helpers.number_texts import SEEDS, TEXTS, check_hidden, put_back

of_any_text = given(problem=TEXTS, seed=SEEDS, most=st.integers(1, 4))


@needs_extension
@settings(max_examples=100)
@of_any_text
def test_the_extension_equals_its_twin(problem: str, seed: int, most: int) -> None:
    assert text.find_numbers([problem]) == [numbers.find_numbers(problem)]
    assert text.hide_numbers([problem], [seed], most=most) == [numbers.hide_numbers(problem, seed, most)]


@needs_extension
@pytest.mark.slow
@settings(max_examples=3000)
@of_any_text
@pytest.mark.full
def test_the_extension_equals_its_twin_on_more_texts(problem: str, seed: int, most: int) -> None:
    assert text.find_numbers([problem]) == [numbers.find_numbers(problem)]
    assert text.hide_numbers([problem], [seed], most=most) == [numbers.hide_numbers(problem, seed, most)]


@needs_extension
@pytest.mark.slow
@pytest.mark.timeout(0)
def test_the_extension_equals_its_twin_on_mixtures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set DUPO_MIXTURES for a longer comparison, and DUPO_MIXTURES_SEED for other mixtures."""
    rng = random.Random(int(os.environ.get("DUPO_MIXTURES_SEED", "0")))
    found: dict[str, list[numbers.Number]] = {}
    # The twin is slow: nothing is found twice.
    monkeypatch.setattr(hide, "find_numbers", lambda problem: found[problem])
    for _ in range(int(os.environ.get("DUPO_MIXTURES", "8000")) // 1000):
        problems = [mixture(rng) for _ in range(1000)]
        found.clear()
        found.update({problem: numbers.find_numbers(problem) for problem in problems})
        hidden = text.hide_numbers(problems, range(1000), most=3)
        for k, in_order in enumerate(text.find_numbers(problems)):
            assert in_order == found[problems[k]], problems[k]
            assert hidden[k] == numbers.hide_numbers(problems[k], k, 3), problems[k]


@pytest.mark.slow
@needs_extension
def test_mixtures_reach_every_reason() -> None:
    rng = random.Random(0)
    found = text.find_numbers([mixture(rng) for _ in range(20_000)])
    assert {n.skip for in_order in found for n in in_order} == {None, *numbers.REASONS}


@given(problem=TEXTS, seed=SEEDS)
def test_numbers_stand_where_they_are_said_to_and_can_be_put_back(problem: str, seed: int) -> None:
    (in_order,) = text.find_numbers([problem])
    assert all(problem[n.start : n.end] == n.surface for n in in_order)
    assert all(a.end <= b.start for a, b in pairwise(in_order))
    check_hidden(problem, text.hide_numbers([problem], [seed])[0])


@pytest.mark.slow
@needs_extension
@given(problems=st.lists(TEXTS, max_size=12), threads=st.integers(2, 5))
def test_threads_change_nothing(problems: list[str], threads: int) -> None:
    seeds = [7 * k for k in range(len(problems))]
    assert text.find_numbers(problems, threads=threads) == text.find_numbers(problems)
    assert text.hide_numbers(problems, seeds, threads=threads) == text.hide_numbers(problems, seeds)


@needs_extension
@given(data=st.binary(max_size=20))
def test_bytes_are_read_as_python_reads_them(data: bytes) -> None:
    try:
        decoded = data.decode()
    except UnicodeDecodeError:
        with pytest.raises(ValueError, match="UTF-8"):
            CORE.find_numbers([data], 1)
    else:
        assert CORE.find_numbers([data], 1) == CORE.find_numbers([decoded], 1)


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: text.find_numbers(["5", "a\ud800"]), r"texts\[1\]: .* surrogate pair at character 1"),
        (lambda: text.hide_numbers(["\udfff"], [0]), r"texts\[0\]: .* surrogate"),
        (lambda: text.hide_numbers(["5"], []), "seeds: expected 1 integers"),
        (lambda: text.hide_numbers(["5"], [-1]), "seeds"),
        (lambda: text.hide_numbers(["5"], [2**64]), "seeds"),
        (lambda: text.hide_numbers(["5"], [0], most=0), "most: expected 1 to 256, got 0"),
        (lambda: text.find_numbers(["5"], threads=0), "threads: expected at least 1, got 0"),
    ],
)
def test_what_cannot_be_read_is_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.usefixtures("served_by")
def test_nothing_to_read() -> None:
    assert text.find_numbers([]) == [] and text.find_numbers(["", "\0"]) == [[], []]
    assert text.hide_numbers([""], [1]) == [[]]


UNITS = [
    "\\boxed{",
    "{",
    "(",
    "f(1)",
    "\\frac{",
    "\\frac{1 ",
    "1,",
    "1,000",
    "9",
    "1 1/",
    " ",
    "a ",
    "one hundred ",
]
UNITS += ["half a ", "[asy]", "=", "http://", "\\begin{", "5 ", "é5"]


@pytest.mark.slow
@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize("unit", UNITS)
def test_hostile_text_is_read_in_time_in_proportion(unit: str) -> None:
    longer = 25 if extension.core() else 1  # the extension reads what the twin reads in no time at all
    check_linear(lambda problem: text.find_numbers([problem * longer]), unit)


@needs_extension
@pytest.mark.parametrize(
    "unit", [pytest.param("Ann has 5 pens. ", marks=pytest.mark.slow), "é你🙂\u0301 ", "x", "\0"]
)
def test_a_mebibyte_of_text(unit: str) -> None:
    long = unit * (2**20 // len(unit.encode())) + " and 7 more"
    (hidden,) = text.hide_numbers([long], [0])
    assert [h.numbers[0].surface for h in hidden] == ["5", "7"][-1 - ("5" in unit) :]
    assert put_back(hidden[-1], long) == long


@needs_extension
def test_a_table_of_numbers_gives_so_many_duals_and_no_more() -> None:
    table = " ".join(map(str, random.Random(0).sample(range(10**6), 10_000)))
    (hidden,) = text.hide_numbers([table], [1])
    assert len(hidden) == text.MOST_HIDDEN
    check_hidden(table, hidden[:2])


@pytest.mark.slow
def test_gsm8k(data_dir: Path) -> None:
    lines = (data_dir / "gsm8k/train.jsonl").read_text(encoding="utf-8").splitlines()
    problems = [json.loads(line)["question"].strip() for line in lines]
    every = text.hide_numbers(problems, range(len(problems)), threads=2)
    for problem, hidden in zip(problems, every, strict=True):
        check_hidden(problem, hidden)
    assert sum(map(bool, every)) / len(problems) > 0.99
    for k in range(0, len(problems), 29):
        assert every[k] == numbers.hide_numbers(problems[k], k, text.MOST_HIDDEN)
