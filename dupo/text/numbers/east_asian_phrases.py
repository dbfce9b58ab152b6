"""Numbers of East Asian text that the words beside them keep from being hidden: 7의 배수, 不超过8个.

The rows stand in east_asian_phrase_table.py. Twin of csrc/numbers_east_asian_phrases.cpp.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from dupo.text.numbers.base import LOOKBEHIND, Area, AreaScanner, Number
from dupo.text.numbers.east_asian_phrase_table import CLASSES, PHRASES
from dupo.text.numbers.east_asian_words import HAN_COUNTERS, MEASURES, NATIVE_COUNTERS, SINO_COUNTERS
from dupo.text.numbers.phrase_table import NEARBY
from dupo.text.numbers.rules import YEAR

COUNTERS = (*HAN_COUNTERS, *NATIVE_COUNTERS, *SINO_COUNTERS, *MEASURES)
GAP = "(?>[ $]{0,2})"  # may stand between two words of a phrase
RUN = "(?>[0-9.,]+)"  # a number of a phrase
# From the words to the end of the sentence, or to the parenthesis that closes behind them.
EXAMPLE = re.compile(
    r"(?:예를 들어|예를 들면|예컨대|이를테면|例如|比如|譬如|举例|舉例|例えば)"
    r"(?:[^.?!。？！\n)）]|[.](?![ \n]|\Z))*"
)
# A telephone number: 010-1234-5678, 02) 555-1234, +82-10-1234-5678, 010-12345678, 010 1234 5678
TELEPHONE = re.compile(
    r"(?<![0-9.-])(?:(?:\+[0-9]{1,3}[- ]?|\()?[0-9]{2,4}(?:[-.]|\) ?)[0-9]{3,4}[-.][0-9]{4}"
    r"|01[0-9] [0-9]{3,4} [0-9]{4}|0[0-9]{1,3}-[0-9]{7,8}|1[3-9][0-9]{9}(?<!000))(?![0-9]|[.-][0-9])"
)


class Row(NamedTuple):
    """A row of the table, ready to match. `before` meets the text before the number read backwards."""

    reason: str
    before: re.Pattern[str] | None
    after: re.Pattern[str] | None
    values: frozenset[str]
    near: re.Pattern[str] | None


def _words_of(alternatives: str) -> list[str]:
    words: list[str] = []
    for name in alternatives.split("|"):
        words += _words_of(CLASSES[name]) if name in CLASSES else [name]
    return words


def _item(item: str, step: int) -> str:
    optional = item.endswith("?")
    negated = item.startswith("!")
    words = _words_of(item.removeprefix("!").removesuffix("?"))
    pattern = "|".join(RUN if word == "N" else re.escape(word[::step]) for word in words)
    if negated:
        return f"{GAP}(?!{pattern})"
    return f"(?:{GAP}(?:{pattern}))" + "?" * optional


def _pattern(items: str, step: int) -> re.Pattern[str] | None:
    """Compiles the words beside a number. step: -1 for words that are read backwards."""
    return re.compile("".join(_item(item, step) for item in items.split()[::step])) if items else None


ROWS = [
    Row(
        p.reason,
        _pattern(p.before, -1),
        _pattern(p.after, 1),
        frozenset(p.values.split()),
        re.compile("|".join(map(re.escape, _words_of(p.near)))) if p.near else None,
    )
    for p in PHRASES
]


def skip_by_east_asian_phrases(text: str, numbers: Sequence[Number]) -> list[Number]:
    """Gives the numbers that may be hidden so far the reason of their area or of the first phrase that fits.

    numbers: in any order.
    """
    areas = [Area(m.start(), m.end(), "example") for m in EXAMPLE.finditer(text)]
    areas += [Area(m.start(), m.end(), "label") for m in TELEPHONE.finditer(text)]
    scanner, result = AreaScanner(sorted(areas)), []
    for number in sorted(numbers):
        reason = scanner.reason_at(number.start)
        if number.skip is None:
            number = number._replace(skip=reason or _reason(text, number))
        result.append(number)
    return result


def _reason(text: str, number: Number) -> str | None:
    start, end = number.start, number.end
    before, last = text[max(0, start - LOOKBEHIND) : start][::-1], end + NEARBY
    places = [end, _unit_end(text, end)]
    values = {number.surface, "YEAR" if re.fullmatch(YEAR, number.surface) else ""}
    if number.value.denominator == 1:
        values.add(str(number.value))
    for row in ROWS:
        if (
            (not row.values or not values.isdisjoint(row.values))
            and (row.before is None or row.before.match(before))
            and (row.after is None or any(row.after.match(text, place, last) for place in places))
            and (row.near is None or row.near.search(text, max(0, start - NEARBY), last))
        ):
            return row.reason or None
    return None


def _unit_end(text: str, end: int) -> int:
    """Returns where the unit behind a number ends; `end` where no unit stands there."""
    place = end
    while place < min(len(text), end + 2) and text[place] in " $":
        place += 1
    longest = max((len(unit) for unit in COUNTERS if text.startswith(unit, place)), default=0)
    return place + longest if longest else end
