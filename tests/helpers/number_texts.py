"""Texts that numbers are searched in, and what must hold for every hidden number."""

from collections.abc import Sequence

from hypothesis import strategies as st

from dupo.tasks.answer_numbers import parse_number
from dupo.text.numbers import Hidden
from dupo.text.numbers.hide import NAME_LETTERS, stand_in


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
PADDED = st.tuples(st.integers(30, 45), PROBLEMS).map(
    lambda pair: "x" * pair[0] + pair[1]
)  # longer than LOOKBEHIND
TEXTS = st.text() | PROBLEMS | PADDED
SEEDS = st.integers(0, 2**64 - 1)


def put_back(hidden: Hidden, problem: str) -> str:
    """Replaces every stand-in of `known` by its number, at its place."""
    known, moved = hidden.known, 0
    for number in hidden.numbers:
        name = stand_in(problem, number, hidden.variable)
        at = number.start + moved
        assert known[at : at + len(name)] == name
        moved += len(name) - len(number.surface)
    for number in reversed(hidden.numbers):
        name = stand_in(problem, number, hidden.variable)
        moved -= len(name) - len(number.surface)
        at = number.start + moved
        known = known[:at] + number.surface + known[at + len(name) :]
    return known


def check_hidden(problem: str, hidden: Sequence[Hidden]) -> None:
    """Asserts that the problem can be put together again, and that no name occurs in the problem."""
    assert len({h.variable for h in hidden}) == len(hidden)
    for h in hidden:
        assert put_back(h, problem) == problem
        assert h.variable[0] == "V" and len(h.variable) >= 3 and set(h.variable[1:]) <= set(NAME_LETTERS)
        assert h.variable.lower() not in problem.lower()
        assert h.known.count(h.variable) == len(h.numbers)
        assert len({(n.value, n.role) for n in h.numbers}) == 1
        assert parse_number(h.numbers[0].surface) == h.numbers[0].value
