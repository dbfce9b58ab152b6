"""A text with one of its numbers hidden, for every number in turn. Twin of csrc/numbers.cpp."""

import re

from dupo.text.numbers.areas import formula_dollars
from dupo.text.numbers.base import END, LOWER, WORDLIKE, Hidden, Number
from dupo.text.numbers.find import find_numbers
from dupo.text.numbers.words import MULTIPLES, WORDS_AFTER_HALF

NAME_LETTERS = "bcdfghjkmnpqrstvwxz"  # no vowels: a name never reads as a word; no l, which looks like 1
WORD_ENDINGS = frozenset({"hs", "cr", "pn", "ww", "zz", "tr"})  # VHS, VCR, VPN and QTR are words
FIRST_LETTERS = "VWZQ"  # of names, in the order of choice
BEFORE_NOUN = re.compile(rf" (?:{'|'.join(sorted(WORDS_AFTER_HALF - {'of', 'off'}))}){END}", re.A | re.I)
ONE_WORDLIKE = re.compile(WORDLIKE)
# A letter that stands alone is a variable, and so are capitals side by side in a formula: $PV = nRT$.
SINGLE_LETTER = re.compile(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])")
FORMULA_LETTERS = re.compile(r"(?<![A-Za-z\\])[A-Z]{2,4}(?![A-Za-z])")
MASK64 = 2**64 - 1


def hide_numbers(text: str, seed: int, most: int) -> list[Hidden]:
    """Hides each number that may be hidden, in turn.

    `seed` (64 bits) decides the names, and which numbers are hidden where a text has more than `most`.
    """
    groups: dict[int, list[Number]] = {}
    for number in find_numbers(text):
        if number.skip is None:
            groups.setdefault(number.quantity, []).append(number)
    order = sorted(range(len(groups)), key=lambda k: split_mix(seed ^ split_mix(MASK64 - k)))
    chosen = set(order[:most])
    # In lower case, and with the names so far: two names, or a name and a word, never differ by case alone.
    taken, hidden, first = text.translate(LOWER), [], _first_letter(text)
    for k, group in enumerate(groups.values()):
        if k in chosen:
            name = first + _unused_letters(taken, first.lower(), split_mix(seed ^ split_mix(k)))
            taken += f"\n{name.lower()}"
            hidden.append(_hide(text, name, group))
    return hidden


def stand_in(text: str, number: Number, variable: str) -> str:
    """Returns what is written for a hidden number: "half as many" becomes "Vqk times as many".

    A name touches no command and no letter: `3\\times7` becomes `3\\times Vqk`, `2x` becomes `Vqk x`. The
    text comes back when each stand-in is replaced by the surface of its number.
    """
    needs_times = number.surface.lower() in MULTIPLES or BEFORE_NOUN.match(text, number.end)
    before, after = text[max(0, number.start - 1) : number.start], text[number.end : number.end + 1]
    opening = " " if ONE_WORDLIKE.match(before) else ""
    if number.role == "multiple" and needs_times:
        return f"{opening}{variable} times"
    return f"{opening}{variable} " if ONE_WORDLIKE.match(after) else opening + variable


def _first_letter(text: str) -> str:
    """Returns the first letter of all names: a letter that the text does not use as a variable."""
    used = set(SINGLE_LETTER.findall(text))
    places = sorted(formula_dollars(text))
    for start, end in zip(places[::2], places[1::2], strict=True):
        used |= set("".join(FORMULA_LETTERS.findall(text[start:end])))
    return next((x for x in FIRST_LETTERS if x not in used and x.lower() not in used), FIRST_LETTERS[0])


def split_mix(x: int) -> int:
    """One step of SplitMix64 (Steele et al., 2014): 64 bits from 64 bits."""
    x = (x + 0x9E3779B97F4A7C15) & MASK64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK64
    return x ^ (x >> 31)


def _unused_letters(taken: str, first: str, state: int) -> str:
    """Draws letters that `taken`, in lower case, does not have after `first`.

    Every 20 tries ask for one letter more.
    """
    tries = 0
    while True:
        state, letters = split_mix(state), ""
        bits = state
        for _ in range(2 + tries // 20):
            bits, letter = divmod(bits, len(NAME_LETTERS))
            letters += NAME_LETTERS[letter]
        if first + letters not in taken and letters not in WORD_ENDINGS:
            return letters
        tries += 1


def _hide(text: str, variable: str, group: list[Number]) -> Hidden:
    masked, end = "", 0
    for number in group:
        masked += text[end : number.start] + stand_in(text, number, variable)
        end = number.end
    return Hidden(masked + text[end:], variable, tuple(group))
