"""Which answers mean the same: pairs by hand, of equal and of different meaning, and laws of equality."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dupo.tasks import unit_table
from dupo.tasks.final_answer import final_answer, gold_answer, normalise, same_answer
from dupo.tasks.math_equality import is_installed

# (one spelling, another spelling of the same answer); what follows BY_VALUE needs math-verify.
SAME = [
    # numbers
    ("1,234,567", "1234567"),
    ("27.0", "27"),
    ("3.50", "3.5"),
    ("-0.25", r"-\frac14"),
    (r"\frac{3}{12}", "1/4"),
    (r"\dfrac{7}{8}", r"\tfrac78"),
    (r"\frac7{19}", r"\frac{7}{19}"),
    (r"\frac{310}7", r"\frac{310}{7}"),
    (r"{5 \over 8}", r"\frac{5}{8}"),
    (r"2\frac{1}{3}", r"\frac{7}{3}"),
    ("2 1/2", "2.5"),
    (r"6 \times 10^{4}", "60000"),
    (r"1.5 \cdot 10^{-2}", "0.015"),
    (r"1{,}250", "1250"),
    (r"12\,500", "12500"),
    ("12\u202f500", "12500"),
    ("–8", "-8"),
    ("−8", "-8"),
    ("+8", "8"),
    ("negative 8", "-8"),
    ("minus 8", "-8"),
    ("seventy-two", "72"),
    ("３７", "37"),
    ("½", "0.5"),
    (r"0.\overline{6}", r"\frac23"),
    (r"0.1\overline{6}", r"\frac16"),
    ("2 million", "2,000,000"),
    ("3 dozen", "36"),
    ("1.2 lakh", "120000"),
    # units, nouns, marks
    ("27 apples", "27"),
    (r"27 \text{ red apples}", "27"),
    (r"\$45.50", "45.5"),
    ("45.50 dollars", "45.5"),
    ("€30", "30"),
    (r"36^\circ", "36"),
    (r"36^{\circ}", "36"),
    ("36°", "36"),
    ("36 degrees", "36"),
    ("18 cm^2", "18"),
    ("18 cm²", "18"),
    (r"18\text{ m}^3", "18"),
    (r"18 \mathrm{~km/h}", "18"),
    ("18 square feet", "18"),
    ("60 miles per hour", "60"),
    ("5 hours", "5"),
    ("1 apple", "1"),
    ("12 children", "12"),
    ("12 more marbles", "12"),
    ("12 in total", "12"),
    ("The answer is 12", "12"),
    ("She bought 12 pens", "12"),
    (r"\text{Total: } 12", "12"),
    ("12개", "12"),
    ("7명", "7"),
    ("12,000원", "12000"),
    ("15个", "15"),
    ("1만 2천 원", "12000"),
    ("1만 2천 킬로미터", "12000"),
    ("다섯 켤레", "5켤레"),
    ("三层", "3层"),
    ("열두 개입니다", "12개"),
    (r"12\pi \text{ cm}^3", r"12\pi"),
    (r"4\sqrt{5} \text{ units}", r"4\sqrt5"),
    ("20 percent", r"20\%"),
    (r"20\%", "20"),
    (r"35\%", "0.35"),
    (r"12.5\%", r"\frac18"),
    ("**72**", "72"),
    (r"\mathbf{72}", "72"),
    (r"\(72\)", "72"),
    ("x = 72", "72"),
    (r"f(3) = 72", "72"),
    ("m+n = 72", "72"),
    ("24 + 48 = 72", "72"),
    (r"\angle ABC = 72^\circ", "72"),
    (r"\approx 72", "72"),
    # formulas
    (r"7\sqrt3", r"7\sqrt{3}"),
    (r"7 \sqrt {3}", r"7\sqrt{3}"),
    ("7√3", r"7\sqrt{3}"),
    ("7*sqrt(3)", r"7\sqrt{3}"),
    (r"\sqrt[3]2", r"\sqrt[3]{2}"),
    ("9π", r"9\pi"),
    ("9 pi", r"9\pi"),
    (r"9 \cdot \pi", r"9\pi"),
    (r"9 \times \pi", r"9\pi"),
    (r"\frac{\pi}{6}", "π/6"),
    (r"\frac{5\pi}{6}", r"5\pi/6"),
    (r"-\frac{\pi}{3}", r"\frac{-\pi}{3}"),
    ("x^{2}+5x", "x^2 + 5x"),
    ("x² + 5x", "x^2+5x"),
    (r"2 \cdot x", "2x"),
    ("2*x", "2x"),
    (r"3^{10}", "3^10"),
    ("2010_{7}", "2010_7"),
    (r"y = 4x - 9", "4x-9"),
    (r"\left( 4x - 9 \right)^2", "(4x-9)^2"),
    (r"\bigl(4x-9\bigr)^2", "(4x-9)^2"),
    (r"x_{1}", "x_1"),
    (r"\infty", "+∞"),
    (r"\pm 7", "±7"),
    (r"x = \pm 7", r"\pm7"),
    (r"\pm 7", "7, -7"),
    (r"x \leq 4", r"x \le 4"),
    ("x <= 4", "x ≤ 4"),
    (r"4 \ge x", r"x \le 4"),
    (r"-2 < x < 6", "6 > x > -2"),
    ("3 - 4i", "3-4i"),
    ("3x + 2 = y", "y = 3x + 2"),
    ("-(-2)", "2"),
    ("5 boys", "5"),
    ("12 goldfish", "12"),
    (r"\text{approximately } 3.14", "3.14"),
    (r"\dbinom{8}{3}", r"\binom83"),
    # several values
    (r"(4,275)", "(4, 275)"),
    (r"\left(4, 275\right)", "(4,275)"),
    (r"\left(\frac{1}{2}, 3\right)", "(0.5, 3)"),
    (r"(x,y) = (2,-5)", "(2, -5)"),
    (r"\{9,120\}", r"\{9, 120\}"),
    (r"\{2, 5, 3\}", r"\{5, 3, 2\}"),
    (r"\left\{ 2, 5 \right\}", r"\{5,2\}"),
    ("3, 8", "8, 3"),
    ("3 and 8", "3, 8"),
    ("x = 3 or x = 8", "3, 8"),
    (r"x=3 \text{ or } x=8", "x = 8, 3"),
    (r"[3,205)", "[3, 205)"),
    (r"x \in [3, 5]", "[3,5]"),
    (r"(-\infty, 3) \cup (5, \infty)", r"(5,+\infty)\cup(-\infty,3)"),
    ("(-∞, 3) ∪ (5, ∞)", r"(-\infty,3)\cup(5,\infty)"),
    (r"\emptyset", r"\varnothing"),
    (r"\begin{pmatrix} 7 \\ 8 \end{pmatrix}", r"\begin{pmatrix}7\\8\end{pmatrix}"),
    (r"\begin{bmatrix} 7 & 8 \\ 9 & 1/2 \end{bmatrix}", r"\begin{pmatrix} 7&8\\9&0.5 \\ \end{pmatrix}"),
    (r"\left( \begin{array}{c} 7 \\ 8 \end{array} \right)", r"\begin{pmatrix} 7 \\ 8 \end{pmatrix}"),
    # words
    (r"\text{(D)}", "D"),
    ("(D)", "D"),
    (r"\textbf{(D)}", "(D)"),
    (r"\mathrm{D}", "d"),
    ("(e)", "E"),
    ("e", "(E)"),
    (r"\text{Friday}", "friday"),
    ("YES", "Yes"),
    ("Yes.", "yes"),
    ("two red, one blue", "Two red,  one blue"),
]
BY_VALUE = [
    (r"\sqrt{12}", r"2\sqrt{3}"),
    (r"\frac{1}{\sqrt{5}}", r"\frac{\sqrt5}{5}"),
    ("x^2 + 2x + 1", "(x+1)^2"),
    ("5 + x^3 - x", "x^3-x+5"),
    ("a(b+c)", "ab+ac"),
    (r"\sin 30^\circ", "0.5"),
    (r"\frac{x+1}{2}", "(x+1)/2"),
    (r"\frac{2}{3}\pi", r"\frac{2\pi}{3}"),
    (r"-3+\sqrt{7}", r"\sqrt7-3"),
    ("2^8", "256"),
    ("e", r"\exp(1)"),
    ("6!", "720"),
    (r"\binom{6}{2}", "15"),
    (r"\sqrt{49}", "7"),
    (r"(\sqrt{9}, 1)", "(3, 1)"),
    (r"\{1+\sqrt2, 3\}", r"\{3, \sqrt2+1\}"),
    (r"1 \pm \sqrt{5}", r"1-\sqrt5, \sqrt5+1"),
    (r"\begin{pmatrix} \sqrt{4} \\ 1 \end{pmatrix}", r"\begin{pmatrix} 2 \\ 1 \end{pmatrix}"),
    ("2x + y = 4", "y + 2x = 4"),
    (r"(-\infty, \sqrt{8}]", r"(-\infty, 2\sqrt2]"),
]
DIFFERENT = [
    # words and letters beside a number
    ("144 π", "144"),
    ("15 θ", "15"),
    ("8 Ω", "8"),
    ("5x", "5"),
    ("5 x", "5"),
    ("5i", "5"),
    ("5 k", "5"),
    ("double 9", "9"),
    ("triple 9", "9"),
    ("half of 8", "8"),
    ("twice 8", "8"),
    ("negative 8", "8"),
    ("minus 8", "8"),
    ("not 8", "8"),
    ("at least 8", "8"),
    ("at most 8", "8"),
    ("more than 8", "8"),
    ("8 or more", "8"),
    ("over 8 apples", "8"),
    ("up to 8", "8"),
    ("9 tenths", "9"),
    (r"9 \text{ tenths}", "9"),
    ("3 quarters", "3"),
    ("1 third", "1"),
    ("5 hundredths", "5"),
    ("2 lakh", "2"),
    ("2 million", "2"),
    ("2 thousand apples", "2"),
    ("4 dozen", "4"),
    ("4 squared", "4"),
    ("4 factorial", "4"),
    ("square root of 9", "9"),
    ("the reciprocal of 9", "9"),
    ("101 binary", "101"),
    ("0.3 repeating", "0.3"),
    ("all but 6", "6"),
    ("multiple of 6", "6"),
    ("6 plus", "6"),
    ("vitamin 6", "6"),
    ("12 xyz", "12"),
    ("2 hours 30 minutes", "2 hours 30 seconds"),
    ("5 feet 3 inches", "5 feet 3 cents"),
    (r"2\text{ h }30\text{ minutes}", r"2\text{ h }30\text{ hours}"),
    ("2 m 30 cm", "2 m 30 mm"),
    ("the second", "the"),
    ("my day", "my"),
    (r"2\pi hr", r"2\pi"),
    ("3만 이상", "3만"),
    ("3만 아니다", "3만"),
    ("3个以上", "3个"),
    ("두 배", "2"),
    ("3배", "3"),
    ("三倍", "3"),
    ("세 번째", "3"),
    # numbers
    (r"0.7\%", "0.7"),
    (r"70\%", "7"),
    (r"\frac13", "0.333"),
    ("1e3", "13"),
    ("3!", "3"),
    ("3210_5", "3210"),
    ("3210_5", "3210_6"),
    (r"0.\overline{3}", "0.3"),
    ("3:4", "34"),
    ("12:30", "1230"),
    ("10-15", "15"),
    ("2^5", "25"),
    ("-7", "7"),
    # powers
    ("x^2", "x^3"),
    ("x^2", "x"),
    ("4R^2", "4R"),
    ("4R", "4r"),
    ("(a, 1)", "(A, 1)"),
    ("(a, 1)", "1"),
    ("(1, a)", "1"),
    ("f", "F"),
    (r"\pi^2", r"\pi"),
    ("a^2+b^2", "a^2+b"),
    (r"\frac{a^2}{b}", r"\frac{a}{b}"),
    ("r^2 + R", "R^2 + r"),
    ("x_1", "x_2"),
    # kinds
    ("(6,275)", "6275"),
    ("(1,2)", r"\{1,2\}"),
    ("(1,2)", "(2,1)"),
    ("(1,2)", "[1,2]"),
    ("[1,2)", "(1,2]"),
    (r"\{1,2\}", r"\{1,2,3\}"),
    ("1, 2", "1, 3"),
    ("1, 2", "12"),
    ("x = 1, y = 2", "x = 2, y = 1"),
    (r"x^2 + y^2 = 9", "9"),
    ("x > 3", "x < 3"),
    ("x > 3", r"x \ge 3"),
    ("x > 3", "3"),
    (r"x \ne 3", "x = 3"),
    (r"\pm 3", "3"),
    (r"(-\infty, 2) \cup (3, \infty)", "3"),
    (r"(-\infty, 2) \cup (3, \infty)", r"(-\infty, 2) \cup (4, \infty)"),
    (r"\begin{pmatrix} 4 \\ 5 \end{pmatrix}", "5"),
    (r"\begin{pmatrix} 4 \\ 5 \end{pmatrix}", r"\begin{pmatrix} 4 & 5 \end{pmatrix}"),
    (r"\begin{vmatrix} 4 & 1 \\ 5 & 2 \end{vmatrix}", r"\begin{pmatrix} 4 & 1 \\ 5 & 2 \end{pmatrix}"),
    (r"\infty", r"-\infty"),
    (r"\text{(A)}", r"\text{(B)}"),
    ("even", "odd"),
    ("Monday", "Tuesday"),
    (r"\sqrt{2}", "1.41"),
    (r"\overline{5}", "5"),
    ("|x|", "x"),
    (r"\angle A", "A"),
    (r"\sin 30^\circ", r"\sin 30"),
    ("-(-2)", "-2"),
    ("x^{23}", "x^2 3"),
    ("2r + R", "2R + r"),
    (r"\begin{pmatrix} 1 & 2 \end{pmatrix}", "(1,2)"),
    ("p or q", "p and q"),
    (r"5 \bmod 7", "5"),
    ("A^T", "A"),
    ("f'", "f"),
    (r"2\frac12", r"2 \cdot \frac12"),
]


def is_same(first: str, second: str) -> bool:
    """As a run compares: the answer from the box of a completion, the gold from a data set."""
    return same_answer(final_answer(f"So it is \\boxed{{{first}}}."), gold_answer(second))


@pytest.mark.parametrize(("first", "second"), SAME)
def test_two_spellings_are_one_answer(first: str, second: str) -> None:
    assert is_same(first, second) and is_same(second, first)


@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_two_meanings_are_two_answers(first: str, second: str) -> None:
    assert not is_same(first, second) and not is_same(second, first)


OTHER_UNITS = [
    ("5 dollars", "5 cents"),
    ("5 km", "5 m"),
    (r"3 \text{ hours}", "3 minutes"),
    ("2 kg", "2 grams"),
    ("5 inches", "5 feet"),
    ("5 ft", "5 in"),
    ("5 ounces", "5 pounds"),
    ("5 gallons", "5 liters"),
    ("45 cents", "45 euros"),
    ("5 cm^2", "5 m^2"),
    ("60 km/h", "60 km per minute"),
    ("7 am", "7 pm"),
    ("5시간", "5분"),
    ("3 小时", "3 分钟"),
]


@pytest.mark.parametrize(("first", "second"), OTHER_UNITS)
def test_a_unit_counts_where_both_texts_state_another_one(first: str, second: str) -> None:
    assert not same_answer(first, second) and not same_answer(second, first)
    assert same_answer(first, normalise(first)) and same_answer(second, normalise(second))


SAME_UNITS = [
    ("5 in total", "5 feet"),
    ("60 miles per hour", "60 mph"),
    ("5 feet", "5 ft"),
    ("5 inches", "5 inch"),
    ("3 centuries", "3 century"),
    ("5 dollars", "5 dollars a day"),
    ("She won 5 dollars", "5 dollars"),
    (r"2\pi \text{ km}", r"2\pi"),
    (r"3 \text{ or } 8 \text{ feet}", "3, 8"),
    (r"abc \text{ cm}^3", "abc"),
]


@pytest.mark.parametrize(("first", "second"), SAME_UNITS)
def test_a_unit_does_not_count_where_no_other_of_its_dimension_is_stated(first: str, second: str) -> None:
    assert same_answer(first, second, by_value=False) and same_answer(second, first, by_value=False)


def test_a_spelling_of_a_unit_has_one_row() -> None:
    spellings = [word for line in unit_table._ROWS.strip().splitlines() for word in line.split()[1:]]
    assert len(spellings) == len(set(spellings))
    assert unit_table.ROW_OF["feet"] == unit_table.ROW_OF["ft"] != unit_table.ROW_OF["inches"]


@given(st.sampled_from([text for pair in [*SAME, *DIFFERENT] for text in pair]), st.data())
@settings(max_examples=150)
def test_equality_does_not_depend_on_the_order_or_on_a_normal_form(first: str, data: st.DataObject) -> None:
    second = data.draw(st.sampled_from([text for pair in [*SAME, *DIFFERENT] for text in pair]))
    same = same_answer(first, second, by_value=False)
    assert same == same_answer(second, first, by_value=False)
    assert same == same_answer(normalise(first), normalise(second), by_value=False)
    assert same_answer(first, first)


@pytest.mark.skipif(not is_installed(), reason="needs the extra math")
def test_equal_formulas_are_one_answer_by_value() -> None:
    wrong = [pair for pair in BY_VALUE if not (is_same(*pair) and is_same(*pair[::-1]))]
    assert not wrong
