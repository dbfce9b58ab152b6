"""What the modules on numbers share: the records, and the classes of characters that every rule is made of.

The classes are spelled out, so that no version of Unicode changes a result; csrc/utf8.cpp has the same.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

MAX_DIGITS = 18  # of one number; what is longer is no quantity (and 64 bits hold this)
NEAR = 40  # characters before a number that its rules look at

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
    "repeated",
)


class Number(NamedTuple):
    """A number in a text.

    Attributes:
        start, end: text[start:end] is `surface`.
        surface: as it is written, without sign, currency or percent.
        value: exact.
        role: what it is used as, one of `ROLES`; "multiple" is half, twice, two-thirds. Equal values of
            different roles are different quantities; of one role they may be the same one.
        skip: why it must not be hidden, one of `REASONS`; None: it may be.
    """

    start: int
    end: int
    surface: str
    value: Fraction
    role: str
    skip: str | None


# Letters of scripts that put spaces between words; a digit beside one of them belongs to a word. Chinese,
# Japanese, Korean, Thai, Lao, Khmer and Burmese are not among them: there a digit stands beside any word.
LETTER_RANGES = (
    "A-Za-zªµºÀ-ÖØ-öø-\u037d\u037f-\u0386\u0388-\u0588\u058a-\u060b\u060d-\u061a\u061c-\u061e\u0620-\u0669"
    "\u066b-\u06d3\u06d5-\u0963\u0966-\u0dff\u10a0-\u10ff\u1200-\u177f\u1800-\u1fff\u20d0-\u20ff\ufb00-\ufdff"
    "\ufe00-\ufe0f\uff21-\uff3a\uff41-\uff5a\U0001d400-\U0001d7cb"
)
LETTER = f"[{LETTER_RANGES}]"
WORDLIKE = f"[{LETTER_RANGES}0-9_]"
SPACE = "[ \\t\\n\\r\\f\\v\u00a0\u2009\u202f]"
THIN = "[ \u00a0\u2009\u202f]"  # what may stand between groups of three digits
LOWER = {k: k + 32 for k in range(ord("A"), ord("Z") + 1)}
START, END = f"(?<!{WORDLIKE})", f"(?!{WORDLIKE})"  # of a word


def before(text: str, place: int) -> str:
    """What the rules see of the text before a place."""
    return text[max(0, place - NEAR) : place]


class Area(NamedTuple):
    """A stretch in which no number may be hidden."""

    start: int
    end: int
    reason: str


class Inside:
    """Answers, for places from left to right, whether they lie in an area."""

    def __init__(self, areas: Sequence[Area]) -> None:
        self.areas, self.taken = areas, 0
        self.open: list[Area] = []

    def reason(self, place: int) -> str | None:
        """That of the area around `place` that starts last."""
        while self.taken < len(self.areas) and self.areas[self.taken].start <= place:
            self.open.append(self.areas[self.taken])
            self.taken += 1
        while self.open and self.open[-1].end <= place:
            self.open.pop()
        return self.open[-1].reason if self.open else None
