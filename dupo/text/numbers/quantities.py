"""Which equal numbers of a text are the same quantity: 15 shelves and the 15 shelves, but not 15 books.

Twin of csrc/numbers_quantities.cpp.
"""

import re
from bisect import bisect
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dupo.text.numbers.base import Number, is_space
from dupo.text.numbers.mentions import COMPARED, DEFINITE, SCALES, STOPS, UNITS, Mention, mention_of
from dupo.text.numbers.questions import NEAR, asks, contrasts, has_supposing_mark, supposes

# A number that may not be hidden for one of these reasons stays readable: hiding an equal number would be
# pointless. "repeated" are dozens.
READABLE = frozenset({"word", "bound", "repeated"})
MOST_PLACES = 32  # equal numbers of one text: a text with more is a table, in which nobody can tell
BY_CHANCE = 1000  # bare numbers from here on are hardly equal by chance
SAME_SIDE, SAME_AROUND = 3, 4  # equal characters beside, and around, two numbers of formulas
SENTENCE_END = re.compile(r"[.?!][ \n]|[。？！]")


class Layout(NamedTuple):
    """Where the formulas and the sentences of a text are.

    Attributes:
        formulas: starts and ends of formulas, with their dollars.
        ends: the ends of all sentences but the last.
        asks: whether the last sentence asks for something.
        supposes: whether a word of Chinese, Japanese or Korean says that this is asked of a supposed case.
    """

    formulas: Sequence[tuple[int, int]]
    ends: Sequence[int]
    asks: bool
    supposes: bool


class Place(NamedTuple):
    """A number and what stands around it.

    Attributes:
        formula: the formula around the number, without dollars; None in plain text.
        sentence: how many sentences stand before.
        is_asked: whether the question at the end of the text takes up the number.
        is_supposed: whether the question only supposes the number: "if he buys 5 pens".
        around: the sentence around the number, up to NEAR characters on either side.
    """

    number: Number
    mention: Mention
    formula: tuple[int, int] | None
    sentence: int
    is_asked: bool
    is_supposed: bool
    around: str


def layout_of(text: str, dollars: Iterable[int]) -> Layout:
    """Finds the formulas and sentences of a text. dollars: `formula_dollars` of the text."""
    places, size = sorted(dollars), len(text.rstrip(" \n"))
    formulas = [(start, end + 1) for start, end in zip(places[::2], places[1::2], strict=True)]
    ends = [match.start() for match in SENTENCE_END.finditer(text) if match.start() + 1 < size]
    question = text[ends[-1] + 1 if ends else 0 :]
    return Layout(formulas, ends, asks(question), has_supposing_mark(question))


def same_quantities(text: str, numbers: Sequence[Number], layout: Layout) -> dict[int, tuple[int, bool]]:
    """Groups equal numbers of one role by quantity.

    Args:
        numbers: equal numbers of one role, from left to right: those that may be hidden, those that only
            refer to others, and those that stay readable.

    Returns:
        by the start of a number: where the first number of its quantity starts, and whether the quantity
        stays readable elsewhere. A number that only refers is left out where nothing is referred to.
    """
    if len(numbers) > MOST_PLACES:
        first = min(number.start for number in numbers if number.skip is None)
        is_known = any(number.skip in READABLE for number in numbers)
        return {number.start: (first, is_known) for number in numbers}
    places = [_place(text, number, layout) for number in numbers]
    groups: list[list[Place]] = []
    for place in places:
        if place.number.skip is None:
            group = _group_of(text, place, groups)
            if group is None:
                groups.append([place])
            else:
                group.append(place)
    for place in places:
        group = _referred(place, groups) if place.number.skip == "reference" else None
        if group is not None:
            group.append(place)
    readable = [place for place in places if place.number.skip in READABLE]
    quantities: dict[int, tuple[int, bool]] = {}
    for group in groups:
        is_known = any(_relation(text, a, b) is not False for a in group for b in readable)
        is_known |= any(
            _in_doubt(group, other) or _in_doubt(other, group) for other in groups if other is not group
        )
        first = min(place.number.start for place in group)
        quantities |= {place.number.start: (first, is_known) for place in group}
    return quantities


def _place(text: str, number: Number, layout: Layout) -> Place:
    k = bisect(layout.formulas, (number.start, 0)) - 1
    start, end = layout.formulas[k] if k >= 0 else (0, 0)
    formula, behind = None, number.end
    # $15$ shelves: the noun stands behind the formula.
    if start + 1 == number.start and number.end + 1 == end:
        behind = end
    elif number.start < end:
        formula = (start + 1, end - 1)
    sentence = bisect(layout.ends, number.start)
    first = layout.ends[sentence - 1] + 1 if sentence else 0
    is_question = layout.asks and sentence == len(layout.ends)
    last = len(text) if sentence == len(layout.ends) else layout.ends[sentence]
    clause = text[max(first, number.start - NEAR) : number.start]
    is_supposed = is_question and (layout.supposes or supposes(clause))
    return Place(
        number,
        mention_of(text, number, behind),
        formula,
        sentence,
        is_question and not is_supposed,
        is_supposed,
        clause + text[number.start : min(last, number.start + NEAR)],
    )


def _group_of(text: str, place: Place, groups: list[list[Place]]) -> list[Place] | None:
    """Returns the quantity that a number belongs to; None for a new quantity."""
    for group in groups:
        if any(_relation(text, other, place) for other in group):
            return group
    mention, role = place.mention, place.number.role
    if role == "multiple" or mention.is_other or place.formula:
        return None
    if not mention.noun and mention.is_definite:
        return _antecedent(groups)
    # "the $4 bags"
    is_price = mention.is_definite and role in ("money", "percent")
    return groups[0] if is_price and len(groups) == 1 else None


def _referred(place: Place, groups: list[list[Place]]) -> list[Place] | None:
    """Returns the quantity that "the other 2 people", "the three of them" refers to; None for none."""
    if place.number.role == "multiple":
        # "the other half": of the half that was named last
        before = [group for group in groups if group[0].number.start < place.number.start]
        return before[-1] if before else None
    if not place.mention.noun:
        return _antecedent(groups)
    for group in groups:
        if any(_same_noun(other.mention, place.mention) for other in group):
            return group
    return None


def _antecedent(groups: list[list[Place]]) -> list[Place] | None:
    """Returns the quantity that "all 4" speaks of: what a text counts first, seconds and miles aside."""
    return next((group for group in groups if group[0].mention.noun not in UNITS), None)


def _relation(text: str, a: Place, b: Place) -> bool | None:
    """Tells whether two equal numbers are one quantity; None: nobody can tell."""
    a, b = (a, b) if a.number.start < b.number.start else (b, a)
    first, second = a.mention, b.mention
    if a.number.role == "multiple":
        return False
    if a.formula or b.formula:
        return _same_phrase(text, a, b) or None
    said_alike = all(first.before) and first.before == second.before and first.before[1] not in STOPS
    # "On Monday he ran 5 miles. On Friday he ran 5 miles."
    said_alike = said_alike and (a.sentence == b.sentence or not contrasts(a.around, b.around))
    if first.is_other or second.is_other:
        # "the remaining 5 pens ... the remaining 5 pens"
        return said_alike and first.before[0] in DEFINITE and _same_noun(first, second)
    # The question takes up what the problem says: "How long do 5 pens last?"
    is_asked = b.is_asked and a.sentence < b.sentence
    if first.noun and second.noun:
        is_readable = a.number.skip in READABLE or b.number.skip in READABLE
        # "4 letters to mail ... mails 4 letters"
        is_done = bool(first.purpose) and second.before[1].startswith(first.purpose)
        is_named = second.is_definite or said_alike or is_done
        return _same_noun(first, second) and (is_named or is_asked or is_readable)
    if first.noun or second.noun:
        return None
    is_large = a.number.value >= BY_CHANCE and (is_asked or second.is_definite)
    return said_alike or is_large or None


def _in_doubt(group: list[Place], other: list[Place]) -> bool:
    """Tells whether a place of another quantity may yet speak of this one, so that neither is hidden."""
    # A sentence that names both says that they are two. A question may ask for what it supposes.
    named = {place.sentence for place in group}
    return any(_may_be_one(a, b) for a in group for b in other if b.is_supposed or b.sentence not in named)


def _may_be_one(a: Place, b: Place) -> bool:
    """Tells whether a place may speak of the same quantity as a place before."""
    if a.number.start > b.number.start:
        return False
    first, second = a.mention, b.mention
    if a.number.role == "multiple" or a.formula or b.formula:
        return False
    if not first.noun and not second.noun:
        return a.number.value >= BY_CHANCE
    if first.is_other or second.is_other or not _same_noun(first, second):
        return False
    # "He has 5 pens. Ann has 5 pens." are two.
    return b.is_supposed or not contrasts(a.around, b.around)


def _same_noun(first: Mention, second: Mention) -> bool:
    """Tells whether two numbers count the same noun in the same sense."""
    # Lights are stoplights.
    alike = bool(first.noun and second.noun) and (
        first.noun.endswith(second.noun) or second.noun.endswith(first.noun)
    )
    # "10 feet by 10 feet"
    if not alike or first.rate != second.rate or "by" in (first.before[1], second.before[1]):
        return False
    if first.modifiers and second.modifiers and not first.modifiers & second.modifiers:
        return False
    # "2 dozen pens", "2 square feet", "2 years older"
    if first.modifiers & SCALES != second.modifiers & SCALES:
        return False
    dimensions = {first.dimension, second.dimension}
    if len(dimensions) > 1 and not dimensions.isdisjoint(COMPARED) and not second.is_definite:
        return False
    pairs = ((first.complement, second.complement), (first.dimension, second.dimension))
    return not any(left and right and left != right for left, right in pairs)


def _same_phrase(text: str, a: Place, b: Place) -> bool:
    """Tells whether two numbers of formulas stand in the same phrase: (3,4) and A = (3,4)."""
    if a.formula is None or b.formula is None:
        return False
    left = _common(
        text[a.formula[0] : a.number.start][::-1],
        text[b.formula[0] : b.number.start][::-1],
    )
    right = _common(text[a.number.end : a.formula[1]], text[b.number.end : b.formula[1]])
    return left is not None and right is not None and left + right >= SAME_AROUND


def _common(first: str, second: str) -> int | None:
    """Counts equal characters, blanks aside; None where the two differ before `SAME_SIDE` characters."""
    first, second = _without_blanks(first), _without_blanks(second)
    equal = 0
    for left, right in zip(first, second, strict=False):
        if left != right:
            return equal if equal >= SAME_SIDE else None
        equal += 1
    return equal


def _without_blanks(side: str) -> str:
    """Returns the first characters beside a number, up to 2 * SAME_SIDE of them, without blanks."""
    return "".join(char for char in side[: 4 * SAME_SIDE] if not is_space(char))[: 2 * SAME_SIDE]
