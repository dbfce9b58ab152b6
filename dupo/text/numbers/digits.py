"""Numbers in digits, and stretches of a text in which no number may be hidden. Twin of csrc/digits.cpp."""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

from dupo.text.numbers.base import (
    END,
    LOWER,
    MAX_DIGITS,
    SPACE,
    START,
    WORDLIKE,
    Area,
    Inside,
    Number,
    before,
)
from dupo.text.numbers.rules import bracket_areas, reason_around, role_of

INT = r"(?>[0-9]{1,3}(?:(?:,|\{,\}|,\\!)[0-9]{3})+(?![0-9])|[0-9]+)"
DECIMAL = rf"(?>{INT}(?:\.[0-9]+)?|(?<!{WORDLIKE})(?<!\.)\.[0-9]+)"
FRAC = (
    rf"\\[dtc]?frac ?(?:\{{ ?(?P<up>-?{DECIMAL}) ?\}} ?\{{ ?(?P<down>-?{DECIMAL}) ?\}}"
    r"|(?P<up1>[0-9]) ?(?P<down1>[0-9]))"
)
NUMBER = re.compile(
    rf"(?:(?P<whole>[0-9]{{1,3}})(?: (?=[0-9]{{1,3}}/)| ?(?=\\[dtc]?frac)))?"
    rf"(?:(?P<over>{DECIMAL})/(?P<under>{INT})(?![0-9]*[/.][0-9])|{FRAC})"
    rf"|(?P<plain>{DECIMAL})"
)

AREAS = [
    ("date", re.compile(rf"{START}[0-9]{{4}}-[0-9]{{1,2}}-[0-9]{{1,2}}{END}")),
    ("date", re.compile(rf"{START}[0-9]{{1,2}}([/.-])[0-9]{{1,2}}\1(?:[0-9]{{4}}|[0-9]{{2}}){END}")),
    ("time", re.compile(r"(?<![0-9:])[0-9]{1,2}:[0-5][0-9](?::[0-5][0-9])?(?![0-9:])")),
    ("code", re.compile(r"\[asy\].*?(?:\[/asy\]|\Z)", re.S)),
    ("code", re.compile(rf"https?://(?:(?!{SPACE})[\s\S])+")),
    ("code", re.compile(r"\\(?:begin|end|label|ref|cite|hspace|vspace|color|textcolor)\{[^{}]*\}")),
]


def find_areas(text: str) -> list[Area]:
    """Every stretch in which no number may be hidden, in the order of their starts."""
    areas = [
        Area(m.start(), m.end(), why)
        for why, area in AREAS
        for m in area.finditer(text)
        if why != "time" or "ratio" not in before(text, m.start()).translate(LOWER)
    ]
    return sorted(areas + bracket_areas(text))


def find_digits(text: str, areas: Sequence[Area], marks: frozenset[int]) -> Iterator[Number]:
    """The numbers in digits from left to right."""
    inside = Inside(areas)
    for match in NUMBER.finditer(text):
        value = number_value(match)
        if value is None:
            continue
        start, end = match.span()
        skip = inside.reason(start) or reason_around(text, start, end)
        yield Number(start, end, match[0], value, role_of(text, (start, end, value), marks), skip)


def number_value(match: re.Match[str], most: int = MAX_DIGITS) -> Fraction | None:
    """The exact value of a NUMBER match; None for a zero denominator or more than `most` digits."""
    if match["plain"]:
        return _decimal(match["plain"], most)
    up = _decimal(match["over"] or match["up"] or match["up1"], most)
    down = _decimal(match["under"] or match["down"] or match["down1"], most)
    if up is None or not down:
        return None
    value = int(match["whole"] or 0) + up / down
    return value if max(abs(value.numerator), value.denominator) < 10**most else None


def _decimal(text: str, most: int) -> Fraction | None:
    plain = re.sub(r"[^0-9.-]", "", text)
    return Fraction(plain) if sum(map(str.isdigit, plain)) <= most else None
