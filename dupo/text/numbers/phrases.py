"""Numbers that the words beside them keep from being hidden: bounds, divisors, years, definitions.

The rows stand in phrase_table.py. Twin of csrc/numbers_phrases.cpp.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from dupo.text.numbers.base import LETTER, LOWER, SPACE, WORDLIKE, Number
from dupo.text.numbers.phrase_classes import CLASSES
from dupo.text.numbers.phrase_table import (
    ASKS_MONEY,
    ASKS_TIME,
    ASKS_WHEN,
    CHOICES,
    DEALS,
    DOUBTS,
    NEARBY,
    PHRASES,
    ROUNDED,
    SCENES,
    TELLS_MONEY,
    TELLS_TIME,
    Phrase,
)
from dupo.text.numbers.questions import ASKING
from dupo.text.numbers.rules import YEAR

# A word or a decimal, what is ignored, and any other character.
TOKEN = re.compile(
    rf"({WORDLIKE}+(?:(?<=[0-9])[.,](?=[0-9]){WORDLIKE}+)*)|{SPACE}|[$-]|\\[$()]|([\s\S])",
)
DIGITS = re.compile(r"[0-9][0-9.,]*")
STARTS_WITH_LETTER = re.compile(LETTER)
SCENE_REACH = 30  # characters behind a number in which the words of a scene stand


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


def _row(p: Phrase) -> Row:
    before, after = _items(p.before)[::-1], _items(p.after)
    return Row(p.reason, before, after, frozenset(p.values.split()), _words_of(p.near))


ROWS = [_row(p) for p in PHRASES]
DOUBT_ROWS = [_row(p) for p in DOUBTS]

ROUNDED_ITEMS = [(_items(words), _items(others), role) for words, others, role in ROUNDED]
CHOICE_ITEMS = [_items(words) for words in CHOICES]
DEAL_ITEMS = [_items(words) for words in DEALS]
SCENE_ITEMS = [_items(words) for words in SCENES]
TELLS_TIME_ITEMS = [_items(words) for words in TELLS_TIME]
ASKS_WHEN_ITEMS = [_items(words) for words in ASKS_WHEN]
TELLS_MONEY_ITEMS = [_items(words) for words in TELLS_MONEY]
TIME, TIME_ASKED, MONEY_ASKED = map(_words_of, ("TIME", ASKS_TIME, ASKS_MONEY))
MONEY_UNITS = frozenset({"dollar", "dollars", "cent", "cents", "euro", "euros"})


def skip_by_phrases(text: str, numbers: Sequence[Number]) -> list[Number]:
    """Gives the numbers that may be hidden so far the reason of the first phrase that matches, if any."""
    return [n._replace(skip=_reason(text, n, ROWS)) if n.skip is None else n for n in numbers]


def doubt_by_phrases(text: str, number: Number) -> str | None:
    """Returns the reason of the first phrase that puts a number in doubt; None for no phrase."""
    reason = _reason(text, number, DOUBT_ROWS)
    if reason != "scene":
        return reason
    tokens = tokens_of(text)
    return None if any(_stands(items, tokens) for items in TELLS_TIME_ITEMS + ASKS_WHEN_ITEMS) else reason


def skip_by_rounding(text: str, numbers: Sequence[Number]) -> list[Number]:
    """Skips what a rounded answer does not tell, and what the best of several things does not tell."""
    tokens, result = tokens_of(text), list(numbers)
    for words, others, told in ROUNDED_ITEMS:
        if _stands(words, tokens) and _stands(others, tokens):
            result = [n._replace(skip="rounded") if n.skip is None and n.role != told else n for n in result]
    question = _question(tokens)
    is_choice = any(_stands(words, question) for words in CHOICE_ITEMS)
    if is_choice or any(_stands(words, tokens) for words in DEAL_ITEMS):
        result = [n._replace(skip=n.skip or "choice") for n in result]
    return result


def skip_by_scenes(text: str, numbers: Sequence[Number]) -> list[Number]:
    """Skips what only sets a scene: "when she was 6 years old", "two days later", a lone amount of money."""
    after = [tokens_of(text[n.end : n.end + SCENE_REACH]) for n in numbers]
    scenes = [k for k, words in enumerate(after) if any(_match(items, words, 0, 0) for items in SCENE_ITEMS)]
    if scenes:
        # "20 years of experience" counts years.
        counted = (k for k, words in enumerate(after) if not TIME.isdisjoint(words[:2]))
        if any(k not in scenes for k in counted) or _depends_on_time(tokens_of(text)):
            scenes = []
    amounts = [k for k, n in enumerate(numbers) if n.role == "money"]
    if len(amounts) == 1 and numbers[amounts[0]].skip is None and _is_lone(text, numbers[amounts[0]]):
        scenes += amounts
    result = list(numbers)
    for k in scenes:
        result[k] = result[k]._replace(skip=result[k].skip or "scene")
    return result


def _depends_on_time(tokens: Sequence[str]) -> bool:
    question = _question(tokens)
    asked = not question or not TIME_ASKED.isdisjoint(question)
    return asked or any(_stands(items, tokens) for items in TELLS_TIME_ITEMS)


def _is_lone(text: str, amount: Number) -> bool:
    """Tells whether an amount is all the money of a text that asks how many things there are."""
    before, after = tokens_of(text[: amount.start]), tokens_of(text[amount.end :])
    after = after[1:] if after[:1] and after[0] in MONEY_UNITS else after
    question = _question([*before, *after])
    if question[:2] != ["how", "many"] or not MONEY_ASKED.isdisjoint(question):
        return False
    return not any(_stands(items, side) for items in TELLS_MONEY_ITEMS for side in (before, after))


def _question(tokens: Sequence[str]) -> Sequence[str]:
    """Returns the words of a text from the first that may start a question."""
    first = next((k for k, token in enumerate(tokens) if token in ASKING), len(tokens))
    return tokens[first:]


def _stands(items: Sequence[Item], tokens: Sequence[str]) -> bool:
    """Tells whether a pattern matches somewhere. No pattern starts with an optional word."""
    return not items or any(
        items[0].accepts(token) and _match(items, tokens, 0, k) for k, token in enumerate(tokens)
    )


def tokens_of(text: str) -> list[str]:
    """Splits a text into words in lower case and single characters, without what the phrases ignore."""
    return [word or char for word, char in TOKEN.findall(text.translate(LOWER)) if word or char]


def _reason(text: str, number: Number, rows: Sequence[Row]) -> str | None:
    before = tokens_of(text[max(0, number.start - NEARBY) : number.start])[::-1]
    after = tokens_of(text[number.end : number.end + NEARBY])
    values, nearby = _values_of(number), frozenset({"", *before, *after})
    for row in rows:
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
    if number.role in ("count", "multiple") and 0 < number.value < 1:
        values.add("SHARE")
    return values
