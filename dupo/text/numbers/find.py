"""All numbers of a text, and what equal numbers say about each other. Twin of csrc/numbers.cpp."""

import re
from fractions import Fraction

from dupo.text.numbers.areas import find_areas, formula_dollars
from dupo.text.numbers.base import FULL_POINT, FULL_WIDTH, Number
from dupo.text.numbers.digits import find_digits
from dupo.text.numbers.doubts import skip_by_doubts
from dupo.text.numbers.east_asian import with_east_asian
from dupo.text.numbers.lists import skip_by_lists, skip_by_members, skip_by_products
from dupo.text.numbers.phrases import skip_by_phrases, skip_by_rounding, skip_by_scenes
from dupo.text.numbers.quantities import READABLE, layout_of, same_quantities
from dupo.text.numbers.rules import YEAR
from dupo.text.numbers.shares import skip_by_shares
from dupo.text.numbers.words import find_words

STEPS = (
    skip_by_phrases,
    skip_by_lists,
    skip_by_products,
    skip_by_members,
    skip_by_shares,
    skip_by_rounding,
    skip_by_scenes,
)
# Only these numbers take over what an equal number is: "the other 4" is hidden with "all 4".
JOINS_EQUAL = frozenset({None, "reference"})


def find_numbers(text: str) -> list[Number]:
    """Finds the numbers of a text from left to right. `Number.skip` says why a number may not be hidden."""
    plain = FULL_POINT.sub(".", text.translate(FULL_WIDTH))
    if plain != text:
        return [n._replace(surface=text[n.start : n.end]) for n in find_numbers(plain)]
    areas, dollars = find_areas(text), formula_dollars(text)
    digits = with_east_asian(text, list(find_digits(text, areas, dollars)), areas, dollars)
    numbers = sorted([*digits, *find_words(text, areas, dollars)])
    for step in STEPS:
        numbers = step(text, numbers)
    years = {n.value for n in numbers if n.skip == "date"}
    equal: dict[tuple[Fraction, str], list[int]] = {}
    for k, n in enumerate(numbers):
        if n.skip is None and n.value in years and re.fullmatch(YEAR, n.surface):
            numbers[k] = n._replace(skip="date")
        elif n.skip in JOINS_EQUAL or n.skip in READABLE:
            equal.setdefault((n.value, n.role), []).append(k)
    layout = None  # few texts need it
    for (value, _), group in equal.items():
        num_free = sum(numbers[k].skip is None for k in group)
        if num_free == 0:
            continue
        # Several ones are seldom the same quantity: "1 cup and 1 spoon".
        if value == 1 and num_free > 1:
            quantities = {numbers[k].start: (0, True) for k in group}
        elif len(group) == 1:
            start = numbers[group[0]].start
            quantities = {start: (start, False)}
        else:
            layout = layout or layout_of(text, dollars)
            quantities = same_quantities(text, [numbers[k] for k in group], layout)
        for k in group:
            n = numbers[k]
            if n.skip in JOINS_EQUAL and n.start in quantities:
                first, is_known = quantities[n.start]
                numbers[k] = (
                    n._replace(skip="repeated") if is_known else n._replace(skip=None, quantity=first)
                )
    return skip_by_doubts(text, numbers)
