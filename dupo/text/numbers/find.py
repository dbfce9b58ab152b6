"""All numbers of a text, and what equal numbers say about each other. Twin of csrc/numbers.cpp."""

import re
from collections import Counter

from dupo.text.numbers.areas import find_areas, formula_dollars
from dupo.text.numbers.base import Number
from dupo.text.numbers.digits import find_digits
from dupo.text.numbers.lists import skip_by_lists, skip_by_products
from dupo.text.numbers.phrases import skip_by_phrases
from dupo.text.numbers.rules import YEAR
from dupo.text.numbers.words import find_words

# A number that may not be hidden for one of these reasons stays readable: hiding an equal number would be
# pointless. "repeated" are dozens.
READABLE = frozenset({"word", "bound", "repeated"})
# Only these numbers take over what an equal number is: "the other 4" is hidden with "all 4".
JOINS_EQUAL = frozenset({None, "reference"})


def find_numbers(text: str) -> list[Number]:
    """Finds the numbers of a text from left to right. `Number.skip` says why a number may not be hidden."""
    areas, dollars = find_areas(text), formula_dollars(text)
    numbers = sorted([*find_digits(text, areas, dollars), *find_words(text, areas, dollars)])
    numbers = skip_by_products(text, skip_by_lists(text, skip_by_phrases(text, numbers)))
    free = Counter((n.value, n.role) for n in numbers if n.skip is None)
    readable = {(n.value, n.role) for n in numbers if n.skip in READABLE}
    # Several ones are seldom the same quantity: "1 cup and 1 spoon".
    readable |= {key for key, count in free.items() if count > 1 and key[0] == 1}
    years = {n.value for n in numbers if n.skip == "date"}

    def join_equal(n: Number) -> Number:
        if n.skip is None and n.value in years and re.fullmatch(YEAR, n.surface):
            return n._replace(skip="date")
        key = (n.value, n.role)
        if n.skip in JOINS_EQUAL and key in free:
            return n._replace(skip="repeated" if key in readable else None)
        return n

    return [join_equal(n) for n in numbers]
