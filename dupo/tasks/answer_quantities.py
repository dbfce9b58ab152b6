"""The unit that an answer states beside its value: km/h of "60 km per hour", dollars of "$5".

An answer is the string of its value, so that "45 cents" and "45" are one vote. The unit stays with the string
(`Answer`) up to the comparison with a right answer, where two different units are two answers.
"""

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from dupo.tasks.answer_numbers import number_of, parse_number
from dupo.tasks.answer_text import DEGREES, plain_text, with_plain_signs
from dupo.tasks.answer_units import (
    MOST_MODIFIERS,
    NO_NOUNS,
    PLURAL,
    POWER,
    REMARKS,
    UNIT_POWER,
    UNITS,
    without_trailing_unit,
)
from dupo.tasks.unit_table import DIMENSION_OF, EAST_ASIAN_NAMES, ROW_OF, SIZE_OF
from dupo.text.numbers.digits import NUMBER
from dupo.text.numbers.east_asian import EAST_ASIAN, number_in_east_asian

CURRENCIES = {"$": "dollar", "£": "gbp", "€": "euro", "¥": "¥", "₹": "rupee", "₩": "원", "¢": "cent"}
_SIGNS = "".join(sign for sign in CURRENCIES if sign != "$")
CURRENCY = re.compile(rf"(?P<sign>\\?\$|[{_SIGNS}])\s?-?\s?\Z")
STATED_CURRENCY = re.compile(rf"\\(?P<a>\$)|(?P<b>[{_SIGNS}])|^[^$]*(?P<c>\$)[^$]*\Z")
# 5' and 5", behind the only number: a quotation has a mark before the number too.
MARKED_LENGTH = re.compile(r"""[^"']*[0-9] ?(?P<mark>'|"|'')""")
MARKS = {"'": "ft", '"': "in", "''": "in"}
# In front of its unit: 5 square feet, 5제곱미터, 5平方米.
RAISED_WORDS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
RAISED_SIGNS = {"제곱": 2, "평방": 2, "平方": 2, "세제곱": 3, "입방": 3, "立方": 3}
_EAST_ASIAN_UNITS = "|".join(sorted(EAST_ASIAN_NAMES, key=len, reverse=True))
EAST_ASIAN_UNIT = re.compile(
    rf"\s?(?P<raised>{'|'.join(RAISED_SIGNS)})?\s?(?P<unit>{_EAST_ASIAN_UNITS})(?P<half>\s?(?:반|半))?"
)
WORD = re.compile(rf"\s?(?:-(?=[^\W\d_]{{3}}))?(?P<word>[^\W\d_]+)\.?(?P<power>{POWER})?")
PER = re.compile(rf"\s?(?:/|\b(?:per|an?|each|every)\b)\s?(?P<word>[^\W\d_]+)(?P<power>{POWER})?")
NEXT_WORD = re.compile(r"\s(?P<word>[^\W\d_]+)")
# Two rates that are one unit in a word.
RATES = {"mph": ("mile", "hour")} | dict.fromkeys(("kph", "kmh", "kmph"), ("km", "hour"))
RATES |= dict.fromkeys(("knot", "knots"), ("nmi", "hour"))
# Words of which one may stand for the other: £5 and 5 pounds, 20 degrees and 20 °C.
_INTERCHANGEABLE = (
    *(("pound", "gbp"), ("¥", "yen"), ("¥", "yuan"), ("分", "min")),
    # The sign alone is that of an angle.
    *(("degree", other) for other in ("°", "celsius", "fahrenheit", "kelvin")),
)
INTERCHANGEABLE = frozenset(frozenset(ROW_OF[word] for word in words) for words in _INTERCHANGEABLE)
MONEY = frozenset(row for word, row in ROW_OF.items() if DIMENSION_OF[word] == "money")
# 2 hours and | 30 minutes
FIRST_OF_TWO = re.compile(
    r"(?<![0-9.,/^])(?P<number>[0-9]+(?:\.[0-9]+)?)\s?(?P<unit>[^\W\d_]+)(?:,? and|,)?\s?\Z"
)
TWO_UNITS = re.compile(
    r"(?P<before>[0-9.]+ ?[^\W\d_]+(?:,? and|,)? ?)(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<after> ?[^\W\d_]+)"
)
# The first spelling of a row.
NAME_OF = {row: word for word, row in reversed(ROW_OF.items())}
BRACED_POWER = re.compile(r"\^ ?\{ ?([23]) ?\}")
COMPARING = frozenset(("more", "fewer", "less", "extra"))  # before the noun: 5 more minutes
MAX_AFTER = 80  # characters after a number in which its unit stands


class Unit(NamedTuple):
    """A unit of the table, squared or cubed, and the unit it is counted in: km per hour."""

    row: int
    power: int = 1
    per: tuple[int, int] | None = None  # row and power


COUNTED = Unit(-1)  # any noun: which one is not compared


class Answer(str):
    """An answer, normalised: the string of its value, with the unit that was stated.

    Attributes:
        unit: None where no unit was stated.
    """

    unit: Unit | None

    def __new__(cls, form: str, unit: Unit | None = None) -> "Answer":
        """Makes the string `form` with its unit."""
        answer = super().__new__(cls, form)
        answer.unit = unit
        return answer


def unit_of(text: str) -> Unit | None:
    """Returns the unit that an answer states; None where the answer states none, or several."""
    if isinstance(text, Answer):
        return text.unit
    return None if text.isdecimal() else _stated_unit(text)


@lru_cache(maxsize=2**14)  # the same few answers come again and again
def _stated_unit(text: str) -> Unit | None:
    # The signs of money go with the markup, so they are read first.
    sign = STATED_CURRENCY.search(text if text.isascii() else with_plain_signs(text))
    plain = plain_text(text) or ""
    powers = {place for power in UNIT_POWER.finditer(plain) for place in range(power.end(1), power.end())}
    numbers = [number for number in NUMBER.finditer(plain) if number.start() not in powers]
    if len(numbers) == 1 and parse_number(text) is not None:
        unit = unit_after(plain[numbers[0].end() :])
        mark = MARKED_LENGTH.fullmatch(plain)
        if mark:
            return Unit(ROW_OF[MARKS[mark["mark"]]])
        if unit in (None, COUNTED) and sign:
            return Unit(ROW_OF[CURRENCIES[sign[sign.lastgroup or ""]]])
        # The mark of degrees goes with the markup as well.
        return unit or (Unit(ROW_OF["°"]) if "°" in text or DEGREES.search(text) else None)
    if not numbers and EAST_ASIAN.search(plain):
        return _unit_at_end(plain)
    bare = without_trailing_unit(plain)
    return unit_after(plain[len(bare) :])


def unit_in_sentence(text: str, start: int, end: int) -> Unit | None:
    """Returns the unit of the number at `start` to `end` of a sentence: "It costs $5."."""
    unit = unit_after(text[end : end + MAX_AFTER].split("\n")[0])
    sign = CURRENCY.search(text, max(0, start - 4), start)
    # $5$ is mathematics.
    is_delimiter = sign and sign["sign"] == "$" and text[end:].split("\n")[0].count("$") % 2 == 1
    is_money = sign and unit in (None, COUNTED) and not is_delimiter
    return Unit(ROW_OF[CURRENCIES[sign["sign"][-1]]]) if sign and is_money else unit


def unit_after(after: str) -> Unit | None:
    """Returns the unit that follows a number: one of the next words, and what the unit is counted in."""
    after = re.sub(r"\\(?:text|mathrm) ?|[{}~]", " ", BRACED_POWER.sub(r"^\1", after))
    east_asian = EAST_ASIAN_UNIT.match(after)
    if east_asian:
        power = RAISED_SIGNS.get(east_asian["raised"] or "", 1)
        return Unit(ROW_OF[east_asian["unit"]], power)
    place, power, previous = 0, 1, ""
    for _ in range(MOST_MODIFIERS + 1):
        match = WORD.match(after, place)
        if match is None:
            return None
        word = match["word"].lower()
        place = match.end()
        if previous + word in ROW_OF:  # light years
            word = previous + word
        if word in RAISED_WORDS:
            power = RAISED_WORDS[word]
        elif is_unit(match["word"], after[place:]):
            return _unit(word, match["power"], power, after[place:])
        elif (word in REMARKS and word not in COMPARING) or word in NO_NOUNS or word.startswith("percent"):
            return None
        elif word in UNITS or PLURAL.fullmatch(word):
            return COUNTED
        previous = word
    return None


def _unit(word: str, power_sign: str | None, power: int, rest: str) -> Unit | None:
    follower = NEXT_WORD.match(rest)
    if word == "degree" or word == "degrees":
        scale = follower["word"].lower() if follower else ""
        word = scale if DIMENSION_OF.get(scale) == "temperature" else word
    elif follower and not word.endswith("s"):
        noun = follower["word"].lower()
        # 12 inch pizzas are pizzas.
        if PLURAL.fullmatch(noun) and noun not in NO_NOUNS | REMARKS and noun not in ROW_OF:
            return None
    power = _power(power_sign) if power_sign else power
    if word in RATES:
        distance, time = RATES[word]
        return Unit(ROW_OF[distance], power, (ROW_OF[time], 1))
    per = PER.match(rest)
    if per and is_unit(per["word"], rest[per.end() :], is_divisor=True):
        return Unit(ROW_OF[word], power, (ROW_OF[per["word"].lower()], _power(per["power"])))
    return Unit(ROW_OF[word], power)


def is_unit(word: str, rest: str, *, is_divisor: bool = False) -> bool:
    """Says whether a word is a unit where `rest` follows: "in" is one at the end, and M is a variable."""
    if word.lower() not in ROW_OF:
        return False
    if len(word) == 1 and word not in "gmshlL":
        return False
    if word.lower() == "in":
        return is_divisor or not re.match(r"\s?[A-Za-z0-9]", rest)
    return True


def compound(before: str, number: str, after: str) -> str | None:
    """Returns a quantity of two units of one kind: "2 h 30 min" of "2 hours and", "30" and " minutes"."""
    first, unit = FIRST_OF_TWO.search(before), unit_after(after)
    small = first and first["unit"].lower()
    if first is None or unit in (None, COUNTED) or small not in ROW_OF or unit.row == ROW_OF[small]:
        return None
    if DIMENSION_OF[small] != DIMENSION_OF[NAME_OF[unit.row]]:
        return None
    return f"{first['number']} {NAME_OF[ROW_OF[small]]} {number} {NAME_OF[unit.row]}"


def _power(sign: str | None) -> int:
    return 3 if sign and "3" in sign else 2 if sign else 1


def _unit_at_end(text: str) -> Unit | None:
    """Returns the unit behind a number in East Asian words: 三十五公里."""
    for match in EAST_ASIAN_UNIT.finditer(text):
        if match.end() == len(text) and number_in_east_asian(text[: match.start()].strip()) is not None:
            return Unit(ROW_OF[match["unit"]], RAISED_SIGNS.get(match["raised"] or "", 1))
    return None


def are_other_units(first: Unit | None, second: Unit | None) -> bool:
    """Says whether two answers state units that differ. Where one states none, the value decides."""
    if first is None or second is None or first == second or COUNTED in (first, second):
        return False
    # 5 dollars are what somebody has who is paid 5 dollars a day, where the question asks for a day.
    if first.row == second.row and first.row in MONEY and None in (first.per, second.per):
        return False
    return first[1:] != second[1:] or frozenset((first.row, second.row)) not in INTERCHANGEABLE


def same_amount(first: Answer, second: Answer) -> bool:
    """Says whether two numbers with units of one measure are one amount: 90 minutes, 1.5 hours."""
    values = number_of(first), number_of(second)
    sizes = [None if answer.unit is None else _size(answer.unit) for answer in (first, second)]
    if values[0] is None or values[1] is None or sizes[0] is None or sizes[1] is None:
        return False
    return sizes[0][0] == sizes[1][0] and values[0] * sizes[0][1] == values[1] * sizes[1][1]


def _size(unit: Unit) -> tuple[tuple[str, int, str, int], Fraction] | None:
    """Returns what a unit measures, and its size in that measure; None for a unit without a size."""
    per_row, per_power = unit.per or (None, 1)
    size, per = SIZE_OF.get(unit.row), ("", Fraction(1)) if per_row is None else SIZE_OF.get(per_row)
    if size is None or per is None:
        return None
    return (size[0], unit.power, per[0], per_power), size[1] ** unit.power / per[1] ** per_power
