"""Values of Korean, Chinese and Japanese numbers: 1만 2천, 열두, 三十五, 一点五, 3분의 2.

Twin of csrc/numbers_east_asian_values.cpp.
"""

import re
from fractions import Fraction
from typing import NamedTuple

from dupo.text.numbers.digits import DECIMAL
from dupo.text.numbers.east_asian_words import (
    AFTER_SHARE,
    POINTS,
    SHARE_MARKS,
    SINO_SINGLE_COUNTERS,
    SINO_SINGLES,
)


def _numbered(words: str, step: int) -> dict[str, int]:
    return {word: step * (k + 1) for k, word in enumerate(words.split())}


NUMERALS = {char: k for k, char in enumerate("零一二三四五六七八九")}
NUMERALS |= {char: k for k, char in enumerate("영일이삼사오육칠팔구")}
NUMERALS |= {"〇": 0, "两": 2, "兩": 2, "륙": 6}
SMALL_SCALES = {"十": 10, "百": 100, "千": 1000, "십": 10, "백": 100, "천": 1000}
BIG_SCALES = {"万": 10**4, "萬": 10**4, "만": 10**4, "亿": 10**8, "億": 10**8, "억": 10**8}
BIG_SCALES |= {"兆": 10**12, "조": 10**12}
OLD_TENS = {"廿": 20, "卅": 30}  # 廿五 is 25
NATIVE_UNITS = _numbered("한 두 세 네 다섯 여섯 일곱 여덟 아홉", 1)
NATIVE_TENS = _numbered("열 스물 서른 마흔 쉰 예순 일흔 여든 아흔", 10)

MOST_DIGITS = 9  # of a coefficient: 123456789만
LEAST_DIGITS = 3  # of what follows a scale and a space: 12만 3,456
MOST_VALUE = 10**18
_DECIMAL = re.compile(DECIMAL, re.A)


class Reading(NamedTuple):
    """A number that was read up to `end`. `has_scale`: with 십, 만, 千 or the like in it."""

    end: int
    value: Fraction
    has_scale: bool


class _Coefficient(NamedTuple):
    end: int
    value: Fraction
    digits: int  # 0 for a number in words


def is_hangul(char: str) -> bool:
    """Tells whether a character is a Korean syllable."""
    return "\uac00" <= char <= "\ud7a3"


def is_han(char: str) -> bool:
    """Tells whether a character is a Chinese one."""
    return "\u4e00" <= char <= "\u9fff" or char == "〇"


def is_numeral(char: str) -> bool:
    """Tells whether a character may start a number in words."""
    return char in NUMERALS or char in SMALL_SCALES or char in BIG_SCALES or char in OLD_TENS


def char_at(text: str, at: int) -> str:
    """Returns the character at a place, "" outside of the text."""
    return text[at : at + 1] if at >= 0 else ""


def read_scaled(text: str, at: int) -> Reading | None:
    """Reads a number with scales: 1만 2천, 이백오십, 3.5억, 三千零五. Digits alone are none."""
    if char_at(text, at) in OLD_TENS:
        ones = NUMERALS.get(char_at(text, at + 1), 0)
        return Reading(at + 1 + (ones > 0), Fraction(OLD_TENS[text[at]] + ones), True)
    total, section = Fraction(0), Fraction(0)
    last_small, last_big, last_scale = 10**4, 10**16, 0
    end = at
    while True:
        place = end
        # Korean leaves a space behind a scale.
        if last_scale and char_at(text, place) == " " and is_hangul(char_at(text, place - 1)):
            place += 1
        has_zero = last_scale > 0 and char_at(text, place) in ("零", "〇", "영")
        number = _coefficient(text, place + has_zero)
        after = number.end if number else end
        char = char_at(text, after)
        if SMALL_SCALES.get(char, last_small) < last_small and _is_scale(text, after, number):
            last_small = last_scale = SMALL_SCALES[char]
            section += (number.value if number else 1) * last_small
            end = after + 1
        elif BIG_SCALES.get(char, last_big) < last_big and (number or section or not last_scale):
            if not _is_scale(text, after, number):
                break
            last_big = last_scale = BIG_SCALES[char]
            section += number.value if number else 0
            total += (section or 1) * last_big
            section, last_small, end = Fraction(0), 10**4, after + 1
        else:
            break
    if not last_scale:
        number = _coefficient(text, at)
        return None if number is None or number.digits else Reading(number.end, number.value, False)
    if number and _ends_number(text, number, place > end, last_small if section else last_big):
        # 两千五 is 2500 in Chinese, and 2005 in Japanese.
        if not number.digits and not has_zero and last_scale >= 100 and is_han(text[number.end - 1]):
            return None
        section, end = section + number.value, number.end
    value = total + section
    return Reading(end, value, True) if value < MOST_VALUE else None


def read_native(text: str, at: int, gap: str = "") -> Reading | None:
    """Reads a number in Korean words of the native kind: 한, 다섯, 열두, 스무.

    gap: what stands between tens and units, a blank in 스물 두.
    """
    if text.startswith("스무", at):
        return Reading(at + 2, Fraction(20), False)
    tens, end = _entry(text, at, NATIVE_TENS)
    if gap and not (tens and text.startswith(gap, end)):
        return None
    units, end = _entry(text, end + len(gap), NATIVE_UNITS)
    return Reading(end, Fraction(tens + units), False) if end > at and (units or not gap) else None


def read_mixed(text: str, at: int) -> Reading | None:
    """Reads hundreds of the Chinese kind before a native number: 백 스물두, 이백다섯."""
    # 만 두 살 is two full years.
    hundreds = read_scaled(text, at) if char_at(text, at) not in BIG_SCALES else None
    if hundreds is None or not hundreds.has_scale or hundreds.value % 100 or not is_hangul(text[at]):
        return None
    place = hundreds.end + (char_at(text, hundreds.end) == " ")
    ones = read_native(text, place, " ") or read_native(text, place)
    return Reading(ones.end, hundreds.value + ones.value, True) if ones else None


def read_point(text: str, at: int) -> Reading | None:
    """Reads a decimal in Chinese words: 一点五, 十二点七五, 一点二万. 三点 alone is an hour."""
    whole = read_whole(text, at) if is_han(char_at(text, at)) else None
    if whole is None or char_at(text, whole.end) not in POINTS:
        return None
    first = end = whole.end + 1
    while is_han(char_at(text, end)) and text[end] in NUMERALS:
        end += 1
    # 三点五十: fifty minutes past three
    if not 0 < end - first <= MOST_DIGITS or char_at(text, end) in SMALL_SCALES:
        return None
    digits = "".join(str(NUMERALS[char]) for char in text[first:end])
    value = whole.value + Fraction(int(digits), 10 ** len(digits))
    scale = BIG_SCALES.get(char_at(text, end), 1)
    value *= scale
    return Reading(end + (scale > 1), value, True) if value.numerator < MOST_VALUE else None


def read_share(text: str, at: int) -> Reading | None:
    """Reads 3분의 2, 삼 분의 이, 三分之二, and the mixed number 三又二分之一."""
    whole = read_whole(text, at)
    if whole and char_at(text, whole.end) == "又":
        rest = _fraction(text, whole.end + 1)
        return Reading(rest.end, whole.value + rest.value, False) if rest and rest.value < 1 else None
    return _fraction(text, at)


def _fraction(text: str, at: int) -> Reading | None:
    down = read_whole(text, at)
    if down is None:
        return None
    mark = down.end + (char_at(text, down.end) == " " and is_hangul(char_at(text, down.end + 1)))
    if not text.startswith(SHARE_MARKS, mark) or down.value == 0:
        return None
    place = mark + 2
    place += char_at(text, place) == " "
    up = read_whole(text, place)
    if up is None or _starts_word(text, place, up.end):
        return None
    return Reading(up.end, up.value / down.value, False)


def read_whole(text: str, at: int) -> Reading | None:
    """Reads a whole number in digits, or a number in words: a side of 3분의 2 or 三分之二."""
    end = at
    while char_at(text, end).isdecimal() and text[end].isascii():
        end += 1
    if end > at:
        return Reading(end, Fraction(int(text[at:end])), False) if end - at <= MOST_DIGITS else None
    words = read_scaled(text, at)
    is_whole = words is not None and words.value.denominator == 1 and words.value < 10**MOST_DIGITS
    return words if is_whole else None


def _coefficient(text: str, at: int) -> _Coefficient | None:
    char = char_at(text, at)
    if char in NUMERALS:
        return _Coefficient(at + 1, Fraction(NUMERALS[char]), 0)
    match = _DECIMAL.match(text, at) if "0" <= char <= "9" else None
    digits = re.sub("[^0-9.]", "", match[0]) if match else ""
    num_digits = len(digits.replace(".", ""))
    if match is None or num_digits > MOST_DIGITS:
        return None
    return _Coefficient(match.end(), Fraction(digits), num_digits)


def _is_scale(text: str, at: int, number: _Coefficient | None) -> bool:
    """Tells whether the character at a place multiplies: 3천, but not 3千克 and no team 5조."""
    char, after = text[at], char_at(text, at + 1)
    if char == "千":
        return after != "克" and not (after == "米" and number is not None and number.digits > 0)
    if char == "조":
        after = char_at(text, at + 2) if after == " " else after
        return after in ("", "원", "달") or "0" <= after <= "9"
    if char == "만" and after == "큼":  # 5만큼: by five
        return False
    # 만 and 억 alone are words of other kinds: 만 is also "only".
    return char != "十" or number is None or number.digits == 0


def _ends_number(text: str, number: _Coefficient, is_spaced: bool, limit: int) -> bool:
    """Tells whether a coefficient without a scale is the end of the number: 12만 3,456, 백 오 명."""
    if number.value == 0 or number.value >= limit:
        return False
    end = number.end
    counted = char_at(text, end) == " " and text.startswith(SINO_SINGLE_COUNTERS, end + 1)
    in_words = not number.digits and text[end - 1] in SINO_SINGLES and counted
    return not is_spaced or number.digits >= LEAST_DIGITS or in_words


def _starts_word(text: str, at: int, end: int) -> bool:
    """Tells whether Korean syllables that look like a number go on as a word: 이상, 일정."""
    following = char_at(text, end)
    return is_hangul(text[at]) and is_hangul(following) and following not in AFTER_SHARE


def _entry(text: str, at: int, words: dict[str, int]) -> tuple[int, int]:
    """Returns the value of a word of the table and its end; 0 and the place itself where there is none."""
    for word, value in words.items():
        if text.startswith(word, at):
            return value, at + len(word)
    return 0, at
