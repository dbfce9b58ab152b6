"""A text with one of its numbers hidden, for every number in turn. Twin of csrc/numbers.cpp."""

import re
from fractions import Fraction

from dupo.text.numbers.base import END, LETTER, LOWER, Hidden, Number
from dupo.text.numbers.find import find_numbers
from dupo.text.numbers.words import MULTIPLES, WORDS_AFTER_HALF

NAME_LETTERS = "bcdfghjkmnpqrstvwxz"  # no vowels: a name never reads as a word; no l, which looks like 1
WORD_ENDINGS = frozenset({"hs", "cr", "pn"})  # VHS, VCR and VPN are words
BEFORE_NOUN = re.compile(rf" (?:{'|'.join(sorted(WORDS_AFTER_HALF - {'of', 'off'}))}){END}", re.A | re.I)
LETTER_AFTER = re.compile(LETTER)
MASK64 = 2**64 - 1


def hide_numbers(text: str, seed: int, most: int) -> list[Hidden]:
    """Hides each number that may be hidden, in turn.

    `seed` (64 bits) decides the names, and which numbers are hidden where a text has more than `most`.
    """
    groups: dict[tuple[Fraction, str], list[Number]] = {}
    for number in find_numbers(text):
        if number.skip is None:
            groups.setdefault((number.value, number.role), []).append(number)
    order = sorted(range(len(groups)), key=lambda k: split_mix(seed ^ split_mix(MASK64 - k)))
    chosen = set(order[:most])
    # In lower case, and with the names so far: two names, or a name and a word, never differ by case alone.
    taken, hidden = text.translate(LOWER), []
    for k, group in enumerate(groups.values()):
        if k in chosen:
            letters = _unused_letters(taken, split_mix(seed ^ split_mix(k)))
            taken += f"\nv{letters}"
            hidden.append(_hide(text, f"V{letters}", group))
    return hidden


def stand_in(text: str, number: Number, variable: str) -> str:
    """Returns what is written for a hidden number: "half as many" becomes "Vqk times as many"."""
    needs_times = number.surface.lower() in MULTIPLES or BEFORE_NOUN.match(text, number.end)
    if number.role == "multiple" and needs_times:
        return f"{variable} times"
    # The 2 of 2x: a name and a letter would read as one name.
    return f"{variable} " if LETTER_AFTER.match(text, number.end) else variable


def split_mix(x: int) -> int:
    """One step of SplitMix64 (Steele et al., 2014): 64 bits from 64 bits."""
    x = (x + 0x9E3779B97F4A7C15) & MASK64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK64
    return x ^ (x >> 31)


def _unused_letters(taken: str, state: int) -> str:
    """Draws letters that `taken`, in lower case, does not have after a v. Every 20 tries ask for one more."""
    tries = 0
    while True:
        state, letters = split_mix(state), ""
        bits = state
        for _ in range(2 + tries // 20):
            bits, letter = divmod(bits, len(NAME_LETTERS))
            letters += NAME_LETTERS[letter]
        if f"v{letters}" not in taken and letters not in WORD_ENDINGS:
            return letters
        tries += 1


def _hide(text: str, variable: str, group: list[Number]) -> Hidden:
    masked, end = "", 0
    for number in group:
        masked += text[end : number.start] + stand_in(text, number, variable)
        end = number.end
    return Hidden(masked + text[end:], variable, tuple(group))
