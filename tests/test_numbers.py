"""Numbers in text: which may be hidden and why not, and what an answer says."""

import json
import re
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupo.tasks.numbers import final_answer, find_numbers, last_boxed, normalise, parse_number, write

# text, the numbers that may be hidden, and the reasons why the others may not, in order
MASKING = [
    ("She has 48 clips.", ["48"], []),
    ("It costs $12.50 today.", ["12.50"], []),
    ("A house for $1,250,000!", ["1,250,000"], []),
    ("A house for 1{,}250 coins", ["1{,}250"], []),
    ("20% of them left", ["20"], []),
    ("She ate 3/4 of it", ["3/4"], []),
    (r"She ate \frac{3}{4} of it", [r"\frac{3}{4}"], []),
    (r"She ate \dfrac12 of it", [r"\dfrac12"], []),
    ("He ran 2 1/2 miles", ["2 1/2"], []),
    ("An ounce costs $.25", [".25"], []),
    ("a 120-page book", ["120"], []),
    ("split 2:5 between them", ["2", "5"], []),
    ("in the ratio 3:10 or so", ["3", "10"], []),
    ("the set {1,2,3}", ["1", "2", "3"], []),
    ("It was -5 degrees", ["5"], []),
    ("at 5 pm", ["5"], []),
    ("I paid 7.", ["7"], []),
    ("3(x) and (4)", ["3", "4"], []),
    ("He had at least 15 left", ["15"], []),
    (r"\sqrt{16} is", ["16"], []),
    ("x_1 and x_{12}", [], ["subscript"] * 2),
    ("a_{i + 3} grows", [], ["subscript"]),
    (r"\log_2 8", ["8"], ["subscript"]),
    ("when x < 5", [], ["bound"]),
    ("when 3 <= x", [], ["bound"]),
    (r"for $1 \le n \leq 100$", [], ["bound"] * 2),
    ("with y ≥ -7", [], ["bound"]),
    ("and $9 > x", [], ["bound"]),
    ("2^n steps", [], ["power"]),
    ("10^k", [], ["power"]),
    ("x^2 + 7", ["7"], ["power"]),
    ("x^{13}", [], ["power"]),
    (r"x^{\frac{1}{2}}", [], ["power"]),
    ("3**4", [], ["power"] * 2),
    ("x^-4", [], ["power"]),
    ("10³ grams", [], ["power"]),
    (r"\sqrt[3]{8}", ["8"], ["power"]),
    ("f(3) = 8", ["8"], ["argument"]),
    ("f(x, 4) and g'(5)", [], ["argument"] * 2),
    (r"f\left(6\right)", [], ["argument"]),
    (r"the point $\left(6, 7\right)$", ["6", "7"], []),
    ("Problem 3: she has 8", ["8"], ["label"]),
    ("Room 12 has 30 seats", ["30"], ["label"]),
    ("See Figure 2.", [], ["label"]),
    ("Grade 5 has 40", ["40"], ["label"]),
    ("house #7", [], ["label"]),
    ("On day 2 she ran", [], ["label"]),
    ("8 hours a day 4 days a week", ["8", "4"], []),
    ("July 4, 2021", [], ["date"] * 2),
    ("on 4 July", [], ["date"]),
    ("born in 1999.", [], ["date"]),
    ("until the end of 2019", [], ["date"]),
    ("on 2021-07-04", [], ["date"] * 3),
    ("on 12/25/2020 we ate 6", ["6"], ["date"] * 2),
    ("from 1990 to 2005", [], ["date"] * 2),
    ("The town has 2000 people", ["2000"], []),
    ("the 1st of 9", ["9"], ["ordinal"]),
    ("3/8ths of 16", ["16"], ["ordinal"]),
    ("mp3 and COVID-19", [], ["word"] * 2),
    ("5kg of 6 kg", ["6"], ["word"]),
    ("3x + 4", ["4"], ["word"]),
    ("open 24/7", [], ["word"]),
    ("at 8:30 sharp", [], ["time"] * 2),
    ("450 000 people", [], ["part of a longer number", "leading zero"]),
    ("version is 1.2.3", [], ["part of a longer number"] * 2),
    ("agent 007", [], ["leading zero"]),
    ("5 and 5.0 and 6", ["6"], ["repeated"] * 2),
    ("2 cats, all two of them, 3 dogs", ["3"], ["repeated"]),
    ("20% of 20", [], ["repeated"] * 2),
    ("0.5 or 1/2", [], ["repeated"] * 2),
    ("[asy] draw(3, 4); [/asy] 9", ["9"], ["code"] * 2),
    ("see https://a.b/3?c=4 and 5", ["5"], ["code"] * 2),
]


@pytest.mark.parametrize(("text", "hidden", "reasons"), MASKING, ids=[case[0] for case in MASKING])
def test_which_numbers_may_be_hidden(text: str, hidden: list[str], reasons: list[str]) -> None:
    found = find_numbers(text)
    assert [n.surface for n in found if n.skip is None] == hidden
    assert [n.skip for n in found if n.skip] == reasons


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2 1/2", "5/2"),
        (r"3\frac{1}{4}", "13/4"),
        ("1,234.5", "2469/2"),
        ("0.1", "1/10"),
        (r"\frac37", "3/7"),
    ],
)
def test_values_are_exact(text: str, value: str) -> None:
    assert [n.value for n in find_numbers(text)] == [Fraction(value)]


NORMAL = [
    ("27", "27"),
    ("27.0", "27"),
    ("027", "27"),
    ("27.", "27"),
    ("+27", "27"),
    ("-27", "-27"),
    ("− 27", "-27"),
    ("１２．５", "12.5"),
    ("٢٧", "27"),
    ("1,234", "1234"),
    ("1{,}234", "1234"),
    (r"10,\!000", "10000"),
    (r"10\,000", "10000"),
    ("$1,234.50", "1234.5"),
    ("-$5", "-5"),
    ("$-5$", "-5"),
    (r"\$18", "18"),
    ("20£", "20"),
    ("50%", "50"),
    (r"50\%", "50"),
    ("50 percent", "50"),
    ("0.1", "0.1"),
    (".5", "0.5"),
    ("-0.0", "0"),
    ("1/2", "0.5"),
    ("2/4", "0.5"),
    ("1/3", "1/3"),
    ("-2/6", "-1/3"),
    (r"\frac{1}{3}", "1/3"),
    (r"-\dfrac{10}{4}", "-2.5"),
    (r"\frac{-3}{4}", "-0.75"),
    (r"\frac34", "0.75"),
    ("2 1/2", "2.5"),
    (r"2\frac{1}{2}", "2.5"),
    ("1e3", "1000"),
    ("27 apples", "27"),
    (r"27\text{ apples}", "27"),
    ("5 km/h", "5"),
    ("5 cm^2", "5"),
    ("5 square feet.", "5"),
    ("12kg", "12"),
    ("7 p.m.", "7"),
    ("90^\\circ", "90"),
    ("**72**", "72"),
    (r"\(72\)", "72"),
    ("x = 5", "5"),
    ("48 + 24 = 72", "72"),
    ("Natalia sold 72 clips", "72"),
    ("1.5 million", "1500000"),
    ("5x", "5x"),
    ("5 x", "5 x"),
    (r"2\pi", r"2\pi"),
    ("2 pi", "2 pi"),
    ("sin 30", "sin 30"),
    ("more than 5", "more than 5"),
    ("3 times", "3"),
    (r"\dfrac{x}{2}", r"\frac{x}{2}"),
    ("1/0", "1/0"),
    ("2 3", "2 3"),
    ("(3,4)", "(3, 4)"),
    ("(3, 148)", "(3, 148)"),
    ("x=1 or x=2", "x=1 or x=2"),
    ("Monday", "monday"),
    (r"\text{Monday}", "monday"),
    ("x + 1", "x+1"),
    (r"\Delta", r"\Delta"),
    ("", None),
    ("...", None),
    (" $ ", None),
    ("word " * 100, None),
]


@pytest.mark.parametrize(("text", "expected"), NORMAL, ids=[case[0][:20] or "empty" for case in NORMAL])
def test_normalise(text: str, expected: str | None) -> None:
    assert normalise(text) == expected


COMPLETIONS = [
    (r"so \boxed{72}", "72"),
    (r"first \boxed{1}, then \boxed{2}", "2"),
    (r"\boxed{\frac{1}{2}}", "0.5"),
    (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
    (r"\boxed{5} and \boxed{ }", "5"),
    (r"\boxed{5} and \boxed{6", "5"),
    (r"\boxed{\boxed{6}}", "6"),
    (r"\boxed{5} but #### 6", "5"),
    ("48/2=24\n#### 72", "72"),
    ("#### 1\n#### 2,000 apples\nDone in 3 steps.", "2000"),
    ("#### so it is 7, I think", "7"),
    ("#### Monday", "monday"),
    ("####", None),
    ("The answer is 72.", "72"),
    ("It costs $1,234.50.", "1234.5"),
    ("Either 3 or -4", "-4"),
    ("so 10-4", "4"),
    ("x = -$4", "-4"),
    ("He earned 2 million", "2000000"),
    ("no number", None),
    ("", None),
    (r"<think>\boxed{1} 2</think>", None),
    (r"<think>\boxed{1}</think> It is 9", "9"),
    (r"<think>so \boxed{1}", None),
    (r"thought 5 \boxed{1}</think>6", "6"),
    (r"<think>a</think> 3 <think>b 4", "3"),
]


@pytest.mark.parametrize(
    ("text", "expected"), COMPLETIONS, ids=[case[0][:24] or "empty" for case in COMPLETIONS]
)
def test_final_answer(text: str, expected: str | None) -> None:
    assert final_answer(text) == expected


@given(st.fractions(max_denominator=10**6))
def test_equal_values_are_written_alike_and_read_back(value: Fraction) -> None:
    text = write(value)
    assert parse_number(text) == value
    for other in (
        f"${text}$",
        f" {text} apples.",
        f"x = {text}",
        f"\\frac{{{value.numerator}}}{{{value.denominator}}}",
    ):
        assert normalise(other) == text


@given(st.integers(0, 10**9), st.integers(0, 6))
def test_decimals_are_not_binary(digits: int, places: int) -> None:
    text = f"{digits / 10**places:.{places}f}" if places else str(digits)
    assert parse_number(text) == Fraction(text)


@given(st.text())
def test_any_text_is_read_without_a_crash(text: str) -> None:
    for found in find_numbers(text):
        assert text[found.start : found.end] == found.surface
    assert normalise(text) != ""
    assert final_answer(text) != ""


@given(st.text(alphabet="0129.,/-+ {}()[]\\$%^_=<>#fracboxedxs", max_size=60))
def test_marks_of_numbers_in_any_order_are_read_without_a_crash(text: str) -> None:
    for found in find_numbers(text):
        assert text[found.start : found.end] == found.surface
        assert parse_number(found.surface) == found.value
    answer = final_answer(text)
    assert answer is None or answer == normalise(answer)


@pytest.mark.parametrize(
    "unit",
    [
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
        "<think>",
        "[asy]",
        "####",
        "=",
    ],
)
def test_long_hostile_text_takes_no_longer_than_plain_text(unit: str) -> None:
    text = unit * (30_000 // len(unit))
    start = time.perf_counter()
    find_numbers(text)
    final_answer(text)
    last_boxed(text)
    final_answer("\\boxed{" + text + "}")
    assert time.perf_counter() - start < 3


def test_gsm8k_solutions_give_the_number_after_the_marks(data_dir: Path) -> None:
    lines = (data_dir / "gsm8k/train.jsonl").read_text(encoding="utf-8").splitlines()
    for line in lines:
        solution = json.loads(line)["answer"]
        stated = re.sub(r"[,$]", "", solution.split("####")[1].strip())
        assert Fraction(final_answer(solution) or "") == Fraction(stated), solution
    assert len(lines) == 7473
