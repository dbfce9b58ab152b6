"""Lists of numbers: members that the other members tell, and lists that share a reason.

Twin of csrc/numbers_lists.cpp.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import NamedTuple

from dupo.text.numbers.base import END, SPACE, Number
from dupo.text.numbers.phrase_table import NEARBY
from dupo.text.numbers.phrases import tokens_of

LONGEST_GAP = 40  # characters between two members
BLANKS = rf"(?:{SPACE}|\$|\\[,;!])*"
COMMA = "[,;]"
OPERATOR = r"[+*·×]|\\(?:cdot|times)(?![A-Za-z])"
DOTS = r"\.\.\.|…|\\(?:ldots|cdots|dots|dotsc|dotsb)(?![A-Za-z])"
GAP = re.compile(
    rf"{BLANKS}(?:(?P<comma>{COMMA})|(?P<operator>{OPERATOR}))?{BLANKS}"
    rf"(?:(?P<dots>{DOTS}){BLANKS}(?:{COMMA}|{OPERATOR})?{BLANKS})?"
    rf"(?:(?P<word>and|or|nor){END}{BLANKS})?-?"
)
TIMES = re.compile(rf"{BLANKS}(?:by|x|×|\\times(?![A-Za-z])){BLANKS}")
DOTS_AFTER = re.compile(rf"{BLANKS}(?:{COMMA}|{OPERATOR})?{BLANKS}(?:{DOTS})")
OPEN_BRACE = re.compile(rf"\{{{BLANKS}-?\Z")
CLOSE_BRACE = re.compile(rf"{BLANKS}\\?\}}")
SHARED = frozenset({"divisor", "example"})  # what is said of a whole list: "divisible by 3 and 5"
# "the digits 1, 3 and 7": words before a list whose members are names, not quantities.
NUMBERED = frozenset({"numbered", "labeled", "labelled", "marked", "digits", "rows", "columns"})
COUNTED = frozenset({"numbers", "integers"})  # "the numbers 2, 4, 6, 8": names where the steps are equal

# "two friends, Ben and Leo", "two cats named Tom and Kit", "three colors: red, white and pink"
HEAD = re.compile("(?:[ -][a-z]+){1,5}")
LISTED_WORD = "(?!and(?![A-Za-z]))[A-Za-z]+"
LISTED = rf"{LISTED_WORD}(?: {LISTED_WORD})?"
LISTED_THINGS = re.compile(rf": {LISTED}(?:, {LISTED})*,? and [A-Za-z]")
LISTED_NAMES = re.compile(",? [A-Z][a-z]+(?:, [A-Z][a-z]+)*,? and [A-Z][a-z]")
LISTED_MARK = re.compile(",? and |, ")


class Gap(NamedTuple):
    """What stands between two members of a list."""

    comma: bool
    dots: bool
    word: bool  # and, or, nor


def skip_by_lists(text: str, numbers: Sequence[Number]) -> list[Number]:
    """Gives members of enumerations and of lists of divisors their reason."""
    result, first = list(numbers), 0
    while first < len(result):
        gaps = _gaps(text, result, first)
        last = first + len(gaps)
        # "the four numbers 2, 5, 8 and 12": the list tells how many.
        if last - first > 1 and first > 0 and _counts(result[first - 1 : last + 1]):
            result[first - 1] = result[first - 1]._replace(skip=result[first - 1].skip or "definition")
        for k, reason in enumerate(_reasons(text, result[first : last + 1], gaps), first):
            if reason and result[k].skip is None:
                result[k] = result[k]._replace(skip=reason)
        first = last + 1
    return result


def skip_by_products(text: str, numbers: Sequence[Number]) -> list[Number]:
    """Skips the numbers of "a 5 by 5 grid of 25 squares": two of them tell the third."""
    result, first = list(numbers), 0
    while first < len(result):
        last = first
        while last + 1 < len(result) and _are_sides(text, *result[last : last + 2]):
            last += 1
        product = prod(n.value for n in result[first : last + 1])
        around = [*range(max(0, first - 2), first), *range(last + 1, min(last + 4, len(result)))]
        areas = [j for j in around if _is_member(result[j]) and result[j].value == product]
        if 0 < last - first < 3 and areas:
            for j in [*range(first, last + 1), *areas]:
                result[j] = result[j]._replace(skip=result[j].skip or "definition")
        first = last + 1
    return result


def skip_by_members(text: str, numbers: Sequence[Number]) -> list[Number]:
    """Skips a number whose things are all listed behind it: "two friends, Ben and Leo"."""
    return [
        n._replace(skip="definition")
        if n.skip is None and _is_member(n) and 1 < n.value == _listed_behind(text, n.end)
        else n
        for n in numbers
    ]


def _listed_behind(text: str, place: int) -> int:
    """Counts the things or names of the list that follows a noun behind `place`; 0 for no list."""
    head = HEAD.match(text, place)
    if head is None:
        return 0
    is_named = text[head.end() : head.end() + 1] == "," or head[0].endswith((" named", " called"))
    listed = LISTED_NAMES.match(text, head.end()) if is_named else LISTED_THINGS.match(text, head.end())
    return len(LISTED_MARK.split(listed[0].lstrip(", "))) if listed else 0


def _are_sides(text: str, a: Number, b: Number) -> bool:
    """Tells whether two numbers are sides of one grid or box: "5 by 7"."""
    # A longer number is no side, and three sides fit 64 bits.
    in_range = all(_is_member(n) and 1 < n.value <= 10**6 for n in (a, b))
    return in_range and b.start - a.end <= LONGEST_GAP and bool(TIMES.fullmatch(text, a.end, b.start))


def _gaps(text: str, numbers: Sequence[Number], first: int) -> list[Gap]:
    """Returns the gaps of the list that starts with number `first`; no gap: a number by itself."""
    gaps: list[Gap] = []
    for k in range(first, len(numbers) - 1):
        gap = _gap(text, numbers[k].end, numbers[k + 1].start)
        # "and" ends a list.
        if gap is None or not _is_member(numbers[k]) or not _is_member(numbers[k + 1]):
            break
        gaps.append(gap)
        if gap.word:
            break
    return gaps


def _gap(text: str, start: int, end: int) -> Gap | None:
    match = GAP.fullmatch(text, start, end) if end - start <= LONGEST_GAP else None
    if match is None:
        return None
    kinds = [match[name] is not None for name in ("comma", "operator", "dots", "word")]
    return Gap(kinds[0], kinds[2], kinds[3]) if any(kinds) else None


def _counts(numbers: Sequence[Number]) -> bool:
    """Tells whether the first number says how many numbers are listed after it."""
    close = numbers[1].start - numbers[0].end <= LONGEST_GAP
    return close and numbers[0].role == "count" and numbers[0].value == len(numbers) - 1


def _is_member(number: Number) -> bool:
    return number.value.denominator == 1 and number.role == "count"


def _reasons(text: str, members: Sequence[Number], gaps: Sequence[Gap]) -> list[str | None]:
    """Returns a reason or None for each member of a list."""
    if len(members) > 1 and members[0].skip in SHARED:
        return [members[0].skip] * len(members)
    # "12 and 21 are such integers"
    if len(members) > 1 and members[-1].skip == "example":
        return ["example"] * len(members)
    open_end = len(members) > 1 and DOTS_AFTER.match(text, members[-1].end) is not None
    if open_end or any(gap.dots for gap in gaps):
        # {1, 2, ..., 40}: no other member tells the 40.
        is_free = not open_end and gaps[-1].dots
        return ["enumeration"] * (len(members) - is_free) + [None] * is_free
    listed = len(members) > 2 and all(gap.comma for gap in gaps[:-1]) and (gaps[-1].comma or gaps[-1].word)
    return ["enumeration" if listed and _enumerates(text, members) else None] * len(members)


def _enumerates(text: str, members: Sequence[Number]) -> bool:
    start, end = members[0].start, members[-1].end
    steps = {b.value - a.value for a, b in pairwise(members)}
    if steps == {1} and (members[0].value <= 1 or len(members) > 4):
        return True
    context = text[max(0, start - NEARBY) : start]
    if OPEN_BRACE.search(context) and CLOSE_BRACE.match(text, end):
        return True
    word = (tokens_of(context) or [""])[-1]
    return word in NUMBERED or (word in COUNTED and len(steps) == 1)
