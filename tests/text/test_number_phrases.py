"""Numbers that words beside them, or other numbers of a list, keep from being hidden."""

import re

import pytest

from dupo import text
from dupo.text.numbers import doubts, east_asian_context, east_asian_words, mentions, phrase_table, questions
from dupo.text.numbers.phrase_classes import CLASSES
from dupo.text.numbers.phrase_table import DOUBTS, PHRASES, ROUNDED, THINGS, UNITS
from tests.helpers.project import ROOT

# A text with its numbers marked as `python -m dupo.duals` marks them: [[5]] may be hidden, 5{reason} may not.
MARKED = [
    # bounds in words, and comparisons of two quantities
    "less than ten{bound}, at most 5{bound}, no more than 8{bound}, up to 20{bound}",
    "exceeds 40{bound} or not exceeding 60{bound}, 18{bound} or older, people over 65{bound}",
    "greater than or equal to 9{bound}, a maximum of 15{bound}",
    "primes between 10{bound} and 30{bound}, from 1{bound} to 100{bound}",
    "integers from 12{bound} through 40{bound}, from 2{bound} to 9{bound}, inclusive",
    "cards numbered 1{bound} to 50{bound}, a die with faces 1{bound} to 6{bound}",
    "[[5]] more than [[12]], [[3]] inches shorter than [[7]] feet",
    "[[3]] less than [[twice]] as many, has [[5]] fewer than [[9]]",
    "it rang up to $[[150]], the difference between [[45]] and [[18]]",
    "the number of integers less than $900{bound}$",
    "the side grew from [[3]] to [[8]] feet",
    # divisors of numbers, and quantities that are divided
    "divisible by 3{divisor}, 5{divisor} and 7{divisor}, a multiple of $18{divisor}$",
    "the remainder when $n$ is divided by 1000{divisor}, modulo 11{divisor}",
    "multiples of 6{divisor} but not of 4{divisor}, coprime to 30{divisor}",
    "[[48]] pens divided by [[6]] friends, grown by a factor of [[3]]",
    # years
    "in $2026{date}$, a 1974{date} dime, days of 2023{date}, by 1999{date}",
    "is 1900{date} a leap year, the 2020{date} census, on 20230428{date}",
    "in [[2000]] meters, increased by [[1800]], a [[1500]] meter race",
    # definitions
    "a cube has 12{definition} edges and 6{definition} faces; its volume is [[27]]",
    "a right triangle with a 90{definition} degree angle and a leg of [[9]]",
    "a six{definition}-sided die and a [[20]]-sided die",
    r"$i=\sqrt{-1{definition}}$ and $i^2{power}=-1{definition}$",
    "a deck of 52{definition} cards, and Tom has [[52]] pens",
    "the 7{definition} days of a week, a 7{definition}-day week, and [[7]] days a week",
    "an hour has 60{definition} minutes and lasts [[60]] pages",
    "a standard 8{definition} by 8{definition} chessboard",
    "a garden of [[8]] by [[9]] feet",
    "the 26{definition} letters of the alphabet",
    "[[26]] letters to her mother",
    "12{definition} eggs in a dozen{definition}",
    "Use 3.14{definition} for pi",
    "a 5{definition} by 5{definition} grid of 25{definition} squares, and [[5]] by [[7]] feet",
    "find four{definition} numbers [[2]], [[7]], [[9]] and [[20]]",
    # the form of the answer
    "to 2{form} decimal places, in base 10{form}",
    # enumerations and sets with dots
    r"$\{1{enumeration},2{enumeration},\ldots,[[40]]\}$",
    "rows 1{enumeration}, 2{enumeration}, 3{enumeration} and 4{enumeration}",
    "the sum 1{enumeration} + 2{enumeration} + ... + n is [[210]]",
    "the digits 2{enumeration}, 3{enumeration}, 7{enumeration}",
    "the set {2{enumeration}, 5{enumeration}, 11{enumeration}}",
    "sides [[3]], [[4]] and [[5]] cm cost [[3]], [[6]] and [[8]] coins",
    # worked examples
    "For example, $21{example}$ is odd since $2{example}+1{example}=3{example}$. It has [[4]] digits.",
    "A palindrome (e.g., 131{example}) has [[5]] digits. One{example} such number is 99{example}.",
    "For example, 25{example} is nice. But 26{example} is not. Pick [[3]].",
    "Numbers like 12{example} and 21{example} are twins.",
    # shares that tell each other
    "Half{partition} of them run, the other half{partition} walk. Half{share} of the walkers sing.",
    "Half{share} of them are full. Of the others half{idiom} are new and the other half{partition} old.",
    "[[90]]% of the pens; 80{partition}% are red, the other 20{partition}% blue",
    "one-third{partition} of them run, one-third{idiom} walk and the remaining one-third{idiom} new",
    "One-third{share} of them run, and half{share} of the remaining half{share} of them walk.",
    "Half{share} of them run, the other 1/3{reference} of them walk and [[50]]% of Ben's sing.",
    "40{partition} questions, 34{partition} are right and the other 6{partition} wrong",
    "[[40]] questions, [[30]] are right and the other 6{reference} wrong",
    # answers that are rounded, and packs that are bought whole
    "[[7]] miles in [[3]] hours; the nearest town",
    "7{rounded} of 9{rounded}, rounded to the nearest percent",
    "18{rounded} by $7{rounded}, to the nearest whole dollar",
    "3{rounded} of 7{rounded}. Round your answer to 2{form} decimal places.",
    "needs 20{rounded} seeds; the shop only sells packs of 25{rounded} at $[[5]] a pack",
    "pouches in packs of 6{rounded} for 18{rounded} people: how many packs?",
    "[[3]] shirts in packs of [[6]]: how many shirts? He only has [[3]] packs.",
    "pays $8{rounded} and only has $10{rounded} bills",
    # dividends, and divisors one by one
    "the remainder when $1234{divisor}$ is divided by $11{divisor}$. Then [[48]] is divided between [[6]]",
    "20267{divisor} mod 100{divisor} or $1234{divisor} \\bmod 11{argument}$, but x ≡ [[3]] mod 7{divisor}",
    "a remainder of [[1]] when divided by each of 4{divisor}, 5{divisor} and 7{divisor}",
    "the reversal of 173{example}, for example, is 371{example}. It has [[4]] digits.",
    "With [[2]] rules, the image of 15{example} is 51{example}, for instance. Add [[7]].",
    "Let $a*b=ab-[[4]]$ so that, for instance, $3{example}*5{example}=11{example}$.",
    "the square of 12{example}, say, is 144{example}. Pick a number, say 9{example}",
    "[[Five]] apples, say the teachers, and [[3]] more",
    "$f(x)=x^2{power}+[[1]]$, thus $f(3{argument})=10{example}$. Then [[4]] boys sing.",
    "All shake hands. (With 4{example} people there would be 6{example} handshakes.) [[9]] came.",
    "All sing. (With [[4]] songs each.) Would [[9]] come?",
    "12{example} and 21{example} are such integers, [[12]] and [[21]] are nice.",
    "The digit sum of 482{example} is 4{example}+8{example}+2{example}=14{example}. Find [[7]].",
    "Here $x+[[3]]+[[5]]=[[8]]$. Is [[4]]+[[8]]=[[12]]?",
    # factorials, the 0 of an equation, vehicles and contests
    "the zeros of 2025{argument}! and $7{argument}!+[[3]]$",
    "Tom won [[12]]! Who won [[7]]?",
    "$x-[[7]]=0{form}$, and [[0]] degrees",
    "Bus 66{label} leaves before bus 7{label}. He takes the bus [[3]] times.",
    "the AMC of 2019{date}, a contest for [[2024]] pupils",
    # names, telephone numbers and words
    "the Widgeteer 3000{name}, an iPhone 12{name}, near Area 51{name}, gave Tom [[12]] pens",
    "Zephyr 700{name} costs $[[30]], a Boeing 747{name}, When [[247]] is divided",
    "call 555{label}-123{label}-4567{label}",
    "phone 555{label}-1234{label}",
    "one{pronoun} weekend, one{pronoun} year later, [[one]] hour",
    "a three{word}-toed sloth on a [[three]]-legged chair",
    "two{reference} of the circles touch, [[two]] of the pens are red",
    # what may be hidden although a word or a sign stands beside it
    r"Solve $[[2]]x+[[9]]=[[15]]$ and [[5]]y - [[8]] = [[27]], [[36]]π and $[[117]]i$",
    "a [[5]]-[[12]]-[[13]] triangle, but on 4{date}-7{date}-21{date}",
    "groups of size [[18]], shoe size 9{label}, a tile has size [[30]] square inches",
    r"$[[5]]x-[[2]]y=[[16]]$ and $x-[[7]]$ but A-8{word}",
    "the other [[400]] children, the other 4{reference} cats",
    "open from [[1]] to [[4]] PM, from 8{time} am to 4{time} pm",
    "$[[250 000]] and $[[1 250 000]]",
    "[[half]] price, [[one half]] off",
    # shares that read as a count when hidden
    "half{share} of them and 3/4{share} of Ivy's pens, but [[half]] of an hour and [[1/2]] of it",
    "a third{share} of the boys and 0.25{share} of her pens, but [[50]]% of them",
    "[[half]] as many, [[half]] the age and [[1/4]] cup of tea",
    # ages and times that only set a scene
    "When she was 6{scene} years old she had [[8]] pens, and twice{scene} that age [[9]]. How many are left?",
    "Two{scene} days later he buys [[7]] pens, and 3{scene} hours ago [[5]]. How many pens has he?",
    "A 9{scene}-year-old has [[4]] pens. Two{scene} weeks after that [[3]] are lost. How many are left?",
    "He has [[4]] pens. [[8]] years later, how old is he?",
    "It grows [[2]] cm a day. [[5]] days later how tall is the tree?",
    "He has [[20]] years of experience. [[8]] years ago Tom had [[twice]] as much. How much has Tom?",
    "In the first year it grows [[2]] feet, then [[3]]. When it is [[2]] years old, what is its height?",
    # an amount of money that is the only one
    "He sells pens for $5{scene} and works [[7]] days. On Monday he sold [[2]]. How many pens did he sell?",
    "He has $[[10]] and a pen costs $[[2]]. How many pens can he buy?",
    "He has $[[10]] and a pen costs [[2]]. How many pens can he buy?",
    "She had [[80]] quarters, that is $[[20]]. How many machines hold them?",
    "He has $[[10]]. How much is left of it? How many cents did he earn?",
    # the best of several things, and what is bought with all the money
    "Store A sells pens at $3{choice}, store B at $4{choice}. How much are 5{choice} in the cheaper?",
    "The cheaper pens cost $[[3]] and the others $[[4]]. How much are [[5]] of each?",
    "Pens cost $5{choice} and he has $20{choice}. What is the greatest number of pens he can buy?",
    "He wins 3{choice} games, Ann 4{choice}. What are the most games that anyone wins?",
    "Pens cost $5{rounded} and he has $23{rounded}. He buys as many red pens as he can.",
    "He sold $[[23]] of pens at $[[5]] each, as many as he could. How many did he sell?",
    "Pens cost $5{rounded} and he spent $23{rounded}. At least how many did he buy?",
    "He has at least 3{bound} pens. How many of [[9]] are left?",
    "Pens cost $5{choice} here and $4{choice} there. What is the lowest price of 3{choice} pens?",
    "The lowest price of a pen is $[[4]]. What do [[3]] pens cost?",
    "The greatest number of pens is [[9]]. How many are left of [[20]]?",
    # a one, hidden only where a text has no other number
    "He pays $[[5]] for 1{unit} pen.",
    "He eats [[5]] pears and one{unit} apple.",
    "He has [[1]] pen.",
    "He has [[5]] pens and [[one]] more pen.",
    "He has [[5]] pens and is [[1]] inch taller.",
    "Solve $[[2]]x+[[1]]=[[9]]$.",
    # counts of things that the text lists, hidden only where a text has no other number
    "He has three{listed} gardens. The first garden has [[8]] trees.",
    "He has [[three]] gardens. The first tree has [[8]] nuts.",
    "He bought 2{listed} books. One{unit} book has [[80]] pages, the other has [[90]].",
    "He bought [[2]] books. One{unit} book has [[80]] pages.",
    "On a 3{listed}-day trip he walks [[8]] miles on the first day.",
    "Ann has [[8]] pens, Ben [[9]]. How many pens do the 2{listed} boys have?",
    "He pays the [[2]] boys $[[9]] each. How many dollars has he?",
    "He eats 4{listed} kinds of nuts, [[8]] of each, in two{listed} different bowls.",
    "For the first [[3]] days he ran [[8]] miles, and on the first day [[9]].",
    "On the first day he ran [[8]] miles, then [[9]]. How many miles does he run in 2{listed} days?",
    # equal counts, one of which points back, hidden only where a text has no other number
    "He buys 3{repeated} cans of tea for $[[5]]. The 3{repeated} drinks are for Ann.",
    "He has [[3]] gardens and another [[4]] gardens.",
    # labels of when something was
    "He drank [[2]]% less than what he drank 2{scene} days ago. Today he drank [[48]] ounces.",
    "He borrowed money [[6]] months ago and pays $[[10]] per month.",
    "Ann had [[40]] pens, and 3{scene} days after that [[60]]. How many did she buy?",
    "Ann had [[40]] pens, and [[3]] days after that [[60]]. How many days did she wait?",
    # bounds that name a class
    "[[40]] boys are above 11{bound} but under 13{bound}, [[9]] are 13{bound} years and above.",
    "[[9]] of them are under the age of 30{bound}, and [[30]] are women.",
    "Children (ages 3{bound}-12{bound}) pay $[[8]], those of ages 60{bound}+ pay $[[9]].",
    "Children (ages [[3]], [[5]]) pay $[[8]]; he swam over [[12]] miles.",
    "Anything over 40{bound} hours pays $[[9]]. He works 40{repeated} hours, Ann [[40]] minutes.",
    # between two units of one measure
    "He drinks [[40]] ounces. There are 8{definition} ounces of water in a cup.",
    "He drinks [[40]] ounces, and 1{unit} cup is 9{definition} ounces.",
    "He has [[10]] feet of rope. There are 12{definition} inches to the foot.",
    "He drives [[40]] miles to the gallon and drinks [[8]] cups a day.",
    "There are [[8]] ounces in a cup.",
    "Assume 4{definition} weeks in a month. He works [[9]] hours in a week.",
    # a price that the question says again
    "He buys games at $50{repeated} and has $[[240]]. How many games can he buy at $50{repeated} each?",
    "He buys games at $[[50]] and pens at $[[50]]. He has [[9]] of each. How much does he spend?",
    # every other
    "He has 20{rounded} lessons and pays $[[5]] for every other lesson. How much does he pay?",
    "He has [[20]] lessons and pays $[[5]] for every lesson.",
    # the best deal
    "He wants the best deal. Pens cost $3{choice} here, $4{choice} there. How much are 5{choice}?",
    "It is no good deal: pens cost $[[3]]. How much are [[5]]?",
    # parts that add up to a total in sight
    "She has 7{partition} boys. 3{partition} of them sing, another 4{partition} of them. All pay $[[9]].",
    "She has [[7]] brothers. [[3]] of them sing, another [[5]] of them dance.",
    "4{partition} caps: 2{partition} of them red, one{partition} blue, the other 1{partition} pink: $[[45]].",
    # what is listed by the time of the day, and both of two things
    "She milks her cows twice{listed} a day. This morning she got [[36]] gallons.",
    "She milks her cows [[twice]] a day. She gets [[36]] gallons.",
    "He has 2{listed} sets of [[4]] knives. Both sets cost $[[80]].",
    # stars and periods are labels
    "a 5{label}-star hotel and lunch in period 5{label}, but [[5]] stars",
    # things that are all listed, and times of the day
    "two{definition} friends, Ben and Leo, with [[two]] cats and Ann, [[3]] cats, Ben and Leo",
    "three{definition} colors of pens: red, light blue, and pink; [[four]] colors: red, white and pink",
    "two{definition} cats named Tom and Kit, [[two]] cats to Tom and Kit",
    "from 12{time} noon, at 6{time} in the morning, but ate [[4]] in the morning",
]
REASON = re.compile(r"\{([a-z ]+)\}")


def marks_of(problem: str) -> str:
    """Marks the numbers of a problem."""
    (numbers,) = text.find_numbers([problem])
    marked, end = "", 0
    for n in numbers:
        marked += problem[end : n.start] + (f"{n.surface}{{{n.skip}}}" if n.skip else f"[[{n.surface}]]")
        end = n.end
    return marked + problem[end:]


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize("marked", MARKED)
def test_phrases_and_lists_decide_what_may_be_hidden(marked: str) -> None:
    problem = REASON.sub("", marked).replace("[[", "").replace("]]", "")
    assert marks_of(problem) == marked


def literals_of(source: str, prefix: str) -> list[str]:
    """Returns the string literals of a source text; adjacent literals are one."""
    literal = rf'{prefix}"((?:[^"\\]|\\.)*)"'
    return [
        "".join(re.findall(literal, run[0])).replace("\\\\", "\\")
        for run in re.finditer(rf"(?:{literal}\s*)+", source)
    ]


def test_both_cores_have_one_table() -> None:
    names = ("numbers_phrase_classes.hpp", "numbers_phrase_table.hpp")
    header = "".join((ROOT / "csrc" / name).read_text(encoding="utf-8") for name in names)
    rows = PHRASES[: len(PHRASES) - 2 * len(UNITS) - len(THINGS)]
    expected = [word for pair in CLASSES.items() for word in pair]
    expected += [word for row in [*UNITS, *THINGS] for word in row]
    expected += [word for row in rows for word in row[1:]]
    expected += [word for row in DOUBTS for word in row[1:]]
    expected += phrase_table.ASKS_WHEN
    expected += [word for row in ROUNDED for word in row]
    expected += [
        *phrase_table.CHOICES,
        *phrase_table.DEALS,
        *phrase_table.SCENES,
        phrase_table.ASKS_TIME,
        *phrase_table.TELLS_TIME,
    ]
    expected += [phrase_table.ASKS_MONEY, *phrase_table.TELLS_MONEY]
    assert literals_of(header, "U") == expected
    reasons = re.findall(r"\{Reason::(\w+),", header)
    assert reasons == [row.reason or "none" for row in [*rows, *DOUBTS]]


def _tables(source: str) -> dict[str, str]:
    """Returns what follows the name of each table of words in a C++ source."""
    table = r"constexpr (?:Text|string_view|Irregular) (\w+)(?:\[\])? = ([^;]*);"
    return dict(re.findall(table, re.sub(r"//.*", "", source)))


def test_both_cores_have_one_list_of_each_kind_of_east_asian_words() -> None:
    header = (ROOT / "csrc/numbers_east_asian_words.hpp").read_text(encoding="utf-8")
    twins = {**vars(east_asian_context), **vars(east_asian_words)}
    tables = _tables(header)
    for name, table in tables.items():
        words = re.findall(r'U"([^"]*)"', table)
        expected = twins[name.upper()]
        # A set of single characters may be a string on either side.
        assert "|".join(words if len(words) > 1 else words[0]) == "|".join(expected), name
    assert len(tables) >= 16


def test_both_cores_have_one_list_of_each_kind_of_words_of_mentions() -> None:
    source = (ROOT / "csrc/numbers_mentions.cpp").read_text(encoding="utf-8")
    tables = {name: re.findall('"([^"]*)"', table) for name, table in _tables(source).items()}
    pairs = tables.pop("irregular")
    assert dict(zip(pairs[::2], pairs[1::2], strict=True)) == mentions.IRREGULAR
    tables.pop("rates")  # written in place in Python
    for name, words in tables.items():
        assert set(words) == getattr(mentions, name.upper()), name
        assert len(words) == len(set(words)), name
    assert len(tables) >= 10


def test_both_cores_have_one_list_of_each_kind_of_words_of_questions() -> None:
    source = (ROOT / "csrc/numbers_questions.cpp").read_text(encoding="utf-8")
    tables = {name: re.findall('"([^"]*)"', table) for name, table in _tables(source).items()}
    for name, words in tables.items():
        assert sorted(words) == sorted(getattr(questions, name.upper())), name
    assert len(tables) >= 6
    header = (ROOT / "csrc/numbers_questions.hpp").read_text(encoding="utf-8")
    assert set(literals_of(header, "U")[0].split("|")) == questions.ASKING


def test_both_cores_have_one_list_of_each_kind_of_words_of_doubts() -> None:
    source = (ROOT / "csrc/numbers_doubts.cpp").read_text(encoding="utf-8")
    tables = {name: re.findall('"([^"]*)"', table) for name, table in _tables(source).items()}
    for name, words in tables.items():
        assert sorted(words) == sorted(getattr(doubts, name.upper())), name
    assert len(tables) == 4


@pytest.mark.usefixtures("served_by")
@pytest.mark.parametrize(("unit", "count", "larger"), UNITS)
def test_units_of_larger_units_are_definitions(unit: str, count: str, larger: str) -> None:
    number, small, large = count.split()[-1], unit.split("|")[0], larger.split("|")[0]
    assert marks_of(f"{number} {small} in a {large}") == f"{number}{{definition}} {small} in a {large}"
    other = int(number) + 1
    assert marks_of(f"{other} {small} in a {large}") == f"[[{other}]] {small} in a {large}"
