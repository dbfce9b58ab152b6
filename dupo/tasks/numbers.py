"""Numbers in text: which may be hidden (`find_numbers`), and what an answer says (`final_answer`).

A number is an integer, with thousands commas or without, a decimal, a simple fraction, or a mixed number; a
currency sign or percent sign beside it stays in the text. All arithmetic is exact (`fractions.Fraction`).
The rules that keep a number from being hidden are those of DuPO, appendix A (subscripts, bounds of
inequalities, bases and exponents, function arguments), and those that plain text asks for (labels, dates).
"""

import re
import unicodedata
from collections import Counter
from fractions import Fraction
from typing import NamedTuple

MAX_LENGTH = 100  # characters of one number; what is longer is no quantity, and int() refuses it in the end
MAX_PLACES = 12  # a decimal with more places is written as a fraction
MAX_ANSWER = 200  # characters of an answer; what is longer explains instead of answering

INT = r"(?:[0-9]{1,3}(?:(?:,|\{,\}|,\\!)[0-9]{3})+(?![0-9])|[0-9]+)"
DECIMAL = rf"(?:{INT}(?:\.[0-9]+)?|(?<![\w.])\.[0-9]+)"
FRAC = (
    rf"\\[dtc]?frac ?(?:\{{ ?(?P<up>-?{DECIMAL}) ?\}} ?\{{ ?(?P<down>-?{DECIMAL}) ?\}}"
    r"|(?P<up1>[0-9]) ?(?P<down1>[0-9]))"
)
NUMBER = re.compile(
    rf"(?:(?P<whole>[0-9]{{1,3}})(?: (?=[0-9]{{1,3}}/)| ?(?=\\[dtc]?frac)))?"
    rf"(?:(?P<over>{DECIMAL})/(?P<under>{INT})(?![0-9]*[/.][0-9])|{FRAC})"
    rf"|(?P<plain>{DECIMAL})(?P<power>[eE][+-]?[0-9]{{1,2}}(?![\w.]))?"
)


class Number(NamedTuple):
    """A number in a text.

    Attributes:
        start, end: text[start:end] is `surface`.
        surface: as it is written, without sign, currency or percent.
        value: exact.
        skip: why it must not be hidden; None: it may be.
    """

    start: int
    end: int
    surface: str
    value: Fraction
    skip: str | None


# --- which numbers of a problem may be hidden ---

MONTHS = (
    "January|February|March|April|May|June|July|August|September|October|November|December"
    "|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec"
)
LABELS = (
    "problem|question|example|figure|fig\\.|table|chapter|section|part|equation|eq\\.|theorem|lemma|step|case|room"
    "|gate|apartment|apt\\.|suite|locker|grade|district|level|route|highway|interstate|flight|channel|platform"
    "|no\\.|option|choice|version|page|phase|round|stage|zone|ward"
)
YEAR = r"(?:1[5-9][0-9]{2}|20[0-9]{2})"
BOUND = r"(?:[<>≤≥⩽⩾≦≧]=?|\\(?:leqslant|geqslant|leq|geq|le|ge|lt|gt)(?![A-Za-z]))"

# Each rule is searched for just before or just after the number; NEAR characters are looked at.
NEAR = 40
BEFORE = [
    ("subscript", re.compile(r"_\s*$")),
    ("power", re.compile(r"(?:\^|\*\*)\s*[-+]?$")),
    ("word", re.compile(r"[^\W\d_]-?$|[@&\\]$")),
    ("label", re.compile(rf"(?:#|\b(?:{LABELS})\s?#?)\s?\(?$", re.I)),
    ("label", re.compile(r"\b(?:on|by|of|from|for|to|in|after) (?:day|week|month|year) $", re.I)),
    ("bound", re.compile(rf"{BOUND}\s*[-+]?\s*[$£€¥]?\s*$")),
    ("date", re.compile(rf"\b(?:{MONTHS})\.?\s(?:[0-9]{{1,2}}(?:st|nd|rd|th)?,?\s)?$")),
    ("part of a longer number", re.compile(r"[0-9][.:/]$|(?<![0-9])[0-9]{1,3}[ \u00a0\u2009\u202f]$")),
]
AFTER = [
    ("ordinal", re.compile(r"(?:st|nd|rd|th|ths|rds)\b")),
    ("power", re.compile(r"\s*(?:\^|\*\*)|[⁰¹²³⁴-⁹]")),
    ("word", re.compile(r"[^\W\d_]|_")),
    ("bound", re.compile(rf"\s*[$£€¥]?\s*{BOUND}")),
    ("date", re.compile(rf"\s(?:of\s)?(?:{MONTHS})\b")),
    ("part of a longer number", re.compile(r"[.:/][0-9]")),
]
SPACED_GROUP = re.compile(r"[ \u00a0\u2009\u202f][0-9]{3}(?![\w.,]*[0-9])")
DATE = re.compile(
    rf"\b[0-9]{{4}}-[0-9]{{1,2}}-[0-9]{{1,2}}\b|\b[0-9]{{1,2}}([/.-])[0-9]{{1,2}}\1(?:[0-9]{{4}}|[0-9]{{2}})\b"
    rf"|\b(?:in|since|until|till|by|during|year|before|after|(?:end|start|beginning|spring|summer|fall|autumn"
    rf"|winter|class) of)\s(?:the\syear\s|early\s|late\s|mid-)?{YEAR}(?![\w%]|[.,][0-9])"
    rf"|\b(?:from|between)\s{YEAR}\s(?:to|and|until|through)\s{YEAR}\b|\byear(?:\sis|\swas|\s=)\s{YEAR}\b"
    rf"|\(\s*{YEAR}\s*[-–]\s*{YEAR}\s*\)",
    re.I,
)
CLOCK = re.compile(r"(?<![0-9:])[0-9]{1,2}:[0-5][0-9](?::[0-5][0-9])?(?![0-9:])")
CODE = re.compile(r"\[asy\].*?(?:\[/asy\]|\Z)|https?://\S+|\\(?:begin|end|label|ref|cite)\{[^{}]*\}", re.S)
BRACKET = re.compile(r"[][(){}]")
RATIO = re.compile(r"[0-9]:[0-9]")
# "one" is left out: in running text it is mostly a pronoun.
SMALL = (
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen twenty"
)
TENS = "thirty forty fifty sixty seventy eighty ninety"
WORDS = {word: Fraction(k) for k, word in enumerate(SMALL.split(), start=2)}
WORDS |= {word: Fraction(10 * k) for k, word in enumerate(TENS.split(), start=3)}
WORD = re.compile(rf"\b(?:{'|'.join(WORDS)})\b", re.I)


def find_numbers(text: str) -> list[Number]:
    """The numbers of a text from left to right, each with the reason why it may not be hidden, if any."""
    areas = [(m.start(), m.end(), "date") for m in DATE.finditer(text)]
    areas += [(m.start(), m.end(), "time") for m in CLOCK.finditer(text) if not _in_ratio(text, m)]
    areas += [(m.start(), m.end(), "code") for m in CODE.finditer(text)]
    areas += _brackets(text)
    found = []
    for match in NUMBER.finditer(text):
        value = _value(match)
        if value is not None:
            start, end = match.span()
            skip = next((why for a, b, why in areas if a <= start and end <= b), None)
            found.append(Number(start, end, match[0], value, skip or _reason(text, match)))
    counts = Counter(n.value for n in found)
    counts.update(WORDS[m[0].lower()] for m in WORD.finditer(text))
    return [n if n.skip or counts[n.value] == 1 else n._replace(skip="repeated") for n in found]


def _reason(text: str, match: re.Match[str]) -> str | None:
    start, end = match.span()
    if re.match(r"0[0-9]", match[0]):
        return "leading zero"
    if match["power"] or match[0] == "24/7":
        return "word"
    before, after = text[max(0, start - NEAR) : start], text[end : end + NEAR]
    grouped = re.fullmatch("[0-9]{1,3}", match[0]) and SPACED_GROUP.match(after)
    for why, rule in BEFORE:
        if rule.search(before) and not (why.startswith("part") and not _continues(before, match[0])):
            return why
    for why, rule in AFTER:
        if rule.match(after) and not (why.startswith("part") and RATIO.match(match[0][-1] + after)):
            return why
    return "part of a longer number" if grouped else None


def _continues(before: str, surface: str) -> bool:
    """Whether a number goes on one that stands just before it: 450 000, 1.2.3, but not a ratio 2:5."""
    if before[-1] == ":":
        return False
    return before[-1] in "./" or bool(re.fullmatch("[0-9]{3}", surface))


def _in_ratio(text: str, match: re.Match[str]) -> bool:
    return "ratio" in text[max(0, match.start() - NEAR) : match.start()].lower()


def _brackets(text: str) -> list[tuple[int, int, str]]:
    """Areas inside _{...}, ^{...}, the index of a root, and the parentheses of f(...)."""
    areas: list[tuple[int, int, str]] = []
    opened: dict[str, list[int]] = {")": [], "}": [], "]": []}
    for bracket in BRACKET.finditer(text):
        k, char = bracket.start(), bracket[0]
        if char in "({[":
            opened[{"(": ")", "{": "}", "[": "]"}[char]].append(k)
        elif opened.get(char):
            start = opened[char].pop()
            why = _opens(text[max(0, start - NEAR) : start], text[start])
            areas += [(start, k + 1, why)] if why else []
    return areas


def _opens(before: str, char: str) -> str | None:
    before = before.removesuffix("\\left").removesuffix("\\big").rstrip(" " if char == "{" else "")
    if char == "{":
        return "subscript" if before.endswith("_") else "power" if before.endswith("^") else None
    if char == "[":
        return "power" if before.endswith("\\sqrt") else None
    return "argument" if re.search(r"(?:[^\W\d_]|[A-Za-z]['’]|[A-Za-z]_[0-9]|\})$", before) else None


# --- values ---


def _value(match: re.Match[str]) -> Fraction | None:
    """The exact value of a NUMBER match; None for a zero denominator or an absurd length."""
    if len(match[0]) > MAX_LENGTH:
        return None
    if match["plain"]:
        power = match["power"]
        return _decimal(match["plain"]) * (Fraction(10) ** int(power[1:]) if power else 1)
    up = match["over"] or match["up"] or match["up1"]
    down = match["under"] or match["down"] or match["down1"]
    below = _decimal(down)
    if not below:
        return None
    return int(match["whole"] or 0) + _decimal(up) / below


def _decimal(text: str) -> Fraction:
    return Fraction(re.sub(r"[^0-9.-]", "", text))


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


# --- answers ---

SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
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
    (re.compile(r"(?<=[A-Za-z])(?:\^(?:[23]|\{[23]\})|[²³])(?![\w^])(?=[^0-9]*\Z)"), ""),
]


def parse_number(text: str) -> Fraction | None:
    """The value of a text that states one number, with units or words around it or without: "$1,234.50",
    "-\\frac{3}{4}", "5 km/h", "2 million", "x = 5", "27 apples". None for any other text."""
    text = _cleaned(text)
    found = list(NUMBER.finditer(text)) if len(text) <= MAX_ANSWER else []
    if len(found) != 1 or (value := _value(found[0])) is None:
        return None
    before, after = text[: found[0].start()].rstrip(), text[found[0].end() :]
    negative = before.endswith("-")
    if not _is_prose(before[:-1] if before.endswith(("-", "+")) else before, after):
        return None
    scale = re.match(r" (thousand|million|billion|trillion)s?\b", after)
    return value * (-1 if negative else 1) * 10 ** (SCALES[scale[1]] if scale else 0)


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
    text = " ".join("".join(map(_plain, text)).split())
    for pattern, replacement in REPLACED:
        text = pattern.sub(replacement, text)
    text = " ".join(text.split()).rstrip(".,;:! ")
    left, equals, right = text.partition("=")
    is_equation = equals and "=" not in right and not left.endswith(("<", ">", "!"))
    return right.strip() if is_equation else text


def _plain(char: str) -> str:
    if char.isascii():
        return char
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    if char == "−":
        return "-"
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
    text = "".join(map(_plain, text))
    for match in reversed(list(NUMBER.finditer(text))):
        value = _value(match)
        if value is not None:
            before = text[max(0, match.start() - 4) : match.start()]
            negative = re.search(r"(?:^|[\s(=$:])-\s?[$£€¥]?$", before)
            after = text[match.end() : match.end() + NEAR]
            scale = re.match(r"\s(thousand|million|billion|trillion)\b", after)
            return write(value * (-1 if negative else 1) * 10 ** (SCALES[scale[1]] if scale else 0))
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
