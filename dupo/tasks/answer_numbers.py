"""Numbers of answers: read exactly from any usual spelling, and written in one way.

All arithmetic is exact (`fractions.Fraction`), so "27", "27.0", "$27", "\\frac{54}{2}", "27 apples" and
"twenty-seven" are one value and one string.
"""

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache

from dupo.text.numbers.digits import NUMBER, number_value
from dupo.text.numbers.east_asian import number_in_east_asian
from dupo.text.numbers.words import has_number_words, number_in_words

MAX_DIGITS = 100  # of one number of an answer
MAX_PLACES = 12  # a decimal with more places is written as a fraction
MAX_ANSWER = 200  # characters of an answer; what is longer explains instead of answering
LOOKAHEAD = 40  # characters after the last number of a text in which a scale word may stand

# As in a problem, and with a power of ten: 1e3.
ANSWER_NUMBER = re.compile(NUMBER.pattern + r"(?P<power>[eE][+-]?[0-9]{1,2}(?![\w.]))?")

SCALE_VALUES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9}
SCALE_VALUES["trillion"] = 10**12
SCALE_WORD = re.compile(rf"\s({'|'.join(SCALE_VALUES)})s?\b")
NARROW_SPACE = "[\u00a0\u2009\u202f]"
SPACED_NUMBER = re.compile(
    rf"(?<![0-9.,])[0-9]{{1,3}}(?:(?:{NARROW_SPACE}[0-9]{{3}})+|(?: [0-9]{{3}}){{2,}}| 000)(?![0-9])"
)
# Words of one or two letters that may stand beside a number; any other such word may be a variable.
_SHORT = (
    "a an the is are of in on at by to he she it so we per for was has had be as his her"
    " am pm km cm mm dm nm kg mg lb oz ft yd mi hr ms ml dl kl gb mb tb kb hz m g s h l sq cu rs"
)
SHORT_WORDS = frozenset(_SHORT.split())
_GLUED = "km cm mm kg mg lb lbs oz ft hr hrs min mins secs ml mph am pm th st nd rd"
GLUED_UNITS = frozenset(_GLUED.split())
_OPERATORS = "sin cos tan cot sec log sqrt exp mod abs max gcd lcm minus than pi"
NOT_UNITS = frozenset(_OPERATORS.split())
# Applied in this order: markup to what it stands for, then marks that no value needs to nothing.
REPLACEMENTS = [
    (re.compile(r",\\!|\{,\}"), ","),
    (re.compile(r"\b([ap])\. ?m\b", re.I), r"\1m"),
    (re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mathit|mbox|operatorname) ?\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\^ ?(?:\{ ?\\circ ?\}|\\circ)|°"), " "),
    (re.compile(r"(?<=[0-9])(?:\\[,! ]|[\u00a0\u2009\u202f])(?=[0-9]{3})"), ""),
    (re.compile(r"\\(?:left|right|displaystyle)(?![A-Za-z])|\\[()\[\],!;: ]|\\?[$£€¥₹₩¢%]|~|\*\*"), " "),
    (re.compile(r"\\[dtc]frac"), r"\\frac"),
    (re.compile(r"(?<=[A-Za-z]) ?(?:\^(?:[23]|\{[23]\})|[²³])(?![\w^])(?=[^0-9]*\Z)"), ""),
]
VULGAR_FRACTIONS = {
    char: f" {Fraction(unicodedata.numeric(char)).limit_denominator(10)}" for char in "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
}


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

    "$1,234.50", "-\\frac{3}{4}", "5 km/h", "2 million", "x = 5", "27 apples", "twenty-seven". None for any
    other text.
    """
    text = clean_markup(text)
    if len(text) > MAX_ANSWER:
        return None
    east_asian = number_in_east_asian(text)
    if east_asian is not None:
        return east_asian
    matches = list(ANSWER_NUMBER.finditer(text))
    if not matches:
        return number_in_words(text)
    value = _value(matches[0]) if len(matches) == 1 else None
    if value is None:
        return None
    before, after = text[: matches[0].start()].rstrip(), text[matches[0].end() :]
    if not _is_prose(before[:-1] if before.endswith(("-", "+")) else before, after):
        return None
    scale = SCALE_WORD.match(after)
    # 3! is 6, and 3 and a half is not 3.
    if after.startswith("!") or has_number_words(after[scale.end() :] if scale else after):
        return None
    return _signed_and_scaled(value, before.endswith("-"), scale)


def last_number(text: str) -> str | None:
    """Returns the last number of a text, normalised, with its sign and the scale word after the number."""
    text = _to_ascii(text)
    for match in reversed(list(ANSWER_NUMBER.finditer(text))):
        value = _value(match)
        if value is not None:
            before = text[max(0, match.start() - 4) : match.start()]
            # In "10-4" the sign is an operator: a sign stands after a space, a bracket, "=", "$" or ":".
            is_negative = bool(re.search(r"(?:^|[\s(=$:])-\s?[$£€¥]?$", before))
            scale = SCALE_WORD.match(text[match.end() : match.end() + LOOKAHEAD])
            return format_number(_signed_and_scaled(value, is_negative, scale))
    return None


def _value(match: re.Match[str]) -> Fraction | None:
    """The exact value of an ANSWER_NUMBER match; None for a zero denominator or too many digits."""
    value, power = number_value(match, MAX_DIGITS), match["power"]
    return value * Fraction(10) ** int(power[1:]) if value is not None and power else value


def _signed_and_scaled(value: Fraction, is_negative: bool, scale: re.Match[str] | None) -> Fraction:
    return value * (-1 if is_negative else 1) * (SCALE_VALUES[scale[1]] if scale else 1)


def _is_prose(before: str, after: str) -> bool:
    """Whether only words and units stand around a number: no variable, function or operator."""
    glued = re.match(r"[^\W\d_]+", after)
    if glued and glued[0].lower() not in GLUED_UNITS:
        return False
    around = f"{before} {after}".lower()
    if not re.fullmatch(r"(?:[^\W\d_]|[\s().,:;'’\"/-])*", around):
        return False
    words = re.findall(r"[^\W\d_]+", around)
    return all(w not in NOT_UNITS and (len(w) > 2 or w in SHORT_WORDS or not w.isascii()) for w in words)


def clean_markup(text: str) -> str:
    """Returns plain digits and signs, no markup around the value, only the right side of one equation."""
    text = " ".join(_to_ascii(text).split())
    for pattern, replacement in REPLACEMENTS:
        text = pattern.sub(replacement, text)
    # "Yes!" loses its mark, "3!" does not.
    text = re.sub(r"(?<![0-9])!\Z", "", " ".join(text.split())).rstrip(".,;: ")
    left_side, equals, right_side = text.partition("=")
    is_equation = equals and "=" not in right_side and not left_side.endswith(("<", ">", "!"))
    return right_side.strip() if is_equation else text


def _to_ascii(text: str) -> str:
    """ASCII digits, signs and fractions; 5 000 000 without its spaces."""
    text = "".join(map(_to_ascii_character, text))
    return SPACED_NUMBER.sub(lambda number: re.sub(r"[^0-9]", "", number[0]), text)


def _to_ascii_character(char: str) -> str:
    if char.isascii():
        return char
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    if char == "−":
        return "-"
    if char in VULGAR_FRACTIONS:
        return VULGAR_FRACTIONS[char]
    # Full-width forms have plain ones; any other character is left to the rules on words.
    return unicodedata.normalize("NFKC", char) if "\uff01" <= char <= "\uff5e" else char
