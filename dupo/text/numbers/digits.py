"""Numbers in digits and their exact values. Twin of csrc/numbers_digits.cpp."""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

from dupo.text.numbers.base import MAX_DIGITS, WORDLIKE, Area, AreaScanner, Number
from dupo.text.numbers.marks import bracketed_lists
from dupo.text.numbers.rules import reason_around, role_of

# Atomic groups (?>...): a number is read as far as it goes, and never again from its middle.
# After a currency sign, blanks may stand in a number: $250 000.
SPACED = r"(?<=[$£€¥₹])[0-9]{1,3}(?:(?: [0-9]{3}){2,}| 000)(?![0-9])"
# Groups of three digits: 1{,}250 and 1\,250 in formulas, 1,250 where the commas end with the groups. The
# commas of 90,85,100 separate, as all do inside brackets.
OF_FORMULA = r"\{,\}|,\\!|\\,"
GROUPED = rf"[0-9]{{1,3}}(?>(?:(?:{OF_FORMULA})[0-9]{{3}}(?![0-9]))+)"
WITH_COMMAS = rf"(?<![0-9],)[0-9]{{1,3}}(?>(?:(?:,|{OF_FORMULA})[0-9]{{3}}(?![0-9]))+)(?!,[0-9])"
IN_LIST = rf"(?>{SPACED}|{GROUPED}|[0-9]+)"
INT = rf"(?>{SPACED}|{GROUPED}|{WITH_COMMAS}|[0-9]+)"
# 2½; no fraction of one character stands behind a longer number.
VULGAR = "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
VULGAR_VALUES = "1/4 1/2 3/4 1/7 1/9 1/10 1/3 2/3 1/5 2/5 3/5 4/5 1/6 5/6 1/8 3/8 5/8 7/8"
VALUE_OF = dict(zip(VULGAR, map(Fraction, VULGAR_VALUES.split()), strict=True))
MIXED = rf"(?:(?<![0-9])(?<![0-9][.,])(?P<ones>[0-9]{{1,3}}) ?|(?<![0-9])(?<![0-9] ))(?P<vulgar>[{VULGAR}])"


def _decimal_of(whole: str) -> str:
    return rf"(?>{whole}(?:\.[0-9]+)?|(?<!{WORDLIKE})(?<!\.)\.[0-9]+)"


def _number_of(whole: str) -> re.Pattern[str]:
    decimal = _decimal_of(whole)
    fraction = (
        rf"\\[dtc]?frac ?(?:\{{ ?(?P<up>-?{decimal}) ?\}}|(?P<up1>[0-9]))"
        rf" ?(?:\{{ ?(?P<down>-?{decimal}) ?\}}|(?P<down1>[0-9]))"
    )
    # A fraction, mixed or not, before a plain number: 2 1/2 is one number.
    return re.compile(
        rf"{MIXED}|(?:(?P<whole>[0-9]{{1,3}})(?: (?=[0-9]{{1,3}}/)| ?(?=\\[dtc]?frac)))?"
        rf"(?:(?P<over>{decimal})/(?P<under>{whole})(?![0-9]*[/.][0-9])|{fraction})"
        rf"|(?P<plain>{decimal})"
    )


DECIMAL = _decimal_of(INT)
NUMBER = _number_of(INT)
LISTED_NUMBER = _number_of(IN_LIST)


def find_digits(text: str, areas: Sequence[Area], dollars: frozenset[int]) -> Iterator[Number]:
    """Yields the numbers in digits from left to right. dollars: `formula_dollars` of the text."""
    scanner, in_order = AreaScanner(areas), sorted(dollars)
    for match in _matches(text):
        value = number_value(match)
        if value is None:
            continue
        start, end = match.span()
        skip = scanner.reason_at(start) or reason_around(text, start, end, in_order)
        yield Number(start, end, match[0], value, role_of(text, start, end, value, dollars), skip)


def _matches(text: str) -> Iterator[re.Match[str]]:
    lists, at = bracketed_lists(text)[::-1], 0
    while match := NUMBER.search(text, at):
        while lists and lists[-1][1] <= match.start():
            lists.pop()
        if lists and lists[-1][0] <= match.start():
            match = LISTED_NUMBER.match(text, match.start()) or match
        yield match
        at = match.end()


def number_value(match: re.Match[str], most: int = MAX_DIGITS) -> Fraction | None:
    """Returns the exact value of a NUMBER match; None for a zero denominator or more than `most` digits."""
    if match["vulgar"]:
        return int(match["ones"] or 0) + VALUE_OF[match["vulgar"]]
    if match["plain"]:
        return _decimal(match["plain"], most)
    numerator = _decimal(match["over"] or match["up"] or match["up1"], most)
    denominator = _decimal(match["under"] or match["down"] or match["down1"], most)
    if numerator is None or not denominator:
        return None
    value = int(match["whole"] or 0) + numerator / denominator
    return value if max(abs(value.numerator), value.denominator) < 10**most else None


def _decimal(text: str, most: int) -> Fraction | None:
    digits = re.sub(r"[^0-9.-]", "", text)  # thousands commas go, in LaTeX too
    return Fraction(digits) if sum(map(str.isdigit, digits)) <= most else None
