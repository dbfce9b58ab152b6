"""Stretches of a text in which no number may be hidden, and the dollars of formulas.

Twin of csrc/numbers_areas.cpp and csrc/numbers_latex.cpp.
"""

import re

from dupo.text.numbers.base import END, LETTER, LOWER, SPACE, START, WORDLIKE, Area, text_before
from dupo.text.numbers.examples import example_areas
from dupo.text.numbers.marks import BRACKETED_LIST, list_marks

LATEX_FUNCTIONS = "log|ln|lg|exp|sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|gcd|lcm|min|max|det|pmod|bmod"
SUBSCRIPT = r"(?:_(?:[A-Za-z0-9]|\{[^{}]*\}))?"

# 555-123-4567, 1-800-555-1234, (555) 123-4567, 010-1234-5678, +82-10-1234-5678
TELEPHONE = re.compile(
    r"(?:(?<![0-9-])(?:(?:1-)?[0-9]{3}-[0-9]{3}|0[0-9]{1,3}-[0-9]{3,4})|\([0-9]{3}\) ?[0-9]{3}"
    r"|(?<![0-9A-Za-z)}])\+[0-9]{1,3}(?:-[0-9]{1,4}){1,3})-[0-9]{4}(?![0-9-])"
)

# Dates, times, drawings, addresses, and LaTeX commands whose argument is no quantity.
AREAS = [
    ("date", re.compile(rf"{START}[0-9]{{4}}-[0-9]{{1,2}}-[0-9]{{1,2}}{END}")),
    ("date", re.compile(rf"{START}([0-9]{{1,2}})([/.-])([0-9]{{1,2}})\2([0-9]{{4}}|[0-9]{{2}}){END}")),
    ("label", TELEPHONE),
    ("word", re.compile(rf"{START}7-(?:Eleven|Up){END}")),
    ("time", re.compile(r"(?<![0-9:])[0-9]{1,2}:[0-5][0-9](?::[0-5][0-9])?(?![0-9:])")),
    ("code", re.compile(r"\[asy\].*?(?:\[/asy\]|\Z)", re.S)),
    ("code", re.compile(rf"https?://(?:(?!{SPACE})[\s\S])+")),
    ("code", re.compile(r"\\(?:begin|end|label|ref|cite|hspace|vspace|color|textcolor)\{[^{}]*\}")),
]

BRACKET = re.compile(r"[][(){}]")
CLOSES = {")": "(", "}": "{", "]": "["}
# An opening bracket, the reason for the numbers inside, and what stands before the bracket.
BRACKET_RULES = [
    (
        "(",
        "argument",
        re.compile(
            rf"(?:(?<!\\)(?<!{LETTER}){LETTER}+|\\(?:{LATEX_FUNCTIONS})|[A-Za-z](?:['’]|_[0-9])|\}})"
            r"(?:\\left|\\big)?\Z"
        ),
    ),
    (
        "{",
        "argument",
        re.compile(rf"\\(?:{LATEX_FUNCTIONS}|[dt]?binom){SUBSCRIPT} *(?:\{{[^{{}}]*\}})?\\?\Z"),
    ),
    ("{", "part of a longer number", re.compile(r"\\overline\Z")),
    ("{", "subscript", re.compile(r"_ *\Z")),
    ("{", "power", re.compile(r"\^ *\Z")),
    ("[", "power", re.compile(r"\\sqrt\Z")),
]

# The name of a point before its coordinates: A(1,2)
POINT = re.compile(rf"(?<![\\_])(?<!{WORDLIKE})[A-Z]\Z")
DOLLAR = re.compile(r"(?<!\\)\$")
ONE_SPACE = re.compile(SPACE)


def find_areas(text: str) -> list[Area]:
    """Finds every stretch in which no number may be hidden, ordered by start."""
    areas = [
        Area(match.start(), match.end(), reason)
        for reason, pattern in AREAS
        for match in pattern.finditer(text)
        # "in the ratio 3:10" is no time of day
        if (reason != "time" or "ratio" not in text_before(text, match.start()).translate(LOWER))
        and (reason != "date" or not names_sides(match))
    ]
    areas += [Area(start, end, "label") for start, end in list_marks(text)]
    areas += example_areas(text) + bracket_areas(text)
    # Of equal stretches the last counts, whatever the reasons are called.
    return sorted(areas, key=lambda area: (area.start, area.end))


def names_sides(date: re.Match[str]) -> bool:
    """Tells whether what looks like a date names the sides of a triangle: 5-12-13."""
    if date.re.groups == 0 or date[2] != "-":
        return False
    a, b, c = int(date[1]), int(date[3]), int(date[4])
    return a * a + b * b == c * c or min(a, b) > 12 or max(a, b) > 31


def bracket_areas(text: str) -> list[Area]:
    """Finds the insides of _{...}, of ^{...}, of the index of a root, and of the parentheses of f(...)."""
    areas: list[Area] = []
    opened: dict[str, list[int]] = {"(": [], "{": [], "[": []}
    for bracket in BRACKET.finditer(text):
        place, char = bracket.start(), bracket[0]
        if char in opened:
            opened[char].append(place)
        # A closing bracket without an opening one is ignored: text need not be balanced.
        elif opened[CLOSES[char]]:
            start = opened[CLOSES[char]].pop()
            context = text_before(text, start)
            for opening, reason, pattern in BRACKET_RULES:
                is_point = POINT.search(context) and BRACKETED_LIST.match(text, start)
                if opening == CLOSES[char] and pattern.search(context) and not is_point:
                    areas.append(Area(start, place + 1, reason))
    return areas


def formula_dollars(text: str) -> frozenset[int]:
    """Finds the places of the $ that open and close formulas. Every other $ is a currency.

    Pandoc's rule: no space just inside either $, and no digit after the closing $.
    """
    # Prices have a $ too: $5 and $7 are two prices, $x$ is a formula.
    places = [match.start() for match in DOLLAR.finditer(text)]
    dollars: set[int] = set()
    k = 0
    while k + 1 < len(places):
        start, end = places[k : k + 2]
        inside = text[start + 1 : end]
        blank = not inside or ONE_SPACE.match(inside[0]) or ONE_SPACE.match(inside[-1])
        k += 1
        if not blank and text[end + 1 : end + 2] not in set("0123456789"):
            dollars |= {start, end}
            k += 1
    return frozenset(dollars)
