"""Shares of one whole that tell each other: half of the pens and the other half.

Twin of csrc/numbers_shares.cpp.
"""

import re
from collections.abc import Sequence
from fractions import Fraction

from dupo.text.numbers.base import END, LETTER, SPACE, START, Number, text_before
from dupo.text.numbers.phrases import tokens_of

MOST_BEFORE = 8  # numbers before "the other half" among which the shares stand that it completes
MOST_SUMMED = 3  # shares that it completes together: "a third, another third, the other third"
MOST_PARTS = 6  # parts of a total that a text lists one by one
LONGEST_LINK = 24  # characters of "half of the remaining"
REST = re.compile(rf"{START}(?:other|remaining){SPACE}\Z", re.I | re.A)
OF_THEM = re.compile(rf" of (?:them|which|whom|these|those|the){END}")
STARTS_WITH_LETTER = re.compile(LETTER)
UNDECIDED = frozenset({None, "reference", "share"})  # what a share of a whole is, before the whole is seen


def skip_by_shares(text: str, numbers: Sequence[Number]) -> list[Number]:
    """Skips numbers that add up to one whole: "half ... the other half", "7 boys: 3 of them ..."."""
    result = list(numbers)
    for k, number in enumerate(numbers):
        parts = _parts_behind(text, numbers, k)
        if not parts and REST.search(text_before(text, number.start)):
            is_share = _share(number) is not None
            parts = _parts_before(text, numbers, k) if is_share else _total_before(numbers, k)
        for j in [*parts, k] if parts else []:
            if result[j].skip in UNDECIDED:
                result[j] = result[j]._replace(skip="partition")
    return result


def _share(number: Number) -> Fraction | None:
    """Returns which share of a whole a number is; None for a number that is no share."""
    value = number.value
    # Sums of four such shares fit 64 bits.
    if value.denominator > 100:
        return None
    if number.role == "percent":
        return value / 100 if 0 < value < 100 else None
    return value if number.role != "money" and 0 < value < 1 else None


def _parts_before(text: str, numbers: Sequence[Number], k: int) -> list[int]:
    """Returns which shares before share `k` are the rest of its whole: the nearest one, else the last few."""
    missing = 1 - (_share(numbers[k]) or 0)
    shares = {
        j: share
        for j in range(k - 1, max(-1, k - 1 - MOST_BEFORE), -1)
        if (share := _share(numbers[j])) is not None and _is_said_of_a_whole(text, numbers, j, k)
    }
    for j, share in shares.items():
        if share == missing:
            return [j]
    last = list(shares)[:MOST_SUMMED]
    for size in range(2, len(last) + 1):
        if sum(shares[j] for j in last[:size]) == missing:
            return last[:size]
    return []


def _total_before(numbers: Sequence[Number], k: int) -> list[int]:
    """Returns a total and its counted part before a counted rest: "40 questions, 34 right, the other 6"."""
    before = [j for j in range(max(0, k - MOST_BEFORE), k) if _is_counted(numbers[j])]
    if not _is_counted(numbers[k]):
        return []
    for total in before:
        for counted in before:
            if total < counted and numbers[total].value == numbers[counted].value + numbers[k].value:
                return [total, counted]
    return []


def _parts_behind(text: str, numbers: Sequence[Number], k: int) -> list[int]:
    """Returns the counted parts that are listed behind their total: "7 boys: 3 of them, 4 of them"."""
    if not _is_counted(numbers[k]) or not _is_part(text, numbers, k + 1):
        return []
    missing, last, num_named = numbers[k].value, k, 0
    while missing > 0:
        last += 1
        if last > k + MOST_PARTS or last == len(numbers) or not _is_counted(numbers[last]):
            return []
        missing -= numbers[last].value
        num_named += _is_part(text, numbers, last)
    is_complete = num_named > 1 or REST.search(text_before(text, numbers[last].start))
    return list(range(k + 1, last + 1)) if missing == 0 and is_complete else []


def _is_part(text: str, numbers: Sequence[Number], k: int) -> bool:
    return k < len(numbers) and OF_THEM.match(text, numbers[k].end) is not None


def _is_counted(number: Number) -> bool:
    return number.role == "count" and number.value.denominator == 1 and number.value <= 10**9


def _is_said_of_a_whole(text: str, numbers: Sequence[Number], j: int, k: int) -> bool:
    number, link = numbers[j], text[numbers[j].end : numbers[k].start]
    if (number.role == "percent") != (numbers[k].role == "percent"):
        return False
    # "1/2 a roll" is a quantity, "1/2 of the people" a share.
    if number.role == "count" and not STARTS_WITH_LETTER.match(number.surface):
        return False
    # "half of the remaining half" is a share of the other share.
    return len(link) > LONGEST_LINK or tokens_of(link)[:1] != ["of"] or len(tokens_of(link)) > 3
