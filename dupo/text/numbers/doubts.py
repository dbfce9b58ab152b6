"""Numbers that few answers depend on, hidden only where a text has no others: "1 pen", "3 colors".

Twin of csrc/numbers_doubts.cpp.
"""

import re
from collections.abc import Sequence, Set
from fractions import Fraction

from dupo.text.numbers.base import LOWER, SPACE, START, Number, text_before
from dupo.text.numbers.mentions import COMPARED, Mention, mention_of, stem
from dupo.text.numbers.phrases import doubt_by_phrases

MOST_LISTED = 10  # things that a text lists one by one
REACH = 500  # characters on either side of a number in which the text may list what the number counts


def _set_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


# "3 gardens ... the first garden": the text lists what the number counts.
ORDERING = _set_of("first second third fourth fifth sixth last final another other both")
# "another 3 gardens" counts anew.
NUMERALS = _set_of("two three four five six seven eight nine ten")
GOES_ON = _set_of("another other second")  # behind "one garden"
POINTING = re.compile(rf"{START}(?:the|all|these|those){SPACE}\Z", re.A | re.I)
# Stems of nouns that announce a list: "3 kinds of pens".
KINDS = _set_of("type kind sort color colour flavor flavour section segment categori varieti choic option")
EVERY_OTHER = re.compile(rf"{START}every other ([a-z]+)", re.A | re.I)
BEFORE_WORD = re.compile("[ -][A-Za-z]")
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")
WORD = re.compile("[a-z]+|[^ a-z]")  # or another character, which ends a phrase


def skip_by_doubts(text: str, numbers: Sequence[Number]) -> list[Number]:
    """Skips the quantities in doubt where a text has others that may be hidden."""
    size = len(text.rstrip(" \n"))
    halved = frozenset(stem(word.translate(LOWER)) for word in EVERY_OTHER.findall(text))
    doubts: dict[int, str] = {}
    first: dict[tuple[Fraction, str], int] = {}  # the first quantity of each value and role
    bounds = {_counted(text, n) for n in numbers if n.skip == "bound"}
    for n in numbers:
        if n.skip is not None:
            continue
        reason = _doubt(text, size, n) or doubt_by_phrases(text, n) or _parity(text, n, halved)
        if reason is not None:
            doubts.setdefault(n.quantity, reason)
        if reason == "bound":
            bounds.add(_counted(text, n))
        equal = first.setdefault((n.value, n.role), n.quantity)
        if equal != n.quantity and _may_be_one(text[:size], equal, n):
            doubts.setdefault(equal, "repeated")
            doubts.setdefault(n.quantity, "repeated")
    # "works over 40 hours ... the first 40 hours"
    for n in numbers if bounds else ():
        counted = _counted(text, n)
        if n.skip is None and counted[-1] and counted in bounds:
            doubts.setdefault(n.quantity, "repeated")
    if all(n.quantity in doubts for n in numbers if n.skip is None):
        return list(numbers)
    return [
        n._replace(skip=doubts[n.quantity], quantity=-1) if n.skip is None and n.quantity in doubts else n
        for n in numbers
    ]


def _doubt(text: str, size: int, number: Number) -> str | None:
    """Tells why hardly any answer depends on a number; None for a number that may matter."""
    is_small = number.value.denominator == 1 and 1 <= number.value <= MOST_LISTED
    if number.role != "count" or not is_small or not BEFORE_WORD.match(text, number.end):
        return None
    mention = mention_of(text, number, number.end)
    # "1 more pen", "1 inch taller"
    if not mention.noun or mention.is_other or mention.dimension in COMPARED:
        return None
    if number.value == 1:
        return "unit"
    # "How many do the 3 boys have?"
    is_known = mention.noun in KINDS or text.startswith(" different ", number.end)
    if _ends_question(text[:size], number.end):
        is_known |= _is_pointed_at(text, number)
        is_known |= _is_listed(text[max(0, number.start - REACH) : number.start], mention)
    is_known = is_known or _is_listed(text[number.end : number.end + REACH], mention)
    return "listed" if is_known else None


def _counted(text: str, number: Number) -> tuple[Fraction, str, str]:
    """Returns the value, the role and the noun of a number."""
    return number.value, number.role, mention_of(text, number, number.end).noun


def _may_be_one(text: str, earlier: int, number: Number) -> bool:
    """Tells whether a number may be the equal quantity that starts at `earlier`."""
    # "3 cans of tea ... the price of the 3 drinks"
    if number.role == "count":
        return _is_pointed_at(text, number)
    # "Pens cost $5. How much are 3 pens at $5?"
    return number.role == "money" and _ends_question(text, number.end) and not _ends_question(text, earlier)


def _parity(text: str, number: Number, halved: Set[str]) -> str | None:
    """Returns "rounded" for 20 lessons of which every other counts: 21 may count as many."""
    if not halved or number.role != "count":
        return None
    return "rounded" if mention_of(text, number, number.end).noun in halved else None


def _is_pointed_at(text: str, number: Number) -> bool:
    return POINTING.search(text_before(text, number.start)) is not None


def _ends_question(text: str, at: int) -> bool:
    """Tells whether a text ends on a question that `at` stands in."""
    rest = text[at : at + REACH]
    ends_here = rest.endswith("?") and at + len(rest) == len(text)
    return ends_here and "?" not in rest[:-1] and not re.search(r"[.!][ \n]", rest)


def _is_listed(text: str, mention: Mention) -> bool:
    """Tells whether the text before or behind a number lists what the number counts."""
    # "the first 3 gardens"
    if mention.before[1] in ORDERING:
        return False
    counted = {mention.noun, mention.complement} - {""}
    words = WORD.findall(text.translate(LOWER))
    has_one = False
    for k, word in enumerate(words):
        if has_one and word in GOES_ON:
            return True
        if (word in ORDERING or word == "one") and _names(words[k + 1 : k + 3], counted):
            if word != "one":
                return True
            has_one = True
    return False


def _names(words: Sequence[str], counted: Set[str]) -> bool:
    """Tells whether one of two words is what a number counts."""
    if not words or words[0][0] not in LETTERS or words[0] in NUMERALS:
        return False
    return not counted.isdisjoint(map(stem, words))
