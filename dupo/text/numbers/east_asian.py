"""Numbers of Korean, Chinese and Japanese text: in words, and in digits with scales.

A number in words counts only before a counter: 세 개, 三个. So 세상, 三角形, 千万 and 一起 are no numbers. A
one (한, 一) is mostly an article, as in "a bag", and is never hidden. Japanese shares 十, 百, 千, 万 and 億
with Chinese; numbers in kana are not read.

Twin of csrc/numbers_east_asian.cpp.
"""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from dupo.text.numbers.base import Area, AreaScanner, Number, is_letter
from dupo.text.numbers.east_asian_context import context_of, is_times
from dupo.text.numbers.east_asian_phrases import skip_by_east_asian_phrases
from dupo.text.numbers.east_asian_values import (
    NUMERALS,
    OLD_TENS,
    Reading,
    char_at,
    is_han,
    is_hangul,
    is_numeral,
    read_mixed,
    read_native,
    read_point,
    read_scaled,
    read_share,
    read_whole,
)
from dupo.text.numbers.east_asian_words import (
    COUNTERS,
    HAN_COUNTERS,
    HAN_HALVED,
    KOREAN_ATTACHED,
    NATIVE_COUNTERS,
    NO_HALF_BEFORE,
    NO_NUMBER_BEFORE,
    NO_POINT_BEFORE,
    NO_WORD_AFTER,
    SINO_COUNTERS,
    SINO_SINGLE_COUNTERS,
    SINO_SINGLES,
)
from dupo.text.numbers.rules import reason_around, role_of

EAST_ASIAN = re.compile("[\u3007\u4e00-\u9fff\uac00-\ud7a3]")


class Candidate(NamedTuple):
    """A number, `text[start:end]`. role: None where the words around decide."""

    start: int
    end: int
    value: Fraction
    role: str | None = None
    skip: str | None = None


def find_east_asian(
    text: str, digits: Sequence[Number], areas: Sequence[Area], dollars: frozenset[int]
) -> Iterator[Number]:
    """Yields what Korean, Chinese and Japanese text has beside plain digits, from left to right."""
    scanner, at, next_digits = AreaScanner(areas), 0, 0
    places = sorted(dollars)
    while at < len(text):
        while next_digits < len(digits) and digits[next_digits].end <= at:
            next_digits += 1
        # No number starts inside of 3/4.
        if next_digits < len(digits) and digits[next_digits].start < at:
            at = digits[next_digits].end
            continue
        candidate = _candidate_at(text, at)
        if candidate is None:
            at = _next_place(text, at)
            continue
        start, end, value, role, skip = candidate
        around = reason_around(text, start, end, places) if _is_digit(text[start]) else None
        skip = scanner.reason_at(start) or skip or around
        role = role or role_of(text, start, end, value, dollars)
        yield context_of(text, Number(start, end, text[start:end], value, role, skip))
        at = end


def with_east_asian(
    text: str, digits: Sequence[Number], areas: Sequence[Area], dollars: frozenset[int]
) -> list[Number]:
    """Returns the numbers in digits as East Asian text means them, and the other numbers of such text."""
    if not EAST_ASIAN.search(text):
        return list(digits)
    others = list(find_east_asian(text, digits, areas, dollars))
    covered = {place for number in others for place in range(number.start, number.end)}
    numbers = others + [context_of(text, number) for number in digits if number.start not in covered]
    return skip_by_east_asian_phrases(text, numbers)


def number_in_east_asian(text: str) -> Fraction | None:
    """Returns the value of a text that is one number, with its counter or not: 1만 2천 원, 열두, 3분의 2.

    None for a number in plain digits, and for any other text: 3만 이상 (at least), 세 번째
    (the third), 두 배 (double).
    """
    if not EAST_ASIAN.search(text):
        return None
    if text == "半":  # what is hidden of 半小时
        return Fraction(1, 2)
    native = read_native(text, 0, " ") or read_native(text, 0)
    readings = (_half(text, 0), read_share(text, 0), native, read_mixed(text, 0), read_point(text, 0))
    for reading in (*readings, read_scaled(text, 0)):
        if reading is None:
            continue
        rest = text[reading.end :].removeprefix(" ")
        # 일요일, Sunday, is no number.
        if rest == "" or rest in COUNTERS:
            return reading.value
    return None


def _is_digit(char: str) -> bool:
    return "0" <= char <= "9"


def _next_place(text: str, at: int) -> int:
    """Returns where to look for a number next: not inside of a run of digits or numerals."""
    end = at + 1
    if _is_digit(text[at]):
        while _is_digit(char_at(text, end)) or char_at(text, end) in (".", ","):
            end += 1
    elif is_han(text[at]) and is_numeral(text[at]):
        while is_numeral(char_at(text, end)):
            end += 1
    return end


def _candidate_at(text: str, at: int) -> Candidate | None:
    char, before = text[at], char_at(text, at - 1)
    if _is_digit(char):
        if before and before in "./,_^\\":
            return None
        share = read_share(text, at)
        reading = share or read_scaled(text, at)
        return Candidate(at, reading.end, reading.value, "multiple" if share else None) if reading else None
    if is_hangul(char) and not is_hangul(before) and not _follows_number(text, at):
        return _korean_at(text, at)
    return _han_at(text, at) if is_han(char) else None


def _korean_at(text: str, at: int) -> Candidate | None:
    half = _half(text, at)
    if half:
        other = text.endswith(("나머지 ", "다른 "), 0, at)
        return Candidate(at, half.end, half.value, "multiple", "reference" if other else None)
    for native in (read_native(text, at, " "), read_native(text, at)):
        if native and _has_native_counter(text, at, native):
            return Candidate(at, native.end, native.value, None, "pronoun" if native.value == 1 else None)
    if not is_numeral(text[at]):
        return None
    share, mixed, sino = read_share(text, at), read_mixed(text, at), read_scaled(text, at)
    if share:
        return Candidate(at, share.end, share.value, "multiple")
    if mixed and _has_native_counter(text, at, mixed):
        return Candidate(at, mixed.end, mixed.value)
    if sino and _has_sino_counter(text, at, sino):
        return Candidate(at, sino.end, sino.value)
    return None


def _follows_number(text: str, at: int) -> bool:
    """Tells whether a Korean syllable belongs to what stands before it: 7세, 12 세, 5cm이, A네."""
    before = char_at(text, at - 1)
    if before == " ":
        return _is_digit(char_at(text, at - 2))
    return _is_digit(before) or is_letter(before) or (before != "" and before in NO_WORD_AFTER)


def _has_native_counter(text: str, at: int, native: Reading) -> bool:
    spaced = char_at(text, native.end) == " "
    unit = native.end + spaced
    if text.startswith("번 째", unit) or text.startswith("번째", unit):
        return True
    if text[at : native.end] == "열" and char_at(text, unit) == "수":  # 열 수 있다: can open
        return False
    if char_at(text, unit) == "배":
        return is_times(text, unit)
    few = not spaced and not is_hangul(char_at(text, native.end - 2))
    return text.startswith(KOREAN_ATTACHED if few else NATIVE_COUNTERS, unit)


def _has_sino_counter(text: str, at: int, sino: Reading) -> bool:
    spaced = char_at(text, sino.end) == " "
    unit = sino.end + spaced
    if sino.end == at + 1:
        return spaced and text[at] in SINO_SINGLES and text.startswith(SINO_SINGLE_COUNTERS, unit)
    # 만일 and 천만 are words: a number starts with a numeral, or is 만, 백만 and the like before a counter.
    if text[at] in ("만", "억", "조") or not sino.has_scale:
        return False
    return is_times(text, unit) if char_at(text, unit) == "배" else text.startswith(SINO_COUNTERS, unit)


def _han_at(text: str, at: int) -> Candidate | None:
    before = char_at(text, at - 1)
    if before and before in NO_NUMBER_BEFORE:
        return None
    half = _half(text, at)
    if half:
        whole = text[at] == "一"
        other = whole and text.endswith(("另", "另外", "其他"), 0, at)
        return Candidate(
            at, half.end, half.value, "multiple" if whole else "count", "reference" if other else None
        )
    if not is_numeral(text[at]):
        return None
    if text.startswith("百分之", at):
        percent = read_point(text, at + 3) or read_whole(text, at + 3)
        in_words = percent and not _is_digit(text[at + 3])
        return Candidate(at + 3, percent.end, percent.value, "percent") if percent and in_words else None
    year = _year(text, at)
    if year:
        return Candidate(at, year.end, year.value, "count", "date")
    share, point, reading = read_share(text, at), read_point(text, at), read_scaled(text, at)
    if share:
        return Candidate(at, share.end, share.value, "multiple")
    if point and text.startswith(HAN_COUNTERS, point.end) and text[point.end] not in NO_POINT_BEFORE:
        return Candidate(at, point.end, point.value)
    if reading is None or char_at(text, reading.end) in NUMERALS:
        return None
    # 千円; but 百年, 千家, 万一
    if text[at] not in NUMERALS and text[at] not in ("十", *OLD_TENS) and char_at(text, reading.end) != "円":
        return None
    if not text.startswith(HAN_COUNTERS, reading.end):
        return None
    # 四周: all around
    if reading.value == 4 and text.startswith(("周", "週"), reading.end):
        return None
    is_one = reading.value == 1 and not reading.has_scale
    ordinal = before == "第"
    return Candidate(
        at, reading.end, reading.value, None, "ordinal" if ordinal else "pronoun" if is_one else None
    )


def _half(text: str, at: int) -> Reading | None:
    """Reads 절반, 一半, and the 半 of 半小时."""
    half = Fraction(1, 2)
    if text.startswith(("절반", "一半"), at):
        return Reading(at + 2, half, False)
    before = char_at(text, at - 1)
    is_half = (
        char_at(text, at) == "半" and not (before and before in NO_HALF_BEFORE) and before not in NUMERALS
    )
    return Reading(at + 1, half, False) if is_half and text.startswith(HAN_HALVED, at + 1) else None


def _year(text: str, at: int) -> Reading | None:
    """Reads 二〇二四 before 年."""
    digits = [NUMERALS.get(char, -1) for char in text[at : at + 4]]
    if len(digits) < 4 or min(digits) < 0 or char_at(text, at + 4) != "年":
        return None
    return Reading(at + 4, Fraction(int("".join(map(str, digits)))), False)
