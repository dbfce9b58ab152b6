"""What stands around a number in digits, and what it therefore is. Twin of csrc/rules.cpp."""

import re
from fractions import Fraction
from typing import NamedTuple

from dupo.text.numbers.base import END, LETTER, SPACE, START, THIN, WORDLIKE, Area, before

MONTHS = (
    "January|February|March|April|May|June|July|August|September|October|November|December"
    "|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec"
)
LABELS = (
    "problem|question|example|figure|table|chapter|section|part|equation|theorem|lemma|step|case"
    "|room|gate|apartment|suite|locker|grade|district|level|route|highway|interstate|flight|channel|platform"
    "|option|choice|version|page|phase|round|stage|zone|ward|house|lane|size"
)
SHORT_LABELS = "fig|eq|apt|no"
FUNCTIONS = "log|ln|lg|exp|sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|gcd|lcm|min|max|det|pmod|bmod"
SUBSCRIPT = r"(?:_(?:[A-Za-z0-9]|\{[^{}]*\}))?"
BOUND = r"(?:[<>≤≥⩽⩾≦≧]=?|\\(?:leqslant|geqslant|leq|geq|le|ge|lt|gt)(?![A-Za-z]))"
SIGN = "[$£€¥]"
CLOCK = rf"{SPACE}?(?:o['’]clock|[ap]m|[ap]\.m\.){END}"
LISTS, CLOSING = r"0-9.,(\[{$", r")\]}$"  # before and after numbers that are listed
YEAR = "(?:1[5-9][0-9][0-9]|20[0-9][0-9])"
YEAR_WORDS = (
    "in|since|until|till|by|during|year|before|after"
    f"|(?:end|start|beginning|spring|summer|fall|autumn|winter|class){SPACE}of"
)


class Rule(NamedTuple):
    """What stands before a number (the NEAR characters that end there) and after it, to be skipped."""

    reason: str
    before: re.Pattern[str] | None
    after: re.Pattern[str] | None = None


def _rule(reason: str, before: str = "", after: str = "", any_case: bool = False) -> Rule:
    flags = re.A | re.I if any_case else re.A
    return Rule(
        reason,
        re.compile(rf"(?:{before})\Z", flags) if before else None,
        re.compile(after, flags) if after else None,
    )


# The first that fits gives the reason.
RULES = [
    _rule("subscript", rf"_{SPACE}*"),
    _rule("power", rf"(?:\^|\*\*){SPACE}*[-+]?"),
    _rule("power", after=rf"{SPACE}*(?:\^(?!\{{?\\circ)|\*\*)|[²³¹⁰⁴-⁹]"),
    _rule("bound", rf"{BOUND}{SPACE}*[-+]?{SPACE}*{SIGN}?{SPACE}*"),
    _rule("bound", after=rf"{SPACE}*{SIGN}?{BOUND}"),
    _rule("label", rf"(?:#|第){SPACE}?\(?"),
    _rule(
        "label",
        rf"{START}(?:(?:{LABELS})|(?:{SHORT_LABELS})\.){SPACE}?#?{SPACE}?\(?"
        rf"|{START}(?:{LABELS})s{SPACE}(?:[0-9]{{1,3}}(?:,|,?{SPACE}(?:and|or|to|through)){SPACE})*",
        any_case=True,
    ),
    _rule("label", rf"{START}(?:on|by|of|from|for|to|in|after) (?:day|week|month|year) ", any_case=True),
    _rule("label", after="[号號]"),
    _rule("date", rf"{START}(?:{MONTHS})\.?{SPACE}(?:[0-9][0-9]?(?:st|nd|rd|th)?,?{SPACE})?"),
    _rule("date", after=rf"{SPACE}(?:of{SPACE})?(?:{MONTHS}){END}|[月日]"),
    _rule("ordinal", after=rf"(?:st|nd|rd|ths|th|rds){END}"),
    _rule("time", after=CLOCK, any_case=True),
    _rule("argument", rf"\\(?:{FUNCTIONS}){SUBSCRIPT} *"),
    _rule("word", rf"(?<!\\)(?<!{LETTER}){LETTER}+|{LETTER}-|[@&\\]|[0-9][eE]\+"),
    _rule("word", after=rf"{LETTER}|_"),
    _rule("part of a longer number", "[0-9][./'’′]"),
    _rule("part of a longer number", after=rf"[¼-¾⅐-⅞]|[./'’′][0-9]|\.\\overline| and a half{END}"),
    # 240,5: a decimal comma, where no list stands in brackets or goes on
    _rule("part of a longer number", rf"(?:\A|[^{LISTS}])", rf",[0-9][0-9]?(?![0-9,{CLOSING}])"),
    _rule(
        "part of a longer number",
        rf"(?:\A|[^{LISTS}])[0-9][0-9.]*,",
        rf"(?:(?<=,[0-9])|(?<=,[0-9][0-9]))(?![0-9,{CLOSING}])",
    ),
    _rule("reference", rf"{START}(?:these|those|other){SPACE}", any_case=True),
]
# Only for what looks like a year.
YEAR_RULES = [
    _rule(
        "date",
        rf"{START}(?:{YEAR_WORDS}){SPACE}(?:the{SPACE}year{SPACE}|early{SPACE}|late{SPACE}|mid-)?",
        rf"(?!{WORDLIKE}|%|[.,][0-9])",
        any_case=True,
    ),
    _rule(
        "date",
        rf"{START}(?:from|between){SPACE}",
        rf"{SPACE}(?:to|and|until|through){SPACE}{YEAR}{END}",
        any_case=True,
    ),
    _rule(
        "date",
        rf"{START}(?:from|between){SPACE}{YEAR}{SPACE}(?:to|and|until|through){SPACE}",
        END,
        any_case=True,
    ),
    _rule("date", rf"{START}year{SPACE}(?:is|was|=){SPACE}", END, any_case=True),
    _rule("date", rf"\({SPACE}*", rf"{SPACE}*[-–]{SPACE}*{YEAR}{SPACE}*\)"),
    _rule("date", rf"\({SPACE}*{YEAR}{SPACE}*[-–]{SPACE}*", rf"{SPACE}*\)"),
    _rule("date", after="年"),
]

GROUP = re.compile(rf"{THIN}[0-9]{{3}}(?![0-9]|,[0-9]{{3}})")
GROUPED = re.compile(rf"(?<![0-9])[0-9]{{1,3}}{THIN}\Z")
PERCENT = re.compile(rf"(?:{SPACE}|-)?(?:\\?%|per ?cent{END})")
CURRENCY = re.compile(rf"[$£€¥₹]{SPACE}?\Z")
DOLLAR = re.compile(r"(?<!\\)\$")
BLANK = re.compile(SPACE)
TIMES = re.compile(rf"{SPACE}times{END}")
COINS = re.compile(rf"(?:{SPACE}|-)?(?:[€£¥₹]|(?:dollars?|cents?|euros?){END})")

BRACKET = re.compile(r"[][(){}]")
CLOSES = {")": "(", "}": "{", "]": "["}
OPENS = [
    (
        "(",
        "argument",
        re.compile(
            rf"(?:(?<!\\)(?<!{LETTER}){LETTER}+|\\(?:{FUNCTIONS})|[A-Za-z](?:['’]|_[0-9])|\}})"
            r"(?:\\left|\\big)?\Z"
        ),
    ),
    ("{", "argument", re.compile(rf"\\(?:{FUNCTIONS}|[dt]?binom){SUBSCRIPT} *(?:\{{[^{{}}]*\}})?\\?\Z")),
    ("{", "part of a longer number", re.compile(r"\\overline\Z")),
    ("{", "subscript", re.compile(r"_ *\Z")),
    ("{", "power", re.compile(r"\^ *\Z")),
    ("[", "power", re.compile(r"\\sqrt\Z")),
]


def reason_around(text: str, start: int, end: int) -> str | None:
    """Why the number in digits at text[start:end] may not be hidden; None: nothing around it says so."""
    surface, near = text[start:end], before(text, start)
    if re.match("0[0-9]", surface):
        return "leading zero"
    if surface == "24/7":
        return "word"
    rules = [*RULES, *YEAR_RULES] if re.fullmatch(YEAR, surface) else RULES
    for rule in rules:
        if (rule.before is None or rule.before.search(near)) and (
            rule.after is None or rule.after.match(text, end)
        ):
            return rule.reason
    starts_group = len(surface) <= 3 and surface.isdigit() and GROUP.match(text, end)
    in_group = len(surface) == 3 and surface.isdigit() and GROUPED.search(near)
    return "part of a longer number" if starts_group or in_group else None


def follows_label(near: str) -> bool:
    """Whether what stands before a number makes it a label: "Problem", "house #"."""
    return any(r.before.search(near) for r in RULES if r.reason == "label" and r.before)


def formula_marks(text: str) -> frozenset[int]:
    """Places of the $ that open and close formulas. Pandoc's rule: no space inside beside either, no digit
    after the one that closes. Every other $ is a currency."""
    places = [m.start() for m in DOLLAR.finditer(text)]
    marks: set[int] = set()
    k = 0
    while k + 1 < len(places):
        start, end = places[k : k + 2]
        inside = text[start + 1 : end]
        blank = not inside or BLANK.match(inside[0]) or BLANK.match(inside[-1])
        k += 1
        if not blank and text[end + 1 : end + 2] not in set("0123456789"):
            marks |= {start, end}
            k += 1
    return frozenset(marks)


def role_of(text: str, number: tuple[int, int, Fraction], marks: frozenset[int]) -> str:
    """What a number (start, end, value) is used as. marks: `formula_marks` of the text."""
    start, end, value = number
    if PERCENT.match(text, end):
        return "percent"
    if TIMES.match(text, end) or (value.denominator > 1 and text.startswith(" of", end)):
        return "multiple"
    sign = CURRENCY.search(before(text, start))
    priced = sign is not None and start - len(sign[0]) not in marks
    return "money" if priced or COINS.match(text, end) else "count"


def bracket_areas(text: str) -> list[Area]:
    """Insides of _{...}, ^{...}, the index of a root, and the parentheses of f(...)."""
    areas: list[Area] = []
    opened: dict[str, list[int]] = {"(": [], "{": [], "[": []}
    for bracket in BRACKET.finditer(text):
        k, char = bracket.start(), bracket[0]
        if char in opened:
            opened[char].append(k)
        elif opened[CLOSES[char]]:
            start = opened[CLOSES[char]].pop()
            near = before(text, start)
            reasons = (why for kind, why, opens in OPENS if kind == CLOSES[char] and opens.search(near))
            areas += [Area(start, k + 1, why) for why in reasons]
    return areas
