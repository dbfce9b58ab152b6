r"""What a text without a box ends on: its last formula, or its last number with sign, scale and unit.

A formula is taken whole: 2\sqrt{3} of "\[2\sqrt3\]" and (1, 2) of "Answer: (1, 2)", never a number inside.
"""

import re

from dupo.tasks.answer_numbers import (
    ANSWER_NUMBER,
    PERCENT,
    SCALE_WORD,
    format_number,
    parse_number,
    signed_and_scaled,
    value_of,
)
from dupo.tasks.answer_quantities import Answer, compound, unit_after, unit_in_sentence
from dupo.tasks.answer_sentences import MINUS_WORDS, last_stated
from dupo.tasks.answer_text import with_plain_signs
from dupo.tasks.answer_units import GLUED, UNIT_POWER
from dupo.text.numbers.east_asian import EAST_ASIAN

LOOKAHEAD = 40  # characters beside the last number of a text in which words may change it
MAX_END = 2000  # characters at the end of a text in which its last formula is looked for

FORMULA = re.compile(
    r"\$\$(?P<a>.{1,300}?)\$\$|\\\[(?P<b>.{1,300}?)\\\]|\\\((?P<c>.{1,300}?)\\\)|\$(?P<d>[^$\n]{1,300})\$",
    re.S,
)
LATEX_COMMAND = re.compile(r"\\[A-Za-z]+")
NO_WORDS = re.compile(r"\\(?:text|mathrm|mbox|begin|end) ?\{[^{}]*\}|\\[A-Za-z]+")
WORD = re.compile(r"[^\W\d_]{2,}")
# At the end, a condition of the answer before: 12 for all $x > 0$.
CONDITION = re.compile(
    r"(?<=[0-9$)}\]]),?\s(?:for (?:all|every|any|each)|where|if|when)\s\$[^$\n]*\$[.\s]*\Z"
)
STATES_A_VALUE = re.compile(r"[0-9]|\\(?:pi|infty|emptyset|varnothing|sqrt|frac)|[+^/!]")
# A remark behind the answer: 12 (see step 3).
REMARK = re.compile(r"\((?:see|by|from|as|since|because|using|rounded|not|eq|step)\b[^()]*\)\W*\Z", re.I)
# A pair, an interval, or a set in braces with or without backslashes.
TUPLE = re.compile(
    r"(?:[(\[]|\\?\{)(?:\s*-?[0-9A-Za-z./\\]{1,12}\s*,){1,11}\s*-?[0-9A-Za-z./\\]{1,12}?\s*(?:[)\]]|\\?\})"
    r"(?=[\s.*]*\Z)"
)
RATIO = re.compile(
    r"\b(?:ratio|odds|proportion)s?\b[^.!?\n]*?"
    r"(?<!from )(?<![0-9./:])(?P<ratio>[0-9]+(?:\.[0-9]+)?(?:(?: to | ?: )[0-9.]+)?(?: to | ?: ))\Z"
)
# Where a sentence ends on its total, blanks part thousands: the total is 1 234 km.
THOUSANDS_BEFORE = re.compile(
    r"(?:(?:\b(?:is|are|was|were|be|equals|makes|gives)|[=:]) |[$£€¥₹₩])(?P<number>-?[1-9][0-9]{0,2}) \Z"
)
END_WITH_UNIT = re.compile(r"(?: [^\W\d_]+)?[.*\s]*\Z")

# What says another value than the number that follows.
OTHER_VALUE_BEFORE = re.compile(
    r"\b(?:(?:double|triple|half of|twice|not|(?:no )?(?:more|less|fewer|greater) than|at (?:least|most)"
    r"|(?<!rounds )(?<!rounded )up to|except(?: for)?|other than) |between [0-9.,]+ ?(?:-|and|to) ?)\Z",
    re.I,
)
OTHER_VALUE_AFTER = re.compile(
    r" ?(?:squared|cubed|factorial|halves|thirds|(?:four|fif|six|seven|eigh|nin|ten)ths"
    r"|hundredths)\b"
)
OTHER_NUMBER_BEFORE = re.compile(
    r"(?<![=*/+.\w-])(?<![=*/+-] )(?P<number>-?\$?[0-9][0-9.,/]*)(?P<word> or | and )\Z"
)
OTHERS_BEFORE = re.compile(r"(?:[:：]|\bare)\s*(?P<numbers>(?:-?[0-9]+(?:[./][0-9]+)?, )+)(?:and |or )?\Z")
NUMBER_IN_WORDS = re.compile(
    r"\b(?:is|are|has|have|answer:|equals)\s+(?P<words>[a-z]+(?:[ -][a-z]+){0,6})[.!]?\s*\Z"
)
# In "10-4" the sign is an operator: a sign stands after a space, a bracket, "=", "$" or ":".
NEGATIVE_BEFORE = re.compile(
    rf"(?:(?:^|[\s(=$:是为為])-\s?[$£€¥]?|\b(?:negative|minus) |(?:{MINUS_WORDS}))$", re.I
)
LABEL = re.compile(r"\b[A-Z][a-z]+ \Z")
MORE_IS_SAID = re.compile(r"\s(?:is|are|was|were|makes?|gives?)\b")
CLOCK_TIME = re.compile(r"[0-9]{1,2}:[0-9]{2}\s?[ap]\.?\s?m\b", re.I)
# x^2, 2x+1, 3:2: signs around a number that make a formula of both. 5m is five metres.
OF_FORMULA = re.compile(
    r"[\^_]|[0-9]:[0-9]|(?<![A-Za-z])[0-9](?![eE][0-9])(?P<letters>[a-z]{1,2})(?![A-Za-z])"
)
RUN = re.compile(r"[-+0-9A-Za-z.,^_{}():!*/]+")
MARGIN = ".,;:!?*\"'`"


def last_answer(text: str) -> Answer | None:
    """Returns the formula or the number that a text ends on, not normalised."""
    text = CONDITION.sub("", text)
    words = None if re.search("[0-9]", text) else NUMBER_IN_WORDS.search(text[-LOOKAHEAD * 3 :])
    if words and words["words"] != "one" and parse_number(words["words"]) is not None:
        return Answer(words["words"])
    return last_formula(text) or last_number(text)


def last_formula(text: str) -> Answer | None:
    """Returns the last formula between marks of mathematics, with the unit behind the formula.

    None where a number of the sentence follows, or where the formula is one number, which `last_number` reads
    with the words beside it. The answer is not normalised.
    """
    text = text[-MAX_END:]
    formulas = list(FORMULA.finditer(text))
    if not formulas:
        return None
    last = formulas[-1]
    after = UNIT_POWER.sub(r"\1", with_plain_signs(text[last.end() :]))
    formula = next(filter(None, last.groups())).strip().rstrip(".,")
    words = WORD.search(NO_WORDS.sub(" ", formula))
    if words or re.search("[0-9]", REMARK.sub("", after)) or parse_number(formula) is not None:
        return None
    if not STATES_A_VALUE.search(formula):
        return None
    return Answer(_last_side(formula), unit_after(after))


def _last_side(formula: str) -> str:
    """9\\pi of "\\pi r^2 = 9\\pi"; an equation of x and y, and a list of equations, stay whole."""
    sides = formula.split("=")
    names = LATEX_COMMAND.sub(" ", "".join(sides[:-1]))
    if len(sides) == 1 or re.search(r"[xyz,<>!]|\\n", names) or not re.search("[0-9]", sides[-1]):
        return formula
    return formula if "," in sides[-1] else sides[-1]


def last_number(text: str) -> Answer | None:
    """Returns the last number of a text with its sign, scale word and unit; not normalised.

    Where the number is a part, as in "3 squared", "5 or 6", "2^10" and "2 hours 30 minutes", the whole.
    """
    with_remark, text = text, REMARK.sub("", text)
    text = with_plain_signs(text if re.search("[0-9]", text) else with_remark)
    east_asian = _last_east_asian(UNIT_POWER.sub(r"\1", text)) if EAST_ASIAN.search(text) else None
    if east_asian is not None:
        return east_asian
    # The 3 of "5 cm^3" is no answer.
    powers = {place for power in UNIT_POWER.finditer(text) for place in range(power.end(1), power.end())}
    for match in reversed(list(ANSWER_NUMBER.finditer(text))):
        value = value_of(match)
        if value is None or match.start() in powers:
            continue
        before = text[max(0, match.start() - LOOKAHEAD) : match.start()]
        after = text[match.end() : match.end() + LOOKAHEAD].split("\n")[0]
        whole = _whole(text, match, before, after)
        if whole is not None:
            return Answer(whole, unit_after(after))
        unit = unit_in_sentence(text, match.start(), match.end())
        is_negative = bool(NEGATIVE_BEFORE.search(before))
        number = format_number(signed_and_scaled(value, is_negative, SCALE_WORD.match(after)))
        return Answer(f"{number}%" if PERCENT.match(after.removeprefix("\\")) else number, unit)
    return None


def _whole(text: str, match: re.Match[str], before: str, after: str) -> str | None:
    """Returns what the number is only a part of, None for a number that stands alone."""
    other = OTHER_VALUE_BEFORE.search(before)
    if other:
        return f"{other[0].lower()}{match[0]}"
    behind = OTHER_VALUE_AFTER.match(after)
    if behind:
        return f"{match[0]}{behind[0]}"
    quantity = compound(before, match[0], after)
    if quantity:
        return quantity
    sign = "-" if before.endswith(" -") else ""
    if before.endswith((" to ", ": ")):
        ratio = RATIO.search(text[max(0, match.start() - 3 * LOOKAHEAD) : match.start()])
        if ratio:
            return re.sub(" to | ?: ", ":", ratio["ratio"]) + match[0]
    if len(match[0]) == 3 and match[0].isdecimal():
        thousands = THOUSANDS_BEFORE.search(before)
        if thousands and END_WITH_UNIT.match(after):
            return f"{thousands['number']}{match[0]}"
    first = OTHER_NUMBER_BEFORE.search(before.removesuffix(sign))
    if first:
        # "3*4 = 12 and 2 is even" says one number after another.
        if first["word"] == " and " and MORE_IS_SAID.match(after):
            return None
        is_mixed = "/" in match[0] and first["word"] == " and "
        return f"{first['number']}{' ' if is_mixed else first['word']}{sign}{match[0]}"
    others = OTHERS_BEFORE.search(before)
    if others:
        return f"{others['numbers']}{match[0]}"
    ends_on_bracket = text.rstrip(" \n.*").endswith((")", "]", "}"))
    for pair in TUPLE.finditer(text[-LOOKAHEAD * 3 :]) if ends_on_bracket else ():
        if text.rindex(pair[0]) <= match.start():
            return pair[0]
    return _formula_around(text, match)


def _formula_around(text: str, match: re.Match[str]) -> str | None:
    start = max(text.rfind(blank, 0, match.start()) for blank in " \n\t$") + 1
    clock = CLOCK_TIME.match(text, start)
    if clock:
        return clock[0]
    run = re.split(r"[\s$]", text[start : match.end() + LOOKAHEAD], maxsplit=1)[0] if start else ""
    run = run[: LOOKAHEAD * 2].split("=")[-1].strip(MARGIN)
    # Week 3:210 pages
    if LABEL.search(text[:start][-LOOKAHEAD:]) or match[0] not in run or not RUN.fullmatch(run):
        return None
    mark = OF_FORMULA.search(run)
    if mark is None or (mark["letters"] and mark["letters"] in {*GLUED, *"gmshlks"}):
        return None
    return run.lstrip(")").rstrip("(")


def _last_east_asian(text: str) -> Answer | None:
    """Returns the last number of a text if East Asian words write the number, or change its value."""
    stated = last_stated(text)
    if stated is None:
        return None
    if stated.value is None:
        return Answer(text[stated.start : stated.end + LOOKAHEAD].split("\n")[0].rstrip("。. "))
    is_negative = bool(NEGATIVE_BEFORE.search(text[max(0, stated.start - LOOKAHEAD) : stated.start]))
    number = format_number(-stated.value if is_negative else stated.value) + "%" * stated.is_percent
    return Answer(number, unit_after(text[stated.end : stated.end + LOOKAHEAD]))
