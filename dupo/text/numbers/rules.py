"""What stands around a number in digits: why the number may not be hidden, and what the number counts.

Twin of csrc/numbers_rules.cpp and csrc/numbers_dates.cpp.
"""

import re
from bisect import bisect
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from dupo.text.numbers.areas import LATEX_FUNCTIONS, SUBSCRIPT
from dupo.text.numbers.base import END, GROUP_SPACE, LETTER, LOWER, SPACE, START, text_before

MONTHS = (
    "January|February|March|April|May|June|July|August|September|October|November|December"
    "|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec"
)
LABELS = (
    "problem|question|example|figure|table|chapter|section|part|equation|theorem|lemma|step|case"
    "|room|gate|apartment|suite|locker|grade|district|level|route|highway|interstate|flight|channel|platform"
    "|option|choice|version|page|phase|round|stage|zone|ward|house|lane|model|pier|sector|period|athlete"
    "|contestant|runner"
)
SHORT_LABELS = "fig|eq|apt|no"
NAMED = (
    "Agent|Team|Player|Formula|Item|Unit|Station|Machine|Exhibit|ZIP"  # "Team 7", not "each team 7 points"
)
BOUND = r"(?:[<>≤≥⩽⩾≦≧]=?|\\(?:leqslant|geqslant|leq|geq|le|ge|lt|gt)(?![A-Za-z]))"
# A currency may stand between an inequality sign and its bound: x < $5.
SIGN = "[$£€¥]"
CLOCK_AFTER = rf"{SPACE}?(?:o['’]clock|[ap]m|[ap]\.m\.){END}"
LIST_BEFORE = r"0-9.,(\[{$"  # before a number of a list
LIST_AFTER = r")\]}$"  # after a number of a list
# 1500 to 2099: other numbers of four digits are more often quantities.
YEAR = "(?:1[5-9][0-9][0-9]|20[0-9][0-9])"
# 20230428
COMPACT_DATE = re.compile(rf"{YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")
# "the Widgeteer 3000", "an iPhone 12", "near Area 51"
OWNERS = "an?|the|this|that|his|her|my|their|our|your|two|three|four|five|six|seven|eight|nine|ten|[0-9]{1,3}"
FAMILY = "Mom|Mum|Mother|Dad|Father|Uncle|Aunt|Grandma|Grandpa|Grandmother|Grandfather|Friend|Sister|Brother"
BRANDS = "Boeing|Airbus|Apollo|Windows|Xbox|Nokia"
PRODUCT = (
    rf"(?:{START}(?i:{OWNERS}){SPACE}(?!(?:{FAMILY}){SPACE})[A-Z][a-z]+"
    rf"|{START}[a-z]+[A-Z][A-Za-z]*|{START}[A-Z][a-z]+[A-Z][A-Za-z]*|{START}(?:{BRANDS})|[a-z]{SPACE}Area){SPACE}"
)
MACHINE_VERBS = "costs|weighs|sells|produces|prints|cleans"
# 2x and 117i in a formula; outside only where the letter goes on as a formula: 2x + 9 = 15
COEFFICIENT_IN_FORMULA = re.compile("[A-Za-z]{1,2}(?![A-Za-z0-9])")
COEFFICIENT = re.compile(rf"[abcnpqrtuvwxyz]{SPACE}*[-+=<>≤≥^]")
# 5cm, but not 4K, 3D and $5m
GLUED_UNIT = re.compile(
    rf"(?:[kcm]?m[23]?|[km]?g|m[Ll]|L|lbs?|oz|ft|in|yd|mph|kph|h|hrs?|min|kWh|kcal|[GM]B){END}"
)
# "from 1 to 4 PM" is a length of time.
LENGTH_BEFORE = re.compile(rf"{START}[0-9]{{1,2}}{SPACE}(?:to|until|through){SPACE}\Z")


class Rule(NamedTuple):
    """Skips a number for `reason` where both patterns match.

    Attributes:
        reason: one of `REASONS`.
        before: matches the end of the text before the number; None matches anything.
        after: matches the start of the text after the number; None matches anything.
    """

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


# The first rule that matches gives the reason.
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
        rf"|{START}(?:{LABELS}|size)s{SPACE}(?:[0-9]{{1,3}}(?:,|,?{SPACE}(?:and|or|to|through)){SPACE})*",
        any_case=True,
    ),
    _rule(
        "label",
        rf"{START}(?<!of{SPACE})size{SPACE}?#?{SPACE}?\(?",
        rf"(?!{SPACE}(?:square|cubic|acres|gigabytes|GB|MB|inches|feet|meters|metres|cm|by){END})",
        any_case=True,
    ),
    _rule("label", rf"{START}(?:on|by|of|from|for|to|in|after) (?:day|week|month|year) ", any_case=True),
    _rule("label", rf"{START}(?:{NAMED})(?:{SPACE}[Cc]ode)?{SPACE}"),
    _rule("label", after="[号號]"),
    _rule("date", rf"{START}(?:{MONTHS})\.?{SPACE}(?:[0-9][0-9]?(?:st|nd|rd|th)?,?{SPACE})?"),
    _rule("date", after=rf"{SPACE}(?:of{SPACE})?(?:{MONTHS}){END}|[月日]"),
    _rule("ordinal", after=rf"(?:st|nd|rd|ths|th|rds){END}"),
    _rule("time", after=CLOCK_AFTER, any_case=True),
    _rule("argument", rf"\\(?:{LATEX_FUNCTIONS}){SUBSCRIPT} *"),
    _rule("argument", after=r"![-+*/·×=^$}\\]"),
    _rule("word", rf"(?<!\\)(?<!{LETTER}){LETTER}+|{LETTER}-|[@&\\]|[0-9][eE]\+"),
    _rule("word", after=rf"{LETTER}|_"),
    _rule("part of a longer number", "[0-9][./'’′]"),
    _rule("part of a longer number", after=r",0[0-9][0-9](?![0-9])|(?:\\[ :;]|~)[0-9]{3}(?![0-9])"),
    _rule("part of a longer number", after=rf" ?[¼-¾⅐-⅞]|[./'’′][0-9]|\.\\overline| and a half{END}"),
    # 240,5 has a decimal comma, unless the numbers are a list: (240,5) or 240,5,6
    _rule("part of a longer number", rf"(?:\A|[^{LIST_BEFORE}])", rf",[0-9][0-9]?(?![0-9,{LIST_AFTER}])"),
    _rule(
        "part of a longer number",
        rf"(?:\A|[^{LIST_BEFORE}])[0-9][0-9.]*,",
        rf"(?:(?<=,[0-9])|(?<=,[0-9][0-9]))(?![0-9,{LIST_AFTER}])",
    ),
    _rule("name", PRODUCT),
    _rule("name", rf"{START}[A-Z][a-z]+{SPACE}", rf"{SPACE}(?:{MACHINE_VERBS}){END}"),
    _rule("reference", rf"{START}(?:these|those|other){SPACE}", any_case=True),
]
# Rules for a number that looks like a year. Most phrases with a year stand in phrase_table.py.
YEAR_RULES = [
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
    _rule("date", rf"\({SPACE}*", rf"{SPACE}*[-–]{SPACE}*{YEAR}{SPACE}*\)"),
    _rule("date", rf"\({SPACE}*{YEAR}{SPACE}*[-–]{SPACE}*", rf"{SPACE}*\)"),
    _rule("date", after="年"),
]

# 450 000: groups of three digits with a space between them.
GROUP_AFTER = re.compile(rf"{GROUP_SPACE}[0-9]{{3}}(?![0-9]|,[0-9]{{3}})")
GROUP_BEFORE = re.compile(rf"(?<![0-9])[0-9]{{1,3}}{GROUP_SPACE}\Z")

PERCENT_AFTER = re.compile(rf"(?:{SPACE}|-)?(?:\\?%|per ?cent{END})")
TIMES_AFTER = re.compile(rf"{SPACE}times{END}")
CURRENCY_BEFORE = re.compile(rf"[$£€¥₹]{SPACE}?\Z")
CURRENCY_AFTER = re.compile(rf"(?:{SPACE}|-)?(?:[€£¥₹]|(?:dollars?|cents?|euros?){END})")


def reason_around(text: str, start: int, end: int, dollars: Sequence[int]) -> str | None:
    """Tells why the number in digits at `text[start:end]` may not be hidden; None if no rule says so.

    dollars: `formula_dollars` of the text, in order.
    """
    surface, context = text[start:end], text_before(text, start)
    if re.match("0[0-9]", surface):
        return "leading zero"
    if surface in ("24/7", "50/50"):
        return "word"
    if COMPACT_DATE.fullmatch(surface):
        return "date"
    # A year-like number is a quantity unless its surroundings say otherwise: 2000 people.
    in_formula = bisect(dollars, start) % 2 == 1
    rules = [*RULES, *YEAR_RULES] if re.fullmatch(YEAR, surface) else RULES
    for rule in rules:
        if (
            (rule.before is None or rule.before.search(context))
            and (rule.after is None or rule.after.match(text, end))
            and not _is_quantity(text, start, end, rule, in_formula)
        ):
            return rule.reason
    starts_group = len(surface) <= 3 and surface.isdigit() and GROUP_AFTER.match(text, end)
    in_group = len(surface) == 3 and surface.isdigit() and GROUP_BEFORE.search(context)
    return "part of a longer number" if starts_group or in_group else None


def _is_quantity(text: str, start: int, end: int, rule: Rule, in_formula: bool) -> bool:
    """Tells whether the number is a quantity although `rule` matches: the 2 of 2x, the other 400 people."""
    context = text_before(text, start)
    if rule.reason == "time":
        return LENGTH_BEFORE.search(context) is not None
    # x-3 is a difference in a formula; COVID-19 is a word.
    if rule.reason == "word" and rule.before is not None:
        return in_formula and context.endswith("-")
    if rule.reason == "word":
        pattern = COEFFICIENT_IN_FORMULA if in_formula else COEFFICIENT
        if pattern.match(text, end) or text.startswith("π", end):
            return True
        is_money = not in_formula and CURRENCY_BEFORE.search(context)
        return GLUED_UNIT.match(text, end) is not None and not is_money
    # Nobody counts to a hundred to point back.
    is_large = sum(map(str.isdigit, text[start:end])) > 2
    return rule.reason == "reference" and is_large and context[-6:-1].translate(LOWER) == "other"


def follows_label(context: str) -> bool:
    """Tells whether the text before a number makes the number a label: "Problem", "house #"."""
    return any(rule.before.search(context) for rule in RULES if rule.reason == "label" and rule.before)


def role_of(text: str, start: int, end: int, value: Fraction, dollars: frozenset[int]) -> str:
    """Tells what the number `text[start:end]` is used as. dollars: `formula_dollars` of the text."""
    if PERCENT_AFTER.match(text, end):
        return "percent"
    if TIMES_AFTER.match(text, end) or (value.denominator > 1 and text.startswith(" of", end)):
        return "multiple"
    # A $ that opens or closes a formula is no currency: $5$ apples.
    sign = CURRENCY_BEFORE.search(text_before(text, start))
    has_currency = sign is not None and start - len(sign[0]) not in dollars
    return "money" if has_currency or CURRENCY_AFTER.match(text, end) else "count"
