"""The last number of a Korean, Chinese or Japanese sentence: 답은 1만 2천 원입니다, 所以一共三十五个。"""

import re
from fractions import Fraction
from typing import NamedTuple

from dupo.text.numbers import find_numbers
from dupo.text.numbers.east_asian import EAST_ASIAN, number_in_east_asian
from dupo.text.numbers.east_asian_words import COUNTERS

MAX_TAIL = 1000  # characters at the end of a text in which its last number is looked for

_COUNTER = "|".join(sorted(COUNTERS, key=len, reverse=True))
# What says another value than the number before it: times, at least, is not. The 5th is 5, as in English.
OTHER_VALUE_AFTER = re.compile(
    r"\s?(?:배(?=[로의가는만이인입다를와도 .,]|\Z)|倍|多)"
    # Three and a half: 3개 반, 3个半.
    rf"|\s?(?:{_COUNTER})\s?(?:반|半)(?=\Z|[\s.,。]|입니다|이)"
    rf"|\s?(?:{_COUNTER})?\s?(?:이상|이하|미만|초과|(?:이|가|은|는)?\s?(?:아니|아닙|않)"
    r"|以上|以下|以内|未満|未满|超|より|では|じゃ)"
)
OTHER_VALUE_BEFORE = re.compile(
    r"(?:최소|최대|적어도|많아야|至少|至多|最多|最少|不到|不足|超过|超過|大于|小于|不是|少なくとも)\s?\Z"
)
MINUS_WORDS = "마이너스 ?|영하 ?|マイナス ?|零下 ?|氷点下 ?|负|負"
# A number without a counter, where the sentence says that the number is the answer.
STATED = re.compile(
    rf"(?:是|为|為|等于|等於|得|은|는|は|[:=])\s?(?:{MINUS_WORDS})?([^\s\d.。:=]{{1,20}})[.。!]?\s*\Z"
)
# A sentence, or an answer with its name, around a number: 정답: 3억.
SENTENCE = re.compile(
    r"(?:그래서|따라서|그러므로|정답|답|总共|一共|所以|因此|答案|答え|答)"
    r"|.*(?:다|요|です|ます)[.。]?\Z|.*。\Z",
    re.S,
)


class Stated(NamedTuple):
    """A number of a sentence.

    Attributes:
        start, end: where the number stands, with the word before that changes its value.
        value: what the number is worth; None where the words around it say another value.
        is_percent: the number counts hundredths.
    """

    start: int
    end: int
    value: Fraction | None
    is_percent: bool


def is_east_asian_sentence(text: str) -> bool:
    """Says whether a text is words around its answer rather than the answer."""
    return bool(EAST_ASIAN.search(text)) and bool(SENTENCE.match(text.strip()))


def last_stated(text: str) -> Stated | None:
    """Returns the last number of a text with East Asian words if the number is no number in plain digits."""
    shift = max(0, len(text) - MAX_TAIL)
    text = text[shift:]
    alone = STATED.search(text)
    value = number_in_east_asian(alone[1]) if alone else None
    if alone and value is not None:
        return Stated(shift + alone.start(1), shift + alone.end(1), value, False)
    numbers = find_numbers(text)
    # 한 번 더: "once more" says no number, unless nothing else does.
    numbers = [n for n in numbers if n.skip != "pronoun"] or numbers
    if not numbers:
        return None
    last = numbers[-1]
    before = OTHER_VALUE_BEFORE.search(text[: last.start])
    if before or OTHER_VALUE_AFTER.match(text, last.end):
        return Stated(shift + (before.start() if before else last.start), shift + last.end, None, False)
    if not EAST_ASIAN.search(last.surface):
        return None
    return Stated(shift + last.start, shift + last.end, last.value, last.role == "percent")
