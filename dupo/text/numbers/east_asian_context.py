"""What stands around a number of Korean, Chinese or Japanese text: years, times of day, ordinals, units.

Twin of csrc/numbers_east_asian_context.cpp.
"""

import re

from dupo.text.numbers.base import Number, is_letter
from dupo.text.numbers.east_asian_values import char_at, is_han, is_hangul
from dupo.text.numbers.east_asian_words import (
    AFTER_TIMES,
    DURATIONS,
    HAN_MONEY,
    KOREAN_MONEY,
    POINTING_CHARS,
    POINTING_WORDS,
)
from dupo.text.numbers.rules import YEAR

HALF_AFTER = ("个半", "個半", "年半", "天半", "小时半", "小時半", "時間半", "点半", "點半")
ORDINAL_AFTER = ("번째", "번 째", "째", "등", "세기", "世纪", "世紀", "届", "番目")
LABEL_AFTER = ("학년", "호", "年级", "年級", "年生")


def is_times(text: str, at: int) -> bool:
    """Tells whether "times" stands at a place: 배 or 倍."""
    following = char_at(text, at + 1)
    return char_at(text, at) == "倍" or (
        char_at(text, at) == "배" and (following == "" or following in AFTER_TIMES)
    )


def context_of(text: str, number: Number) -> Number:
    """Returns the number with the role and the reason that the characters around it give."""
    start, end = number.start, number.end
    unit = end + 1 if char_at(text, end) == " " and is_hangul(char_at(text, end + 1)) else end
    following = char_at(text, unit)
    if not (is_hangul(following) or is_han(following) or following in ("ド", "ユ", "ヶ", "か", "カ", "つ")):
        return number._replace(skip=number.skip or _reason_before(text, start))
    skip, role = number.skip, number.role
    if skip == "date" and text.startswith(("日間", "日间"), end) and char_at(text, start - 1) != "月":
        skip = None
    if role == "count":
        role = _role_by_unit(text, unit)
    if skip is None:
        skip = _reason_before(text, start) or _reason_after(text, number, unit)
    return number._replace(skip=skip, role=role)


def _role_by_unit(text: str, unit: int) -> str:
    if text.startswith((*HAN_MONEY, *KOREAN_MONEY), unit):
        return "money"
    if text.startswith("퍼센트", unit):
        return "percent"
    return "multiple" if is_times(text, unit) else "count"


def _reason_before(text: str, start: int) -> str | None:
    before = char_at(text, start - 1)
    if before == "第":
        return "label"
    if before and before in POINTING_CHARS:
        return "reference"
    # 제3장, 제 3장; 그 5명
    word = start - 1 if before == " " else start
    syllable, second = char_at(text, word - 1), char_at(text, word - 2)
    alone = not (is_hangul(second) or is_letter(second) or "0" <= second <= "9")
    if alone and syllable == "제":
        return "label"
    return "reference" if alone and before == " " and syllable in POINTING_WORDS else None


def _reason_after(text: str, number: Number, unit: int) -> str | None:
    """Tells why a number before a unit may not be hidden: a year, a time of day, an ordinal."""
    start, value = number.start, number.value
    for reason, endings in (
        ("part of a longer number", HALF_AFTER),
        ("ordinal", ORDINAL_AFTER),
        ("label", LABEL_AFTER),
    ):
        if text.startswith(endings, unit):
            return reason
    following, second = char_at(text, unit), char_at(text, unit + 1)
    before = char_at(text, start - 2) if char_at(text, start - 1) == " " else char_at(text, start - 1)
    if following == "년" and not text.startswith(DURATIONS, unit + 1):
        in_words = is_hangul(char_at(text, start)) and 1500 <= value < 2100
        return "date" if in_words or re.fullmatch(YEAR, number.surface) else None
    if following in ("월", "月"):
        return "date" if value <= 12 else None
    if following == "日" or (following == "일" and before in ("월", "月")):
        return None if second in ("间", "間") else "date"
    if following in ("号", "號"):
        return "label"
    if following == "시" and second != "간" and value <= 24:
        return "time"
    if following in ("点", "點") or (following in ("时", "時") and second not in ("间", "間")):
        return "time"
    is_minute = (following == "분" and before == "시") or (
        following == "分" and before in ("点", "點", "时", "時")
    )
    return "time" if is_minute else None
