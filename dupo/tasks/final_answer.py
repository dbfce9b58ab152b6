"""What an answer says: the final answer of a completion, read and written one way, with exact numbers.

All arithmetic is exact (`fractions.Fraction`): equal answers give equal strings, whichever of "27", "27.0",
"$27", "\\frac{54}{2}", "27 apples" or "twenty-seven" they were written as.
"""

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache

from dupo.text.numbers.base import LOOKBEHIND
from dupo.text.numbers.digits import NUMBER, number_value
from dupo.text.numbers.words import has_number_words, number_in_words

MAX_DIGITS = 100  # of one number of an answer
MAX_PLACES = 12  # a decimal with more places is written as a fraction
MAX_ANSWER = 200  # characters of an answer; what is longer explains instead of answering

# As in a problem, and with a power of ten: 1e3.
ANSWER = re.compile(NUMBER.pattern + r"(?P<power>[eE][+-]?[0-9]{1,2}(?![\w.]))?")


def _value(match: re.Match[str]) -> Fraction | None:
    """The exact value of an ANSWER match; None for a zero denominator or too many digits."""
    value, power = number_value(match, MAX_DIGITS), match["power"]
    return value * Fraction(10) ** int(power[1:]) if value is not None and power else value


def write(value: Fraction) -> str:
    """Equal values give equal strings: an integer, a decimal if that is exact and short, else a/b."""
    whole, twos, fives = value.denominator, 0, 0
    while whole % 2 == 0:
        whole, twos = whole // 2, twos + 1
    while whole % 5 == 0:
        whole, fives = whole // 5, fives + 1
    places = max(twos, fives)
    if whole != 1 or places > MAX_PLACES:
        return f"{value.numerator}/{value.denominator}"
    digits = str(abs(value.numerator) * 10**places // value.denominator).zfill(places + 1)
    sign = "-" if value < 0 else ""
    return sign + (f"{digits[:-places]}.{digits[-places:]}" if places else digits)


SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9}
SCALES["trillion"] = 10**12
SCALE = re.compile(rf"\s({'|'.join(SCALES)})s?\b")
THIN = "[\u00a0\u2009\u202f]"
GROUPED = re.compile(
    rf"(?<![0-9.,])[0-9]{{1,3}}(?:(?:{THIN}[0-9]{{3}})+|(?: [0-9]{{3}}){{2,}}| 000)(?![0-9])"
)
# Words of one or two letters that may stand beside a number; any other such word may be a variable.
SHORT = (
    "a an the is are of in on at by to he she it so we per for was has had be as his her"
    " am pm km cm mm dm nm kg mg lb oz ft yd mi hr ms ml dl kl gb mb tb kb hz m g s h l sq cu rs"
)
SHORT_WORDS = frozenset(SHORT.split())
GLUED = "km cm mm kg mg lb lbs oz ft hr hrs min mins secs ml mph am pm th st nd rd"
GLUED_UNITS = frozenset(GLUED.split())
OPERATORS = "sin cos tan cot sec log sqrt exp mod abs max gcd lcm minus than pi"
NOT_UNITS = frozenset(OPERATORS.split())
REPLACED = [
    (re.compile(r",\\!|\{,\}"), ","),
    (re.compile(r"\b([ap])\. ?m\b", re.I), r"\1m"),
    (re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mathit|mbox|operatorname) ?\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\^ ?(?:\{ ?\\circ ?\}|\\circ)|°"), " "),
    (re.compile(r"(?<=[0-9])(?:\\[,! ]|[\u00a0\u2009\u202f])(?=[0-9]{3})"), ""),
    (re.compile(r"\\(?:left|right|displaystyle)(?![A-Za-z])|\\[()\[\],!;: ]|\\?[$£€¥₹₩¢%]|~|\*\*"), " "),
    (re.compile(r"\\[dtc]frac"), r"\\frac"),
    (re.compile(r"(?<=[A-Za-z]) ?(?:\^(?:[23]|\{[23]\})|[²³])(?![\w^])(?=[^0-9]*\Z)"), ""),
]


@lru_cache(maxsize=2**14)  # the same few answers come again and again
def parse_number(text: str) -> Fraction | None:
    """The value of a text that states one number, with units or words around it or without: "$1,234.50",
    "-\\frac{3}{4}", "5 km/h", "2 million", "x = 5", "27 apples", "twenty-seven". None for any other text."""
    text = _cleaned(text)
    found = list(ANSWER.finditer(text)) if len(text) <= MAX_ANSWER else []
    if not found and len(text) <= MAX_ANSWER:
        return number_in_words(text)
    if len(found) != 1 or (value := _value(found[0])) is None:
        return None
    before, after = text[: found[0].start()].rstrip(), text[found[0].end() :]
    negative = before.endswith("-")
    if not _is_prose(before[:-1] if before.endswith(("-", "+")) else before, after):
        return None
    scale = SCALE.match(after)
    if after.startswith("!") or has_number_words(after[scale.end() :] if scale else after):
        return None  # 3! is 6, and 3 and a half is not 3
    return value * (-1 if negative else 1) * (SCALES[scale[1]] if scale else 1)


def _is_prose(before: str, after: str) -> bool:
    """Whether what stands around a number is only words and units: not a variable, function or operator."""
    glued = re.match(r"[^\W\d_]+", after)
    if glued and glued[0].lower() not in GLUED_UNITS:
        return False
    around = f"{before} {after}".lower()
    if not re.fullmatch(r"(?:[^\W\d_]|[\s().,:;'’\"/-])*", around):
        return False
    words = re.findall(r"[^\W\d_]+", around)
    return all(w not in NOT_UNITS and (len(w) > 2 or w in SHORT_WORDS or not w.isascii()) for w in words)


def _cleaned(text: str) -> str:
    """Plain digits and signs, no markup around the value, only the right side of one equation."""
    text = " ".join(_ascii(text).split())
    for pattern, replacement in REPLACED:
        text = pattern.sub(replacement, text)
    text = re.sub(r"(?<![0-9])!\Z", "", " ".join(text.split())).rstrip(".,;: ")
    left, equals, right = text.partition("=")
    is_equation = equals and "=" not in right and not left.endswith(("<", ">", "!"))
    return right.strip() if is_equation else text


def _ascii(text: str) -> str:
    """ASCII digits, signs and fractions; 5 000 000 without its spaces."""
    return GROUPED.sub(lambda group: re.sub(r"[^0-9]", "", group[0]), "".join(map(_plain, text)))


VULGAR = {c: f" {Fraction(unicodedata.numeric(c)).limit_denominator(10)}" for c in "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"}


def _plain(char: str) -> str:
    if char.isascii():
        return char
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    if char == "−":
        return "-"
    if char in VULGAR:
        return VULGAR[char]
    return unicodedata.normalize("NFKC", char) if "\uff01" <= char <= "\uff5e" else char


def normalise(text: str) -> str | None:
    """Equal answers give equal strings. A number is written one way; other text loses its markup, its
    capitals (unless it is LaTeX) and spaces beside signs, all but one after each comma, so that (3, 148) is
    not read as 3148. None if nothing is left, or far too much."""
    value = parse_number(text)
    if value is not None:
        return write(value)
    text = re.sub(r",(?: |(?![0-9]{3}(?![0-9])))", ",\x00", _cleaned(text))
    text = re.sub(r"(?<!\w) | (?!\w)", "", text).replace("\x00", " ").strip()
    return (text if "\\" in text else text.casefold()) or None if len(text) <= MAX_ANSWER else None


def last_number(text: str) -> str | None:
    """The last number of a text, normalised, with its sign and the scale word after it."""
    text = _ascii(text)
    for match in reversed(list(ANSWER.finditer(text))):
        value = _value(match)
        if value is not None:
            before = text[max(0, match.start() - 4) : match.start()]
            negative = re.search(r"(?:^|[\s(=$:])-\s?[$£€¥]?$", before)
            after = text[match.end() : match.end() + LOOKBEHIND]
            scale = SCALE.match(after)
            return write(value * (-1 if negative else 1) * (SCALES[scale[1]] if scale else 1))
    return None


def without_thinking(text: str) -> str:
    """What stands outside <think>...</think>; a block that never closed, or never opened, is all thought."""
    text = re.sub(r"<think>.*?(?:</think>|\Z)", "", text, flags=re.S)
    return text.rsplit("</think>", 1)[-1]


def last_boxed(text: str) -> str | None:
    """What stands in the last \\boxed{...} that closes and is not blank."""
    opened: list[tuple[int, int, bool]] = []
    best: tuple[int, str] | None = None
    for token in re.finditer(r"\\f?boxed ?\{|\\.|[{}]", text):
        if token[0].endswith("boxed{") or token[0].endswith("boxed {"):
            opened.append((token.start(), token.end(), True))
        elif token[0] == "{":
            opened.append((token.start(), token.end(), False))
        elif token[0] == "}" and opened:
            start, inside, boxed = opened.pop()
            content = text[inside : token.start()] if boxed else ""
            if content.strip() and (best is None or start > best[0]):
                best = start, content
    return best[1] if best else None


def final_answer(completion: str) -> str | None:
    """The answer that a completion ends on, normalised: its last \\boxed{}, else the number (or, with none,
    the text) after its last ####, else its last number. None if there is none."""
    text = without_thinking(completion)
    boxed = last_boxed(text)
    if boxed is not None:
        return normalise(boxed)
    marked = text.rsplit("####", 1)[1].strip().split("\n", 1)[0] if "####" in text else ""
    value = parse_number(marked)
    if value is not None:
        return write(value)
    return last_number(marked) or normalise(marked) or last_number(text)
