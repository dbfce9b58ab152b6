"""Numbers in text: which may be hidden and why not, and hiding them. The extension equals its Python twin."""

import json
import random
import time
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dupo import text
from dupo.tasks.final_answer import parse_number
from dupo.text import numbers
from dupo.text.numbers import LETTERS, REASONS, Hidden, shown

native = pytest.mark.skipif(not text.BUILT, reason="no compiler built dupo._C here")

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
    ("at 5 pm or 4 o'clock, nine a.m.", [], ["time"] * 3),
    ("I paid 7.", ["7"], []),
    ("3(x) and (4)", ["3", "4"], []),
    ("He had at least 15 left", ["15"], []),
    (r"\sqrt{16} is", ["16"], []),
    ("x_1 and x_{12}", [], ["subscript"] * 2),
    ("a_{i + 3} grows", [], ["subscript"]),
    (r"\log_2 8, \log_{10} 100, \ln 5", [], ["subscript", "argument"] * 2 + ["argument"]),
    (r"\max\{3, 5\} of \sin{30} and \sin \frac12", [], ["argument"] * 4),
    (r"\binom{8}{4} \pmod 7, \pmod{7}", [], ["argument"] * 4),
    (r"\hspace{5 mm} 6", ["6"], ["code"]),
    (r"0.\overline{36}", [], ["part of a longer number"] * 2),
    ("5'6\" tall", [], ["part of a longer number"] * 2),
    ("240,5 km und 1.250,50 oder 1 250,75", [], ["part of a longer number"] * 7),
    ("(1,2) and {3,4}", ["1", "2", "3", "4"], []),
    ("3 and a half hours", [], ["part of a longer number", "idiom"]),
    ("two and a half hours", ["two and a half"], []),
    ("one and a half hours", ["one and a half"], []),
    ("his twenty-first birthday, the one hundred and second", [], ["ordinal"] * 2),
    ("half a million cats", ["half a million"], []),
    ("Half of them run, the other half walk", ["Half", "half"], []),
    ("the other half walk", [], ["reference"]),
    ("until 2019, not 2019 people", [], ["date"] * 2),
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
    ("5 and 5.0 and 6", ["5", "5.0", "6"], []),
    ("2 cats, all two of them, 3 dogs", ["2", "two", "3"], []),
    ("20% of 20", ["20", "20"], []),
    ("0.5 or 1/2", ["0.5", "1/2"], []),
    ("6kg and 6 kg", [], ["word", "repeated"]),
    ("x < 6, that is 6", [], ["bound", "repeated"]),
    ("1 cup and 1 spoon", [], ["repeated"] * 2),
    ("[asy] draw 3; f(4); [/asy] 9", ["9"], ["code", "argument"]),
    ("[asy] draw 3", [], ["code"]),
    ("grades 4, 5 and 6 of 7", ["7"], ["label"] * 3),
    ("Fig. 3 of 7", ["7"], ["label"]),
    ("the step. 5 people", ["5"], []),
    (r"2\times3", ["2", "3"], []),
    (r"\sin30^\circ", [], ["argument"]),
    (r"an angle of 30^\circ or 40^{\circ}", ["30", "40"], []),
    (r"\sin(30)", [], ["argument"]),
    (r"5\left(6\right)", ["5", "6"], []),
    ("第3题：小明有5个苹果", ["5"], ["label"]),
    ("2020年5月3日, 7个", ["7"], ["date"] * 3),
    ("사과 5개", ["5"], []),
    ("½ of 2½ and 3", ["3"], ["part of a longer number"]),
    ("1,234, 5 and 12, 34", ["1,234", "5", "12", "34"], []),
    ("123456789012345678 grains", ["123456789012345678"], []),
    ("1234567890123456789 grains of 2", ["2"], []),
    ("She has three cats", ["three"], []),
    ("Twenty-one cats, forty two dogs", ["Twenty-one", "forty two"], []),
    ("two hundred and five feet", ["two hundred and five"], []),
    ("a hundred thousand cats", ["a hundred thousand"], []),
    ("two thousand five hundred feet", ["two thousand five hundred"], []),
    ("two million five hundred thousand and six", ["two million five hundred thousand and six"], []),
    ("a three-day trip", ["three"], []),
    ("half as many", ["half"], []),
    ("Half of them", ["Half"], []),
    ("two-thirds of them", ["two-thirds"], []),
    ("a third of 9", ["a third", "9"], []),
    ("twice as many", ["twice"], []),
    ("a dozen eggs", ["a dozen"], []),
    ("half a dozen eggs", ["half a dozen"], []),
    ("two dozen eggs", ["two"], []),
    ("a dozen eggs, 3 dozen cakes", ["3"], ["repeated"]),
    ("cut it in half", [], ["idiom"]),
    ("the second half of it", [], ["idiom"]),
    ("a quarter pound", [], ["idiom"]),
    ("half-time", [], ["idiom"]),
    ("one third more", [], ["idiom"]),
    ("Ann has one apple", ["one"], []),
    ("one of them", [], ["pronoun"]),
    ("each one eats", [], ["pronoun"]),
    ("the blue one costs", [], ["pronoun"]),
    ("one-way", [], ["pronoun"]),
    ("One day, he left", [], ["pronoun"]),
    ("the three of them", [], ["reference"]),
    ("these two bags", [], ["reference"]),
    ("the other 2 people", [], ["reference"]),
    ("if those are 4, all 4 and the other 4", ["4", "4", "4"], []),
    ("Room 2, 5 chairs", ["5"], ["label"]),
    ("if house 4 has 8", ["8"], ["label"]),
    ("two bags. The two bags", ["two", "two"], []),
    ("the Seven Seas", [], ["name"]),
    ("It rained. Seven days", ["Seven"], []),
    ("room two", [], ["label"]),
    ("one's and two's", [], ["word"] * 2),
    ("@five #six", [], ["word"] * 2),
    ("stone, often, someone", [], []),
    ("see https://a.b/3?c=4 and 5", ["5"], ["code"] * 2),
]


@pytest.fixture(params=[pytest.param(True, marks=native, id="extension"), pytest.param(False, id="python")])
def served_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "BUILT", request.param)


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize(("problem", "hidden", "reasons"), MASKING, ids=[case[0] for case in MASKING])
def test_which_numbers_may_be_hidden(problem: str, hidden: list[str], reasons: list[str]) -> None:
    (found,) = text.find_numbers([problem])
    assert [n.surface for n in found if n.skip is None] == hidden
    assert [n.skip for n in found if n.skip] == reasons


def test_every_reason_has_an_example() -> None:
    assert {reason for case in MASKING for reason in case[2]} == set(REASONS)


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("2 1/2", "5/2"),
        (r"3\frac{1}{4}", "13/4"),
        (r"\frac{-3}{.5}", "-6"),
        ("1,234.5", "2469/2"),
        ("0.1", "1/10"),
        (r"\frac37", "3/7"),
        ("half a dozen", "6"),
        ("three-quarters", "3/4"),
        ("two million and five hundred", "2000500"),
        ("999999999999999999", "999999999999999999"),
        (".999999999999999999", "999999999999999999/1000000000000000000"),
    ],
)
def test_values_are_exact(number: str, value: str) -> None:
    assert [n.value for n in text.find_numbers([number])[0]] == [Fraction(value)]


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize(
    ("problem", "role"),
    [
        ("5 apples", "count"),
        ("$5 each", "money"),
        ("5 dollars", "money"),
        ("5€", "money"),
        ("$5 + x$", "count"),
        ("$3, 7$", "count count"),
        (r"\$5 and \$7", "money money"),
        ("($5) for $7", "money money"),
        ("$5-$7", "money money"),
        ("a 5-dollar bill", "money"),
        ("5₹", "money"),
        ("5-percent", "percent"),
        ("5 per cent", "percent"),
        ("5 times as", "multiple"),
        ("five times more", "multiple"),
        ("1/2 of", "multiple"),
        ("0.5 km", "count"),
        (r"$5$ apples", "count"),
        ("5%", "percent"),
        (r"5 \%", "percent"),
        ("five percent", "percent"),
        ("half of", "multiple"),
        ("thrice", "multiple"),
    ],
)
def test_roles(problem: str, role: str) -> None:
    assert [n.role for n in text.find_numbers([problem])[0]] == role.split()


# A text with a gap, the words that fill it, and what the first number is skipped for.
LISTS = [
    (
        "in {} 5 we",
        "problem question example figure table chapter section part equation theorem lemma",
        "label",
    ),
    ("in {} 5 we", "step case room gate apartment suite locker grade district level route highway", "label"),
    ("in {} 5 we", "interstate flight channel platform option choice version page phase round", "label"),
    ("in {} 5 we", "stage zone ward house lane size fig. eq. apt. no.", "label"),
    ("on {} 5 we", "January February March April May June July August September October", "date"),
    ("on {} 5 we", "November December Jan Feb Mar Apr Jun Jul Aug Sept Sep Oct Nov Dec", "date"),
    ("{} 1999 we", "in since until till by during year before after", "date"),
    ("the {} of 1999 we", "end start beginning spring summer fall autumn winter class", "date"),
    ("from 1999 {} 2005", "to and until through", "date"),
    ("{} 1999 to 2005", "from between", "date"),
    ("in {} we", "1500 1599 1600 1950 2000 2099", "date"),
    ("it was {} we", "8:30 12:05:59 0:00", "time"),
    ("\\{} 5", "log ln lg exp sin cos tan cot sec csc arcsin arccos arctan gcd lcm min max det", "argument"),
    ("x {} 5", "< > ≤ ≥ ⩽ ⩾ ≦ ≧ <= >= \\leqslant \\geqslant \\leq \\geq \\le \\ge \\lt \\gt", "bound"),
    ("x < {}5", "$ £ € ¥ - +", "bound"),
    ("the 5{} of it", "st nd rd th ths rds", "ordinal"),
    ("see \\{}{{5}}", "begin end label ref cite hspace vspace color textcolor", "code"),
    (
        "one {} it",
        "of and or another day morning night evening afternoon side that who which is was",
        "pronoun",
    ),
    (
        "one {} it",
        "are were has had will would can could did does in on at to for from with by as",
        "pronoun",
    ),
    (
        "one {} it",
        "but because if when where while than every each after before so then he she it",
        "pronoun",
    ),
    ("one {} it", "they we i you this these those the a an", "pronoun"),
    ("{} one pen", "the this that these those each every any no which a an another other", "pronoun"),
    ("{} one pen", "his her their its my your our", "pronoun"),
    ("{} two pens", "the these those all both other any either", "reference"),
    ("{} 5 pens", "these those other", "reference"),
    ("{} half of it", "the first second third last next each every this that", "idiom"),
    ("half {} it", "past more dozens off", "idiom"),
    ("twice{}", "-weekly", "idiom"),
    ("twice {} it", "times", "idiom"),
    ("the twenty-{}", "first second third fourth fifth sixth seventh eighth ninth", "ordinal"),
    ("a dozen here, 3 {} there", "dozen dozens", "repeated"),
]


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize(("gap", "words", "reason"), LISTS, ids=[f"{g} {w[:12]}" for g, w, _ in LISTS])
def test_every_word_of_the_rules(gap: str, words: str, reason: str) -> None:
    for word in words.split(" "):
        (found,) = text.find_numbers([gap.format(word)])
        assert found and found[0].skip == reason, gap.format(word)


VALUES = {
    "one two three four five six seven eight nine ten eleven twelve thirteen": range(1, 14),
    "fourteen fifteen sixteen seventeen eighteen nineteen": range(14, 20),
    "twenty thirty forty fifty sixty seventy eighty ninety": range(20, 100, 10),
    "thirds quarters fourths fifths sixths sevenths eighths ninths tenths": [3, 4, 4, 5, 6, 7, 8, 9, 10],
    "twelfths twentieths hundredths": [12, 20, 100],
}


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize("names", VALUES)
def test_every_number_word(names: str) -> None:
    for name, value in zip(names.split(), VALUES[names], strict=True):
        share = name.endswith("s") and name != "six"
        (found,) = text.find_numbers([f"two-{name} of it" if share else f"{name} pens"])
        assert [n.value for n in found] == [Fraction(2, value) if share else value]


WHOLE = ("as", "the", "that", "this", "what", "his", "her", "its", "their", "my", "your", "our", "an", "a")


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize("word", WHOLE)
def test_what_a_half_is_said_of(word: str) -> None:
    (hidden,) = text.hide_numbers([f"half {word} pen"], [0])
    assert [h.known.replace(h.variable, "V") for h in hidden] == [f"V times {word} pen"]


# --- hiding ---


def put_back(hidden: Hidden, problem: str) -> str:
    """`known` with every stand-in replaced by what it stands for, at its own place."""
    known, moved = hidden.known, 0
    for number in hidden.numbers:
        name = shown(problem, number, hidden.variable)
        at = number.start + moved
        assert known[at : at + len(name)] == name
        moved += len(name) - len(number.surface)
    for number in reversed(hidden.numbers):
        name = shown(problem, number, hidden.variable)
        moved -= len(name) - len(number.surface)
        at = number.start + moved
        known = known[:at] + number.surface + known[at + len(name) :]
    return known


def check_hidden(problem: str, hidden: Sequence[Hidden]) -> None:
    assert len({h.variable for h in hidden}) == len(hidden)
    for h in hidden:
        assert put_back(h, problem) == problem
        assert h.variable[0] == "V" and len(h.variable) >= 3 and set(h.variable[1:]) <= set(LETTERS)
        assert h.variable.lower() not in problem.lower()
        assert h.known.count(h.variable) == len(h.numbers)
        assert len({(n.value, n.role) for n in h.numbers}) == 1
        assert parse_number(h.numbers[0].surface) == h.numbers[0].value


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize(
    ("problem", "known"),
    [
        ("5 cats at $5, then 5 more", ["V cats at $5, then V more", "5 cats at $V, then 5 more"]),
        ("half as many, twice a week", ["V times as many, twice a week", "half as many, V times a week"]),
        ("half of 7", ["V of 7", "half of V"]),
        ("Half of it, the other half walk", ["V of it, the other V walk"]),
        ("3 times as many, thrice as old", ["V times as many, V times as old"]),
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
    crowded = " ".join(f"v{a}{b}" for a in LETTERS for b in LETTERS) + " and 77 more"
    (hidden,) = text.hide_numbers([crowded], [3])
    assert [len(h.variable) for h in hidden] == [4]
    check_hidden(crowded, hidden)


# --- the extension against its twin, and both against what may come ---


def _pieces(listed: str) -> list[str]:
    return [piece for line in listed.splitlines() for piece in line.split(" ") if piece]


MARKS = _pieces("""
0 1 2 3 5 7 12 20 48 100 007 123 1234 1999 2020 2100 1,250 1,250,000 1{,}250 10,\\!000 12,34 .5 0.5 12.50
1.2.3 3/4 24/7 1/0 2,345.6 5e3 1e+5 123456789012345678 1234567890123456789 \\frac \\dfrac \\tfrac12
\\frac{3}{4} \\frac{ -3 }{ .5 } { } ( ) [ ] _ ^ ** \\sqrt \\sqrt[3] \\left( \\right) \\log \\sin \\times
\\le \\leqslant \\left ^\\circ ^{\\circ} < <= ≥ = + - * & @ # \\ $ £ € % \\% Problem problems Room grades
step no. Fig. 第 号 年 月 日 day week on by in January May Sept. of and or to until from between since the
early mid- year is was class end st nd th ths percent dollars cent one two three nine ten nineteen twenty
ninety all other twenty-one hundred thousand million a half dozen dozens twice thrice times third thirds
quarter hundredth as
that each every other both these any One Two HALF A one's one-way another ratio : 8:30 12:05:59 1:2
2021-07-04 12/25/2020 [asy] [/asy] http://x.y/3 \\begin{3} \\ref{a5} ' ’ “ . , ! ? f o'clock a.m.
pm \\overline{ \\binom{8}{ \\log_{10} \\max\\{ 240,5 $3 3$ \\$ 5' -dollar per cent
x_1 V é ß ſ K İ 你好 个 ค
١ ² ⁴ ½ ๕ 🙂 km apples
""")
PIECES = [*MARKS, "\u0301", "\u200d", "\ufe0f", "\u00a0", "\u2009", "\u202f", "\x00"]
GAPS = st.sampled_from(["", " ", " ", " ", "-", ", ", "\n", "\t"])
PROBLEMS = st.lists(st.tuples(st.sampled_from(PIECES), GAPS), max_size=14).map(
    lambda parts: "".join(piece + gap for piece, gap in parts)
)
PADDED = st.tuples(st.integers(30, 45), PROBLEMS).map(lambda pair: "x" * pair[0] + pair[1])  # over NEAR
TEXTS = st.text() | PROBLEMS | PADDED
SEEDS = st.integers(0, 2**64 - 1)


@native
@settings(max_examples=1500)
@given(problem=TEXTS, seed=SEEDS, most=st.integers(1, 4))
def test_the_extension_equals_its_twin(problem: str, seed: int, most: int) -> None:
    assert text.find_numbers([problem]) == [numbers.find_numbers(problem)]
    assert text.hide_numbers([problem], [seed], most=most) == [numbers.hide_numbers(problem, seed, most)]


@given(problem=TEXTS, seed=SEEDS)
def test_numbers_stand_where_they_are_said_to_and_can_be_put_back(problem: str, seed: int) -> None:
    (found,) = text.find_numbers([problem])
    assert all(problem[n.start : n.end] == n.surface for n in found)
    assert all(a.end <= b.start for a, b in pairwise(found))
    check_hidden(problem, text.hide_numbers([problem], [seed])[0])


@native
@given(problems=st.lists(TEXTS, max_size=12), threads=st.integers(2, 5))
def test_threads_change_nothing(problems: list[str], threads: int) -> None:
    seeds = [7 * k for k in range(len(problems))]
    assert text.find_numbers(problems, threads=threads) == text.find_numbers(problems)
    assert text.hide_numbers(problems, seeds, threads=threads) == text.hide_numbers(problems, seeds)


@native
@given(data=st.binary(max_size=20))
def test_bytes_are_read_as_python_reads_them(data: bytes) -> None:
    try:
        decoded = data.decode()
    except UnicodeDecodeError:
        with pytest.raises(ValueError, match="UTF-8"):
            text._C.find_numbers([data], 1)
    else:
        assert text._C.find_numbers([data], 1) == text._C.find_numbers([decoded], 1)


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


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize("unit", UNITS)
def test_long_hostile_text_takes_no_longer_than_plain_text(unit: str) -> None:
    size = 2**18 if text.BUILT else 2**14
    start = time.perf_counter()
    text.find_numbers([unit * (size // len(unit))])
    assert time.perf_counter() - start < 3


@native
@pytest.mark.parametrize("unit", ["Ann has 5 pens. ", "é你🙂\u0301 ", "x", "\0"])
def test_a_mebibyte_of_text(unit: str) -> None:
    long = unit * (2**20 // len(unit.encode())) + " and 7 more"
    (hidden,) = text.hide_numbers([long], [0])
    assert [h.numbers[0].surface for h in hidden] == ["5", "7"][-1 - ("5" in unit) :]
    assert put_back(hidden[-1], long) == long


@native
def test_a_table_of_numbers_gives_so_many_duals_and_no_more() -> None:
    table = " ".join(map(str, random.Random(0).sample(range(10**6), 100_000)))
    (hidden,) = text.hide_numbers([table], [1])
    assert len(hidden) == text.MOST_HIDDEN
    check_hidden(table, hidden[:2])


def test_gsm8k(data_dir: Path) -> None:
    lines = (data_dir / "gsm8k/train.jsonl").read_text(encoding="utf-8").splitlines()
    problems = [json.loads(line)["question"].strip() for line in lines]
    every = text.hide_numbers(problems, range(len(problems)), threads=2)
    for problem, hidden in zip(problems, every, strict=True):
        check_hidden(problem, hidden)
    assert sum(map(bool, every)) / len(problems) > 0.99
    for k in range(0, len(problems), 29):
        assert every[k] == numbers.hide_numbers(problems[k], k, text.MOST_HIDDEN)
