"""What an answer says: numbers read exactly and written one way, however they were spelled."""

import json
import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dupo.tasks.answer_numbers import format_number, parse_number
from dupo.tasks.final_answer import final_answer, gold_answer, last_boxed, normalise, same_answer
from tests.helpers.linear_time import check_linear

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
    ("50%", "50%"),
    (r"50\%", "50%"),
    ("50 percent", "50%"),
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
    ("5 x", "5x"),
    (r"2\pi", r"2\pi"),
    ("2 pi", r"2\pi"),
    ("sin 30", r"\sin 30"),
    ("more than 5", "more than 5"),
    ("3 times", "3"),
    ("5 dozen", "60"),
    ("two dozen eggs", "24"),
    ("2 hundred", "200"),
    ("3 trillion", "3000000000000"),
    ("4 millions", "4000000"),
    ("5 000 000", "5000000"),
    ("5\u202f250 km", "5250"),
    ("5 100", "5 100"),
    ("½", "0.5"),
    ("3½", "3.5"),
    ("⅔ of it", "2/3"),
    ("zero", "0"),
    ("half a million", "500000"),
    ("two and a half", "2.5"),
    ("3 and a half", "3 and a half"),
    ("3!", "3!"),
    ("Yes!", "yes"),
    ("72₩", "72"),
    (r"27\,\text{cm}^2", "27"),
    (r"\mbox{27 cm}", "27"),
    ("5 minus 3", "5 minus 3"),
    ("5 minus", "5 minus"),
    ("x != 5", r"x\ne5"),
    ("0.000000000001", "0.000000000001"),
    ("0.0000000000001", "1/10000000000000"),
    ("7" * 100, "7" * 100),
    ("w" * 200, "w" * 200),
    ("w" * 201, None),
    ("three", "3"),
    ("Twenty-seven apples", "27"),
    ("two hundred and five", "205"),
    ("five hundred thousand", "500000"),
    ("half", "0.5"),
    ("two-thirds of it", "2/3"),
    ("a third", "1/3"),
    ("twice", "2"),
    ("a dozen", "12"),
    ("half a dozen eggs", "6"),
    ("five or six", "five or six"),
    ("the three of them", "the three of them"),
    ("123456789012345678901", "123456789012345678901"),
    ("123,456,789,012,345,678,901", "123456789012345678901"),
    (r"\dfrac{x}{2}", r"\frac{x}{2}"),
    ("1/0", "1/0"),
    ("2 3", "2 3"),
    ("(3,4)", "(3, 4)"),
    ("(3, 148)", "(3, 148)"),
    ("x=1 or x=2", "x=1 or x=2"),
    ("Monday", "monday"),
    ("27 xyz", "27 xyz"),
    ("288 π", r"288\pi"),
    ("7 tenths", "7 tenths"),
    ("x^{2}", "x^2"),
    ("3R^2", "3R^2"),
    (r"\frac9{19}", "9/19"),
    (r"11\sqrt2", r"11\sqrt{2}"),
    ("4210_{5}", "4210_5"),
    ("(3,148)", "(3, 148)"),
    (r"\{3,1,2\}", r"\{1, 2, 3\}"),
    (r"\begin{bmatrix} 1\\2 \end{bmatrix}", r"\begin{pmatrix}1 \\ 2\end{pmatrix}"),
    (r"\text{(C)}", "C"),
    ("(c)", "C"),
    ("e", "e"),
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
    ("Either 3 or -4", "3 or-4"),
    ("It is 45%.", "45%"),
    (r"So the answer is $2\sqrt3$.", r"2\sqrt{3}"),
    ("So the answer is $(3,148)$.", "(3, 148)"),
    ("He paid $5 and then $6.", "6"),
    ("He paid $(5 + 6) and $3", "3"),
    ("Its area is 12 cm^2.", "12"),
    ("Its volume is 980cm³", "980"),
    ("The answer is between 10-15", "between 10-15"),
    ("#### at least 5", "at least 5"),
    ("so 10-4", "4"),
    ("x = -$4", "-4"),
    ("He earned 2 million", "2000000"),
    ("answer: 5 000 000", "5000000"),
    ("so it is ( - 7", "-7"),
    ("it is x:-7", "-7"),
    ("1e3.5 of 4", "4"),
    ("thought</think> 6 </think> 7", "7"),
    ("no number", None),
    ("", None),
    (r"<think>\boxed{1} 2</think>", None),
    (r"<think>\boxed{1}</think> It is 9", "9"),
    (r"<think>so \boxed{1}", None),
    (r"thought 5 \boxed{1}</think>6", "6"),
    (r"<think>a</think> 3 <think>b 4", "3"),
    ("답은 1만 2천 원입니다.", "12000"),
    ("정답: 3억", "300000000"),
    ("그래서 모두 열두 개입니다", "12"),
    ("모두 열두 개입니다. 한 번 더 확인했습니다.", "12"),
    ("사과는 12개입니다.", "12"),
    ("答えは35個です。", "35"),
    ("所以一共三十五个。", "35"),
    ("#### 所以一共三十五个", "35"),
    ("因此是-3亿。", "-300000000"),
    ("一共有百分之二十。", "20%"),
    ("答案是三十五。", "35"),
    ("답은 3만 이상입니다", "3만 이상입니다"),
    ("因此至少三个。", "至少三个"),
    ("답은 두 배입니다.", "두 배입니다"),
    ("이것은 5배입니다.", "5배입니다"),
    ("오늘 상자 5개 배달했습니다.", "5"),
    ("所以是第5天。", "5"),
    ("一共30多个。", "30多个"),
    ("12個ではありません。", "12個ではありません"),
]


@pytest.mark.parametrize(
    ("text", "expected"), COMPLETIONS, ids=[case[0][:24] or "empty" for case in COMPLETIONS]
)
def test_final_answer(text: str, expected: str | None) -> None:
    assert final_answer(text) == expected


def test_a_gold_sentence_in_korean_or_chinese_ends_on_its_number() -> None:
    assert gold_answer("답은 1만 2천 원입니다.") == "12000"
    assert gold_answer("所以一共三十五个。") == "35"
    assert gold_answer("정답: 3억") == "300000000"
    assert gold_answer("바다") == "바다"
    assert gold_answer("답은 3만 이상입니다") != gold_answer("답은 3만입니다") == "30000"


@given(st.fractions(max_denominator=10**6))
def test_equal_values_are_written_alike_and_read_back(value: Fraction) -> None:
    text = format_number(value)
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
    assert normalise(text) != ""
    assert final_answer(text) != ""


FRAGMENTS = (
    *"0129.,/-+ {}()[]|$%^_=<>!#xsRπ²½",
    *(
        r"\frac",
        r"\sqrt",
        r"\pi",
        r"\cdot",
        r"\times",
        r"\{",
        r"\}",
        r"\\",
        r"\text{",
        r"\begin{pmatrix}",
        "&",
    ),
    *(
        r"\end{pmatrix}",
        r"\cup",
        r"\over",
        r"\pm",
        r"\infty",
        r"\left",
        r"\le",
        r"\circ",
        "1,000",
        "and",
        "cm",
        " apples",
    ),
    *("tenths", "half", "percent", "sin", "boxed"),
)


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join))
@settings(max_examples=300)
def test_marks_in_any_order_are_read_and_a_normal_form_stays(text: str) -> None:
    answer = normalise(text)
    assert answer is None or answer == normalise(answer)
    final_answer(text)


HOSTILE = [
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
    "\\sqrt",
    "^",
    "_-",
    "\\{1,",
    "\\begin{pmatrix}",
    "\\text{",
    "\\left(",
    "\\over{",
    "and ",
    "²",
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_text_is_read_in_time_in_proportion(unit: str) -> None:
    check_linear(final_answer, unit)
    check_linear(last_boxed, unit)
    check_linear(final_answer, unit, "\\boxed{", "}")
    # Of an answer only so much is compared; what grows faster than any power never ends here.
    for length in (150, 1900):
        same_answer((unit * length)[:length], "7", by_value=False)


def test_gsm8k_solutions_give_the_number_after_the_marks(data_dir: Path) -> None:
    lines = (data_dir / "gsm8k/train.jsonl").read_text(encoding="utf-8").splitlines()
    values: dict[str, Fraction] = {}
    for line in lines:
        solution = json.loads(line)["answer"]
        stated = re.sub(r"[,$]", "", solution.split("####")[1].strip())
        assert Fraction(final_answer(solution) or "") == Fraction(stated), solution
        # One string is one value: no two golds are merged.
        assert values.setdefault(str(gold_answer(solution)), Fraction(stated)) == Fraction(stated)
    assert len(lines) == 7473 and len(values) > 800
