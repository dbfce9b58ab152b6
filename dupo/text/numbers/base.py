"""Records, and the classes of characters that every rule on numbers is made of.

The classes are spelled out, so that no version of Unicode changes a result. csrc/utf8.* has equal classes.
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

MAX_DIGITS = 18  # a number with more digits is no quantity, and 18 digits fit 64 bits
LOOKBEHIND = 40  # characters before a number that the rules see

ROLES = ("count", "money", "percent", "multiple")
REASONS = (
    "subscript",
    "power",
    "argument",
    "bound",
    "label",
    "date",
    "time",
    "code",
    "ordinal",
    "word",
    "leading zero",
    "part of a longer number",
    "name",
    "pronoun",
    "reference",
    "idiom",
    "enumeration",
    "example",
    "divisor",
    "definition",
    "form",
    "partition",
    "rounded",
    "share",
    "scene",
    "choice",
    "unit",
    "listed",
    "repeated",
)


class Number(NamedTuple):
    """A number in a text.

    Attributes:
        start: where the number starts, in characters.
        end: where the number ends; `text[start:end]` is `surface`.
        surface: the number as written, without sign, currency or percent.
        value: the exact value.
        role: what the number is used as, one of `ROLES`. "multiple" is half, twice, two-thirds. Equal values
            of different roles are different quantities.
        skip: why the number must not be hidden, one of `REASONS`; None if the number may be hidden.
        quantity: where the first number of the same quantity starts; -1 for a number that may not be hidden.
            Numbers of one quantity are hidden together.
    """

    start: int
    end: int
    surface: str
    value: Fraction
    role: str
    skip: str | None
    quantity: int = -1


class Hidden(NamedTuple):
    """A text with one of its quantities hidden wherever the text names the quantity.

    Attributes:
        known: the text with `variable` in place of the number.
        variable: a name that does not occur in the text.
        numbers: the hidden numbers, from left to right; all are one quantity, of one value and one role.
    """

    known: str
    variable: str
    numbers: tuple[Number, ...]


# Letters of scripts that put spaces between words: a digit beside such a letter belongs to a word. Chinese,
# Japanese, Korean, Thai, Lao, Khmer and Burmese are left out: there a digit may stand beside any word.
LETTER_RANGES = (
    "A-Za-zªµºÀ-ÖØ-öø-\u037d\u037f-\u0386\u0388-\u0588\u058a-\u060b\u060d-\u061a\u061c-\u061e\u0620-\u0669"
    "\u066b-\u06d3\u06d5-\u0963\u0966-\u0dff\u10a0-\u10ff\u1200-\u177f\u1800-\u1fff\u20d0-\u20ff\ufb00-\ufdff"
    "\ufe00-\ufe0f\uff21-\uff3a\uff41-\uff5a\U0001d400-\U0001d7cb"
)
LETTER = f"[{LETTER_RANGES}]"
WORDLIKE = f"[{LETTER_RANGES}0-9_]"
SPACE = "[ \\t\\n\\r\\f\\v\u00a0\u2009\u202f]"
GROUP_SPACE = "[ \u00a0\u2009\u202f]"  # may stand between groups of three digits
# East Asian digits: １２％
FULL_WIDTH = {0xFF10 + k: 0x30 + k for k in range(10)} | {0xFF05: 0x25}
FULL_POINT = re.compile("(?<=[0-9])．(?=[0-9])")
LOWER = {k: k + 32 for k in range(ord("A"), ord("Z") + 1)}
START = f"(?<!{WORDLIKE})"  # of a word
END = f"(?!{WORDLIKE})"  # of a word


_LETTER = re.compile(LETTER)
_SPACE = re.compile(SPACE)


def is_letter(char: str) -> bool:
    """Tells whether a character is a letter of a script that puts spaces between words."""
    return _LETTER.match(char) is not None


def is_space(char: str) -> bool:
    """Tells whether a character is blank."""
    return _SPACE.match(char) is not None


def text_before(text: str, place: int) -> str:
    """Returns the characters before `place` that the rules see."""
    return text[max(0, place - LOOKBEHIND) : place]


class Area(NamedTuple):
    """A stretch of a text, `text[start:end]`, in which no number may be hidden, and the reason."""

    start: int
    end: int
    reason: str


class AreaScanner:
    """Tells for one place after another which area the place lies in.

    Args:
        areas: ordered by start.
    """

    def __init__(self, areas: Sequence[Area]) -> None:
        self._areas, self._next = areas, 0
        self._open: list[Area] = []

    def reason_at(self, place: int) -> str | None:
        """Returns the reason of the area that covers `place`, or None. Places must ascend from call to call.

        Of several areas, the area with the latest start counts.
        """
        while self._next < len(self._areas) and self._areas[self._next].start <= place:
            self._open.append(self._areas[self._next])
            self._next += 1
        while self._open and self._open[-1].end <= place:
            self._open.pop()
        return self._open[-1].reason if self._open else None
