"""Numbers of answers: read exactly from any usual spelling, and written in one way.

All arithmetic is exact (`fractions.Fraction`), so "27", "27.0", "$27", "\\frac{54}{2}", "27 apples" and
"twenty-seven" are one value and one string. Which words may stand beside a number: `answer_units`.

    parse_number   any answer; stated_value: one without markup and equations, with units and words beside
    number_of      a number in digits and nothing else; number_value (text.numbers): a match of NUMBER
    number_in_words, number_in_east_asian (text.numbers)   a text that starts with its only number, in words
"""

import re
from fractions import Fraction
from functools import lru_cache

from dupo.tasks.answer_sentences import MINUS_WORDS
from dupo.tasks.answer_text import ARC, OF_ANGLE, plain_text
from dupo.tasks.answer_units import UNIT_POWER, changes_value, leaves_value
from dupo.text.numbers.digits import NUMBER, number_value
from dupo.text.numbers.east_asian import EAST_ASIAN, number_in_east_asian
from dupo.text.numbers.words import has_number_words, number_in_words

MAX_DIGITS = 100  # of one number of an answer
MAX_PLACES = 12  # a decimal with more places is written as a fraction
MAX_ANSWER = 200  # characters of an answer; what is longer explains instead of answering

# As in a problem, and with a power of ten: 1e3.
ANSWER_NUMBER = re.compile(NUMBER.pattern + r"(?P<power>[eE][+-]?[0-9]{1,2}(?!\w|\.[0-9]))?")
TEN_TO_THE = re.compile(
    r"(?<=[0-9]) ?(?:\\times|\\cdot|\*) ?10 ?\^ ?(?:\{ ?([+-]?[0-9]{1,2}) ?\}|([0-9](?![0-9])))"
)
REPEATING = re.compile(r"(-?)([0-9]*)\.([0-9]*)\\overline ?\{ ?([0-9]+) ?\}")  # 0.1\overline{6} is 1/6
GOES_ON = re.compile(r"(-?)([0-9]*)\.([0-9]*?)([0-9]{1,6}?)\4{2,}(?:\.\.\.| ?\\ldots)")  # 0.333...
OF_FORMULAS = re.compile(r"\\(?!frac|times|cdot|overline)|[_|<>=&]")  # no number has these
PLAIN_INTEGER = re.compile(r"-?[1-9][0-9]{0,17}|0")

SCALE_VALUES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9}
SCALE_VALUES |= {"trillion": 10**12, "lakh": 10**5, "crore": 10**7}
SCALE_WORD = re.compile(rf"\s({'|'.join(SCALE_VALUES)})s?\b")
PERCENT = re.compile(r"\s?%|\spercent\b")
# Words of numbers in words, which change a value only beside another number.
WORDS_OF_NUMBERS = re.compile(
    r"\b(?:half|hal(?:ves)|thirds?|quarters?|twice|thrice|(?:four|fif|six|seven|eigh|nin|ten|twelf|twentie"
    r"|hundred)ths?)\b"
)
# "It is", behind the counter: 열두 개입니다, 35個です.
COPULA = re.compile(r"(?:입니다|이다|이에요|예요|です|である)\Z")
OPEN_BRACKET = re.compile(r"[(\[{][^()\[\]{}]*\Z")
_MINUS = f"negative |minus |{MINUS_WORDS}"
LEADING_MINUS = re.compile(rf"(?:{_MINUS})(?=[0-9.\\])", re.I)
MINUS_IN_WORDS = re.compile(rf"(?:{_MINUS})(?=[^\W\d_])", re.I)
# A sign behind a variable or a bracket is an operator: i+3. Behind a word the sign is that of a number.
OPERAND_BEFORE = re.compile(r"(?:[^\W\d_]|[)\]}])[-+]\Z|(?<![^\W\d_])[^\W\d_]\s*[-+]\Z|[)\]}]\s*[-+]\Z")


def format_number(value: Fraction) -> str:
    """Writes equal values as equal strings: an integer, a decimal if that is exact and short, else n/d."""
    # A decimal is exact if the denominator has no prime factor beside 2 and 5.
    remainder, twos, fives = value.denominator, 0, 0
    while remainder % 2 == 0:
        remainder, twos = remainder // 2, twos + 1
    while remainder % 5 == 0:
        remainder, fives = remainder // 5, fives + 1
    places = max(twos, fives)
    if remainder != 1 or places > MAX_PLACES:
        return f"{value.numerator}/{value.denominator}"
    digits = str(abs(value.numerator) * 10**places // value.denominator).zfill(places + 1)
    sign = "-" if value < 0 else ""
    return sign + (f"{digits[:-places]}.{digits[-places:]}" if places else digits)


@lru_cache(maxsize=2**14)  # the same few answers come again and again
def parse_number(text: str) -> Fraction | None:
    """Returns the value of a text that states one number, with units or words around the number or without.

    "$1,234.50", "-\\frac{3}{4}", "5 km/h", "2 million", "x = 5", "27 apples", "twenty-seven". A percent sign
    is a unit here. None for any other text.
    """
    plain = plain_text(text)
    return None if plain is None else stated_value(right_side(plain))


def stated_value(text: str) -> Fraction | None:
    """`parse_number` of a text that has no markup any more, and is no equation."""
    if PLAIN_INTEGER.fullmatch(text):
        return Fraction(int(text))
    repeating = REPEATING.fullmatch(text) or GOES_ON.fullmatch(text)
    if repeating:
        sign, whole, digits, period = repeating.groups()
        last = Fraction(int(period), 10 ** len(period) - 1) / 10 ** len(digits)
        return (Fraction(f"{whole or 0}.{digits or 0}") + last) * (-1 if sign else 1)
    if len(text) > MAX_ANSWER or text.endswith("...") or OF_FORMULAS.search(text):
        return None
    minus = MINUS_IN_WORDS.match(text)
    if minus:
        value = stated_value(text[minus.end() :])
        return None if value is None else -value
    if EAST_ASIAN.search(text):
        text = COPULA.sub("", text)
        east_asian = number_in_east_asian(text)
        if east_asian is not None:
            return east_asian
    if "^" in text:
        text = TEN_TO_THE.sub(r"e\1\2", UNIT_POWER.sub(r"\1", text))
    text = LEADING_MINUS.sub("-", text, count=1)
    matches = list(ANSWER_NUMBER.finditer(text))
    if not matches:
        value = number_in_words(text)
        return None if changes_value(WORDS_OF_NUMBERS.sub(" ", text.lower())) else value
    value = value_of(matches[0]) if len(matches) == 1 else None
    if value is None:
        return None
    number, before, after = matches[0][0], text[: matches[0].start()].rstrip(), text[matches[0].end() :]
    # A comma inside brackets separates: (3,148) and (a, 1) are pairs.
    bracket = OPEN_BRACKET.search(before)
    if bracket and "," in bracket[0] + number + re.split(r"[)\]}]", after)[0]:
        return None
    sign = before[-1:] if before.endswith(("-", "+")) else ""
    if sign and OPERAND_BEFORE.search(before):
        return None
    before = before.removesuffix(sign)
    percent = PERCENT.match(after)
    after = after[percent.end() :] if percent else after
    scale = SCALE_WORD.match(after)
    words_after = after[scale.end() :] if scale else after
    # 3! is 6, and 3 and a half is not 3.
    if has_number_words(words_after):
        return None
    value = signed_and_scaled(value, sign == "-", scale)
    is_one = abs(value) <= 1 or value.denominator != 1
    return value if leaves_value(before, words_after, is_one=is_one) else None


def is_percentage(text: str) -> bool:
    """Says whether a text without markup states its number in percent."""
    return bool(re.search(r"[0-9} ]%|\bpercent\b", text, re.I))


def number_of(text: str) -> Fraction | None:
    """Returns the value of a text that is a number and nothing else: no word, no unit."""
    if PLAIN_INTEGER.fullmatch(text):
        return Fraction(int(text))
    sign = text[:1] if text.startswith(("-", "+")) else ""
    match = ANSWER_NUMBER.fullmatch(text.removeprefix(sign).strip())
    value = value_of(match) if match else None
    return -value if value is not None and sign == "-" else value


# What may stand before "=": a name ("x", "f(x)", "a_{10}", "the total cost"), a sum of unknowns that asks for
# its value ("m + n"), or a calculation. Not x^2 + y^2, whose equation is a circle.
NAME = re.compile(
    rf"(?![xyz]{{2,}}\Z)(?!\\(?:{'|'.join((*OF_ANGLE, *ARC, 'log', 'ln', 'exp', 'lim', 'not'))})(?![A-Za-z]))"
    r"(?:\\angle |\\triangle )?(?:\\?[A-Za-z][A-Za-z' ]*|\|[A-Z]\|)"
    r"(?:_(?:\{[^{}]*\}|[A-Za-z0-9]))?'*(?:\^ ?\{ ?-1 ?\})? ?(?:\([^()=]*\))?"
)
# No term is a product: 2ab + cd = 4 asks for nothing.
SUM_OF_UNKNOWNS = re.compile(r"(?!(?:.*[-+0-9] ?)?[a-z]{2,3} ?(?:[-+]|\Z))[0-9a-wA-W+\- ]+")
TUPLE_OF_NAMES = re.compile(r"\((?! ?(?:y ?, ?x|z ?,|x ?, ?z))(?: ?[A-Za-z] ?,)+ ?[A-Za-z] ?\)")
CALCULATION = re.compile(r"(?:[0-9.,+\-*/^(){} ]|\\(?:times|cdot|div|frac|sqrt))+")
MEMBER_OF = re.compile(r"[A-Za-z] ?\\in(?![A-Za-z]) ?")


def right_side(text: str) -> str:
    """Returns what an equation says of its left side: 5 of "x = 5"; any other text as it is."""
    member = MEMBER_OF.match(text)
    if member:
        return text[member.end() :]
    sides = [side.strip() for side in text.removeprefix("\\approx").removeprefix("=").split("=")]
    if len(sides) == 1 or not all(sides) or any(side.endswith(("<", ">", "!")) for side in sides[:-1]):
        # A sign alone, "=", is the answer itself.
        return sides[0] or text if len(sides) == 1 else text
    unknowns = set(re.findall("[A-Za-z]", sides[0]))
    is_sum = (
        len(unknowns) > 1 and SUM_OF_UNKNOWNS.fullmatch(sides[0]) and re.fullmatch(r"-?[0-9.,]+", sides[-1])
    )
    names = NAME.fullmatch(sides[0]) or TUPLE_OF_NAMES.fullmatch(sides[0]) or is_sum
    if len(sides) == 2 and not names and re.fullmatch("[A-Za-z]", sides[1]):  # 3x + 2 = y
        return sides[0]
    first_is_said_of = names or CALCULATION.fullmatch(sides[0])
    return sides[-1] if first_is_said_of and all(map(CALCULATION.fullmatch, sides[1:-1])) else text


def value_of(match: re.Match[str]) -> Fraction | None:
    """Returns the exact value of an ANSWER_NUMBER match; None for a zero denominator or too many digits."""
    value, power = number_value(match, MAX_DIGITS), match["power"]
    return value * Fraction(10) ** int(power[1:]) if value is not None and power else value


def signed_and_scaled(value: Fraction, is_negative: bool, scale: re.Match[str] | None) -> Fraction:
    """Returns a value with its sign and with the scale word behind the number."""
    return value * (-1 if is_negative else 1) * (SCALE_VALUES[scale[1]] if scale else 1)
