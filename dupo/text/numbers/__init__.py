"""Numbers in text: where they stand, what they are worth, and which may be hidden.

A number is an integer, with thousands commas or without, a decimal, a fraction, a mixed number, or one in
English words. A currency or percent sign beside it stays in the text. Values are exact (`Fraction`). The
rules that keep a number from being hidden are those of DuPO, appendix A (subscripts, bounds of inequalities,
bases and exponents, function arguments), and those that plain text asks for (labels, dates, pronouns).
docs/duals.md shows each with an example.

This is the plain Python twin of csrc/numbers.cpp, its definition and its oracle: change both. `dupo.text`
chooses between them.

    base    records, classes of characters       rules   what stands around a number in digits
    digits  numbers in digits                    words   numbers in English words
"""

import re
from collections import Counter
from fractions import Fraction
from typing import NamedTuple

from dupo.text.numbers.base import END, LOWER, REASONS, ROLES, Number
from dupo.text.numbers.digits import find_areas, find_digits
from dupo.text.numbers.rules import YEAR, formula_marks
from dupo.text.numbers.words import OF_WHOLE, TIMES, find_words

__all__ = ["REASONS", "ROLES", "Hidden", "Number", "find_numbers", "hide_numbers"]

# What stays readable beside a hidden number of the same value and role; "repeated": dozens.
VISIBLE = frozenset({"word", "bound", "repeated"})
UNJOINED = frozenset({None, "reference"})


def find_numbers(text: str) -> list[Number]:
    """The numbers of a text from left to right, each with the reason why it may not be hidden, if any."""
    areas, marks = find_areas(text), formula_marks(text)
    found = sorted([*find_digits(text, areas, marks), *find_words(text, areas, marks)])
    free = Counter((n.value, n.role) for n in found if n.skip is None)
    seen = {(n.value, n.role) for n in found if n.skip in VISIBLE}
    seen |= {key for key, count in free.items() if count > 1 and key[0] == 1}

    years = {n.value for n in found if n.skip == "date"}

    def joined(n: Number) -> Number:
        if n.skip is None and n.value in years and re.fullmatch(YEAR, n.surface):
            return n._replace(skip="date")
        key = (n.value, n.role)
        if n.skip in UNJOINED and key in free:
            return n._replace(skip="repeated" if key in seen else None)
        return n

    return [joined(n) for n in found]


class Hidden(NamedTuple):
    """A text with one of its numbers hidden wherever it stands.

    Attributes:
        known: the text with `variable` in place of the number.
        variable: a name that the text does not have.
        numbers: what is hidden, from left to right.
    """

    known: str
    variable: str
    numbers: tuple[Number, ...]


BEFORE_WHOLE = re.compile(rf" (?:{'|'.join(sorted(OF_WHOLE - {'of'}))}){END}", re.A | re.I)
LETTERS = "bcdfghjkmnpqrstvwxz"  # no vowels: a name never reads as a word; no l, which looks like 1
WORDS = frozenset({"hs", "cr", "pn"})  # VHS, VCR and VPN are words
MASK64 = 2**64 - 1


def hide_numbers(text: str, seed: int, most: int) -> list[Hidden]:
    """The numbers of a text that may be hidden, each hidden in turn.

    `seed`, 64 bits, decides the names, and which are hidden where there are more than `most`.
    """
    groups: dict[tuple[Fraction, str], list[Number]] = {}
    for number in find_numbers(text):
        if number.skip is None:
            groups.setdefault((number.value, number.role), []).append(number)
    drawn = set(sorted(range(len(groups)), key=lambda k: mix(seed ^ mix(MASK64 - k)))[:most])
    taken, hidden = text.translate(LOWER), []
    for k, group in enumerate(groups.values()):
        if k in drawn:
            letters = _fresh_letters(taken, mix(seed ^ mix(k)))
            taken += f"\nv{letters}"
            hidden.append(_hide(text, f"V{letters}", group))
    return hidden


def _fresh_letters(taken: str, state: int) -> str:
    """Letters that `taken`, in lower case, does not have after a v."""
    tries = 0
    while True:
        state, letters = mix(state), ""
        rest = state
        for _ in range(2 + tries // 20):
            rest, letter = divmod(rest, len(LETTERS))
            letters += LETTERS[letter]
        if f"v{letters}" not in taken and letters not in WORDS:
            return letters
        tries += 1


def _hide(text: str, variable: str, group: list[Number]) -> Hidden:
    known, at = "", 0
    for number in group:
        known += text[at : number.start] + shown(text, number, variable)
        at = number.end
    return Hidden(known + text[at:], variable, tuple(group))


def shown(text: str, number: Number, variable: str) -> str:
    """What stands for a number: "half as many" becomes "Vqk times as many"."""
    times = number.surface.lower() in TIMES or BEFORE_WHOLE.match(text, number.end)
    times = times and number.role == "multiple"
    return f"{variable} times" if times else variable


def mix(x: int) -> int:
    """One step of SplitMix64 (Steele et al., 2014): 64 bits from 64 bits."""
    x = (x + 0x9E3779B97F4A7C15) & MASK64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK64
    return x ^ (x >> 31)
