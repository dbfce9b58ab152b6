"""Numbers that the words beside them keep from being hidden: bounds, divisors, years, definitions.

The rows stand in phrase_table.py. Twin of csrc/numbers_phrases.cpp.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from dupo.text.numbers.base import LETTER, LOWER, SPACE, WORDLIKE, Number
from dupo.text.numbers.phrase_table import CLASSES, NEARBY, PHRASES, ROUNDED
from dupo.text.numbers.rules import YEAR

# A word or a decimal, what is ignored, and any other character.
TOKEN = re.compile(
    rf"({WORDLIKE}+(?:(?<=[0-9])[.,](?=[0-9]){WORDLIKE}+)*)|{SPACE}|[$-]|\\[$()]|([\s\S])",
)
DIGITS = re.compile(r"[0-9][0-9.,]*")
STARTS_WITH_LETTER = re.compile(LETTER)


class Item(NamedTuple):
    """One place of a pattern: the words that may stand there, and whether there may be none."""

    words: frozenset[str]
    optional: bool

    def accepts(self, token: str) -> bool:
        """Tells whether a word of a text fits. N and W stand for any number and any word."""
        if token in self.words:
            return True
        if "N" in self.words and DIGITS.fullmatch(token):
            return True
        return "W" in self.words and STARTS_WITH_LETTER.match(token) is not None


def _words_of(alternatives: str) -> frozenset[str]:
    words: set[str] = set()
    for name in alternatives.split("|"):
        words |= _words_of(CLASSES[name]) if name in CLASSES else {name}
        if name == "N":
            words |= set(CLASSES["NUMBER"].split("|"))
    return frozenset(words)


def _items(pattern: str) -> tuple[Item, ...]:
    return tuple(Item(_words_of(item.removesuffix("?")), item.endswith("?")) for item in pattern.split())


class Row(NamedTuple):
    """A row of the table, ready to match. `before` and the words it meets are read backwards."""

    reason: str
    before: tuple[Item, ...]
    after: tuple[Item, ...]
    values: frozenset[str]
    near: frozenset[str]


ROWS = [
    Row(p.reason, _items(p.before)[::-1], _items(p.after), frozenset(p.values.split()), _words_of(p.near))
    for p in PHRASES
]

ROUNDED_ITEMS = [(_items(words), _items(others), role) for words, others, role in ROUNDED]


def skip_by_phrases(text: str, numbers: Sequence[Number]) -> list[Number]:
    """Gives the numbers that may be hidden so far the reason of the first phrase that matches, if any."""
    return [n._replace(skip=_reason(text, n)) if n.skip is None else n for n in numbers]


def skip_by_rounding(text: str, numbers: Sequence[Number]) -> list[Number]:
    """Skips what a rounded answer does not tell: the numbers of a text that asks for whole packs."""
    tokens, result = tokens_of(text), list(numbers)
    for words, others, told in ROUNDED_ITEMS:
        if _stands(words, tokens) and _stands(others, tokens):
            result = [n._replace(skip="rounded") if n.skip is None and n.role != told else n for n in result]
    return result


def _stands(items: Sequence[Item], tokens: Sequence[str]) -> bool:
    """Tells whether a pattern matches somewhere. No pattern starts with an optional word."""
    return not items or any(
        items[0].accepts(token) and _match(items, tokens, 0, k) for k, token in enumerate(tokens)
    )


def tokens_of(text: str) -> list[str]:
    """Splits a text into words in lower case and single characters, without what the phrases ignore."""
    return [word or char for word, char in TOKEN.findall(text.translate(LOWER)) if word or char]


def _reason(text: str, number: Number) -> str | None:
    before = tokens_of(text[max(0, number.start - NEARBY) : number.start])[::-1]
    after = tokens_of(text[number.end : number.end + NEARBY])
    values, nearby = _values_of(number), frozenset({"", *before, *after})
    for row in ROWS:
        if (
            (not row.values or not values.isdisjoint(row.values))
            and _match(row.before, before, 0, 0)
            and _match(row.after, after, 0, 0)
            and not nearby.isdisjoint(row.near)
        ):
            return row.reason or None
    return None


def _match(items: Sequence[Item], tokens: Sequence[str], i: int, k: int) -> bool:
    """Tells whether `tokens[k:]` starts with what `items[i:]` ask for."""
    if i == len(items):
        return True
    if k < len(tokens) and items[i].accepts(tokens[k]) and _match(items, tokens, i + 1, k + 1):
        return True
    return items[i].optional and _match(items, tokens, i + 1, k)


def _values_of(number: Number) -> set[str]:
    """Returns the words of `Phrase.values` that a number fits."""
    values = {number.surface}
    if number.value.denominator == 1:
        values.add(str(number.value.numerator))
    if number.role == "count" and re.fullmatch(YEAR, number.surface):
        values |= {"YEAR", "ODDYEAR"} if number.value % 50 else {"YEAR"}
    return values
