"""What a completion or a gold answer without a closed box ends on: formulas, signed numbers, or words."""

import pytest

from dupo.tasks.final_answer import final_answer, gold_answer, last_boxed

FORMULAS = [
    (r"\[ 2\sqrt{3} \]", r"2\sqrt{3}"),
    (r"So it is \(2\sqrt{3}\).", r"2\sqrt{3}"),
    (r"$$2\sqrt3$$", r"2\sqrt{3}"),
    (r"It is $2\sqrt{3}$ cm.", r"2\sqrt{3}"),
    (r"The interval is $(2, 5)$ as shown.", "(2, 5)"),
    (r"The matrix $\begin{pmatrix}1\\2\end{pmatrix}$ it is", r"\begin{pmatrix}1 \\ 2\end{pmatrix}"),
    (r"The area is $\pi r^2 = 9\pi$.", r"9\pi"),
    ("The answer is 12 for all $x > 0$.", "12"),
    ("The answer is $12$.", "12"),
    ("Answer: (1, 2)", "(1, 2)"),
    ("답: 5, 6", "5, 6"),
    ("The ratio is 3:2.", "3:2"),
    ("The train leaves at 3:30 PM.", "3:30 pm"),
    ("Week 3:210 pages", "210"),
    ("The answer is 5 or 6.", "5 or 6"),
    ("The answer is 2^10.", "2^{10}"),
    ("It is x^2.", "x^2"),
    ("It is 2x.", "2x"),
    ("The rope is 5m long.", "5"),
    ("It is 3 squared.", "3 squared"),
    ("It is 1e3.", "1000"),
    ("It is 12 (see step 3).", "12"),
    ("It is no more than 5.", "no more than 5"),
    ("It rounds up to 17%.", "17%"),
    ("1.2y / 1.2 or 160 = y", "160"),
    ("She has twelve apples.", "12"),
    ("I am one of them.", None),
    ("Then the ratio of cats to dogs is 5 to 4.", "5:4"),
    ("The ratio is 5 to 4 to 7", "5:4:7"),
    ("The ratio is 5 : 4.", "5:4"),
    ("The odds are 0.5 to 1.", "0.5:1"),
    ("The ratio fell from 5 to 4.", "4"),
    ("The ratio of 6 to 4 is 1.5.", "1.5"),
    ("He worked from 5 to 8", "8"),
    ("The set is {4, 6, 9}.", r"\{4, 6, 9\}"),
    (r"So S = \{-4, 6\}.", r"\{-4, 6\}"),
    (r"The point is (1, \pi).", r"(1, \pi)"),
    ("The distance is 2 450", "2450"),
    ("The distance is 2 450 km.", "2450"),
    ("He paid $2 450.", "2450"),
    ("n = -2 450", "-2450"),
    ("There are 2 450 m tracks", "450"),
    ("In 2024 450 people came", "450"),
]
SIGNS = [
    ("정답은 마이너스 3입니다.", "-3"),
    ("영하 3도입니다.", "-3"),
    ("答えはマイナス3です。", "-3"),
    ("答案是负3。", "-3"),
    ("答案是负三。", "-3"),
    (r"\boxed{\text{minus five}}", "-5"),
    (r"\boxed{마이너스 3}", "-3"),
    ("답은 2시간 30분입니다.", "2 h 30 min"),
    ("It takes 2 hours and 30 minutes.", "2 h 30 min"),
    ("#### 2 hours 30 minutes", "2 h 30 min"),
    ("答案是3个半。", "3个半"),
]
BOXES = [
    (r"Therefore the answer is $\boxed 5$.", "5"),
    (r"$\boxed5$", "5"),
    (r"$x = \boxed 25$", "25"),
    (r"$\boxed\frac{1}{2}$", "0.5"),
    (r"$\boxed -3$ it is, after 4 steps", "-3"),
    (r"The answer is \fbox{7}, not 8.", "7"),
    (r"\framebox{7}", "7"),
    (r"\boxed{5} or \boxed{6}", "5 or 6"),
    (r"\boxed{5}, \boxed{5}", "5"),
    (r"\boxedx 5 makes 6", "6"),
]


@pytest.mark.parametrize(("text", "expected"), [*FORMULAS, *SIGNS, *BOXES])
def test_the_end_of_a_completion_is_read_whole(text: str, expected: str | None) -> None:
    assert final_answer(text) == expected


@pytest.mark.parametrize(("text", "_"), BOXES[:-1])
def test_a_box_of_any_kind_is_a_box_of_a_gold_answer(text: str, _: str) -> None:
    assert last_boxed(text) and gold_answer(text) == final_answer(text)


GOLDS_OF_FORMULAS = [
    ("x = 4 or x = 5 or x = 6 or x = 7 or x = 9", "x=4 or x=5 or x=6 or x=7 or x=9"),
    (r"x = 4 \text{ or } x = 5 \text{ or } x = 6 \text{ or } x = 9", "x=4 or x=5 or x=6 or x=9"),
    ("k = 2m or k = 2m + 1 and m = 3n or m = 9", "k=2m or k=2m+1 and m=3n or m=9"),
    ("pq + qr + rp + pqr = 6", "pq+qr+rp+pqr=6"),
    ("5ab + 6bc + 7cd + 8de = 9", "5ab+6bc+7cd+8de=9"),
    ("pq + qr + rs + sp", "pq+qr+rs+sp"),
    ("pq + qr + rp = pqr", "pq+qr+rp=pqr"),
    (r"-\frac{pq + qr + rp}{pqr}", r"-\frac{pq+qr+rp}{pqr}"),
    ("ab(c + d) - cd(a + b) + ac(b - d) + bd", "ab(c+d)-cd(a+b)+ac(b-d)+bd"),
    ("P = 40, Q = 50, R = 90 and PQ = 5 and QR = 3", "P=40, Q=50, R=90 and PQ=5 and QR=3"),
    (r"2\sin A\cos B + ab\sin C = bc + 3", r"2\sin A\cos B+ab\sin C=bc+3"),
    ("100m + n = 543", "543"),
]


@pytest.mark.parametrize(("text", "expected"), GOLDS_OF_FORMULAS)
def test_letters_between_signs_are_no_words(text: str, expected: str) -> None:
    assert gold_answer(text) == final_answer(f"\\boxed{{{text}}}") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Tom and Ann are 12", "12"),
        ("So, Ann = 24/2 = 12 of the pens", "12"),
        ("all real numbers except 3", "all real numbers except 3"),
        ("All real numbers except 3.", "all real numbers except 3"),
        ("no more than 5 of them", "no more than 5 of them"),
        ("the circle with center (1, 2) and radius 3", "the circle with center(1, 2)and radius 3"),
        ("y = 2x + 1 for all x in the domain", "2x+1 for all x in the domain"),
        ("1 and 6 and 7 and 8 and 9", "1 and 6 and 7 and 8 and 9"),
        ("about 3 or 4 of the apples are bad", "about 3 or 4 of the apples are bad"),
        ("the number of ways is 12", "12"),
        ("Ann sold 72 clips to all of them.", "72"),
        ("She had 3. So in all she has 15 now.", "15"),
    ],
)
def test_a_gold_in_words_keeps_its_words_unless_it_says_its_number(text: str, expected: str) -> None:
    assert gold_answer(text) == expected
