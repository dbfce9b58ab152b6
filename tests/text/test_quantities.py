"""Equal numbers: hidden together only where they count the same things.

A case is a text with its equal numbers in brackets: numbers of one letter are one quantity.
"""

import re

import pytest

from dupo import text
from tests.helpers.number_texts import check_hidden

CASES = [
    # The same noun: named before, named by the question, or in the same words.
    "Each of [a:15] shelves is full. There are [b:15] books on each of the [a:15] shelves.",
    "He buys [a:5] pens. The [a:five] pens are red.",
    "He has [a:4] large red pens. His [a:4] pens are new.",
    "Ann can walk [a:8] miles. How long does she walk [a:8] miles?",
    "She waits [a:6] weeks. How much does she spend in [a:6] weeks?",
    "A class of [a:30] children sings. Those [a:30] children are ten.",
    "She bakes [a:12] berry pies for a sale, and sells all [a:12] pies.",
    "The [a:2]-liter bottle is full. Is a [a:2]-liter bottle heavy?",
    "There are [a:9] boxes. Each box has pens. The [a:nine] boxes are red.",
    "Deborah has [a:four] letters to mail. She pays [b:4] coins to mail [a:four] letters.",
    "He has [a:6] songs to write. He writes [a:6] songs and sings [b:6] songs. Ann sings.",
    "The remaining [a:5] pens are red. How many of the remaining [a:5] pens are new?",
    "He keeps tea for [a:2] years. How much is left after [a:2] years?",
    "Ann has [a:8] pens. If pens cost $3 each, how much do [a:8] pens cost?",
    # Other nouns.
    "A path is [a:6] miles long and Ann walks it at [b:6] miles per hour.",
    "He works [a:5] hours a day for [b:5] days, that is [c:5] hours in all.",
    "She saw [a:6] monkeys and [b:6] birds.",
    "He planted [a:25] daisy seeds and [b:25] sunflower seeds.",
    "She buys [a:8] ounces of tea and [b:8] ounces of milk.",
    "The box is [a:4] inches wide and [b:4] inches long.",
    "The rug is [a:10] feet by [b:10] feet.",
    "He runs the [a:100]-meter freestyle and the [b:100]-meter backstroke.",
    # Other things of one noun.
    "He has [a:7] pens and buys [b:7] more pens.",
    "He gave [a:3] pens to Ann and another [b:3] pens to Ben.",
    "He has [a:20] pens. Ann has [b:20] pens more than he.",
    "In [a:2] years, Ann will be old. [b:2] years ago Ben was.",
    "Ann has [a:5] pens and Ben has [b:5] pens.",
    "On Monday he ran [a:4] miles. On Friday he ran [b:4] miles.",
    "She has [a:2] bags. How many bags are [b:two] dozen bags?",
    "The wall is [a:2] feet high. How many feet is it if a can covers [b:2] square feet?",
    # What points back.
    "The [a:3] sisters share [b:3] pies. How much do the [a:three] of them eat?",
    "She has [a:4] cats, and all [a:4] of them sleep.",
    "He earned $[a:60] last week. Half of the $[a:60] is gone.",
    # No noun: only numbers that are hardly equal by chance.
    "A car costs $[a:20000]. Who pays $[a:20000]?",
    "A laptop costs $[a:1200] and a TV costs $[b:1200]. What do both cost?",
    "Ann earns [a:1500] and Ben earns [b:1500] a month.",
    "John won $[a:5000]. He gave away half of the $[a:5000].",
    "Tea costs $[a:2] and bread costs $[b:2].",
    "[a:Twice] as many as Ann, who has [b:twice] as many as Ben.",
    "[a:20]% of the boys and [b:20]% of the girls",
    # Formulas: the same phrase.
    "Let $A=([a:3],[b:4])$. Where is $([a:3],[b:4])$?",
    "The roots of $x^2-[a:6]x+[b:8]$ solve $x^2-[a:6]x+[b:8]=[c:6]$.",
    "$x+[a:5]=y$ and $y-[b:5]=z$",
    "$[a:15]$ shelves and $[b:15]$ books; the $[b:15]$ books are red",
]


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize("marked", CASES)
def test_equal_numbers_are_one_quantity_only_where_they_count_the_same(marked: str) -> None:
    problem, expected = "", {}
    for before, letter, surface in re.findall(r"([^\[]*)(?:\[([a-z]):([^\]]*)\])?", marked):
        if letter:
            expected.setdefault(letter, []).append(len(problem) + len(before))
        problem += before + surface
    (hidden,) = text.hide_numbers([problem], [0])
    check_hidden(problem, hidden)
    starts = [[n.start for n in h.numbers] for h in hidden]
    firsts = {group[0] for group in expected.values()}
    assert [group for group in starts if group[0] in firsts] == list(expected.values())


# Nobody can tell whether the two places of the number are one quantity.
IN_DOUBT = [
    ("Lea planted rows of 6 trees. How many trees remain if 6 trees die?", "6"),
    ("Ben bought 4 pens on Monday. How many pens has he after buying 4 pens on Tuesday?", "4"),
    ("Joe has 5 red marbles and 5 blue marbles. If he gives away 5 marbles, how many are left?", "5"),
    ("Max has 12 cards. How many cards does Max have if he buys 12 cards and loses 3?", "12"),
    ("A train runs for 3 hours at 50 mph. How far does it get if it runs for 3 hours at 60 mph?", "3"),
    ("There are 24 students. 24 students got 2 pencils each. How many pencils?", "24"),
    ("A shelf holds 15 books. There are 15 books on each of the shelves. How many?", "15"),
    ("A 6-inch pizza costs $5. She buys a pizza of 6 inches. What does she pay?", "6"),
    ("A laptop costs $1200. A TV costs $1200. What do both cost?", "1200"),
    ("민수는 사과 5개를 샀다. 사과 5개를 더 사면 모두 몇 개인가?", "5"),
]


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize(("problem", "surface"), IN_DOUBT)
def test_what_may_be_one_quantity_or_two_is_not_hidden(problem: str, surface: str) -> None:
    (numbers,) = text.find_numbers([problem])
    places = [n for n in numbers if n.surface == surface]
    assert len(places) > 1 and {n.skip for n in places} == {"repeated"}


@pytest.mark.usefixtures("served_by")
def test_a_table_of_equal_numbers_is_one_quantity() -> None:
    (numbers,) = text.find_numbers(["7 pens, " * 40])
    assert {n.quantity for n in numbers} == {0}


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize(
    ("problem", "known"),
    [
        (r"a $3\times7$ table", [r"a $N\times7$ table", r"a $3\times N$ table"]),
        (r"$x\neq4$ and $3\cdot5$", [r"$x\neq N$ and $3\cdot5$", r"$x\neq4$ and $N\cdot5$"]),
        (r"$\frac9{19}$ and 38", [r"$N$ and 38", r"$\frac9{19}$ and N"]),
        (r"$\frac{270}7$, $\dfrac5{12}$", [r"$N$, $\dfrac5{12}$", r"$\frac{270}7$, $N$"]),
        (r"$2x+9=15$", ["$N x+9=15$", "$2x+N=15$", "$2x+9=N$"]),
    ],
)
def test_a_name_touches_no_command_and_no_letter(problem: str, known: list[str]) -> None:
    (hidden,) = text.hide_numbers([problem], [0])
    assert [h.known.replace(h.variable, "N") for h in hidden][: len(known)] == known
    check_hidden(problem, hidden)


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize(
    ("problem", "letter"),
    [
        ("She has 5 TVs", "V"),
        ("The volume V is 5", "W"),
        ("speed v and 5 miles", "W"),
        ("$PV=nRT$ with 5 moles", "W"),
        (r"$V_{qk}=5$", "W"),
        (r"$\mathrm{V}_1=5$", "W"),
        (r"$\triangle UVW$ has 5 points", "Z"),
        ("V, W, Z and Q are 5", "V"),
    ],
)
def test_names_start_with_a_letter_that_is_no_variable_of_the_problem(problem: str, letter: str) -> None:
    (hidden,) = text.hide_numbers([problem], [0])
    assert [h.variable[0] for h in hidden] == [letter] * len(hidden) != []
