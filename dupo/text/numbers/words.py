"""Numbers in English words: cardinals, halves and other parts, twice, a dozen. Twin of csrc/words.cpp."""

import re
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from dupo.text.numbers.base import END, LETTER, SPACE, START, WORDLIKE, Area, Inside, Number, before
from dupo.text.numbers.rules import CLOCK, follows_label, role_of


def _numbered(words: str, first: int, step: int = 1) -> dict[str, int]:
    return {word: first + step * k for k, word in enumerate(words.split())}


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


UNITS = _numbered("one two three four five six seven eight nine", 1)
SMALL = UNITS | _numbered(
    "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen", 10
)
TENS = _numbered("twenty thirty forty fifty sixty seventy eighty ninety", 20, 10)
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
PARTS = {"half": 2, "quarter": 4, "twelfth": 12, "twentieth": 20, "hundredth": 100}
PARTS |= _numbered("third fourth fifth sixth seventh eighth ninth tenth", 3)
PARTS |= {part + "s": k for part, k in PARTS.items() if part != "half"}
TIMES = {"twice": 2, "thrice": 3}
WHOLES = {"dozen": 12, "hundred": 100, **SCALES}  # half a ...
ORDINALS = _set("first second third fourth fifth sixth seventh eighth ninth")

# Words beside a number in words that tell whether it is a quantity.
DETERMINERS = _set(
    "the this that these those each every any no which a an another other his her their its my your our"
)
REFERS = _set("the these those all both other any either")
AFTER_PRONOUN = _set(
    "of and or another day morning night evening afternoon side that who which is was are were has had will"
    " would can could did does in on at to for from with by as but because if when where while than every"
    " each after before so then he she it they we i you this these those the a an"
)
OF_WHOLE = _set("as of the that this what his her its their my your our an a")  # half ...
NOT_OF_WHOLE = _set("the first second third other another last next each every this that")  # ... half

WORD = re.compile(rf"{START}[A-Za-z]+{END}")
SENTENCE_START = re.compile(rf"(?:\A|[.!?:;\n])(?:{SPACE}|[\"'“”‘’(*])*\Z")
TIME = re.compile(CLOCK, re.A | re.I)
IN_WORD = re.compile(rf"{WORDLIKE}[-'’]\Z|[@&\\#]\Z")
CLITIC = re.compile(rf"['’]{LETTER}")
HYPHENED = re.compile(rf"-{LETTER}")


class Word(NamedTuple):
    start: int
    end: int
    lower: str


class Phrase(NamedTuple):
    """words[first:end] name a number. `kind`: cardinal, dozen, share, times."""

    end: int
    value: Fraction
    kind: str


class _Words:
    """The English words of a text, and the numbers that they name."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = [Word(m.start(), m.end(), m[0].lower()) for m in WORD.finditer(text)]

    def at(self, k: int, gaps: str = " -") -> str:
        """Word k if one character of `gaps` stands between it and the word before it; else ""."""
        if not 0 < k < len(self.words):
            return ""
        gap = self.text[self.words[k - 1].end : self.words[k].start]
        return self.words[k].lower if len(gap) == 1 and gap in gaps else ""

    def before(self, k: int) -> str:
        return self.words[k - 1].lower if self.at(k, " ") else ""

    def _below_100(self, k: int) -> tuple[int, int]:
        """(value, words) of a number below 100 that starts with word k; (0, 0): there is none."""
        word = self.words[k].lower if k < len(self.words) else ""
        if word in TENS:
            unit = UNITS.get(self.at(k + 1), 0)
            return TENS[word] + unit, 2 if unit else 1
        return (SMALL[word], 1) if word in SMALL else (0, 0)

    def _below_1000(self, k: int) -> tuple[int, int]:
        value, size = self._below_100(k)
        if not size and self._is_a(k) and self.at(k + 1) == "hundred":
            value, size = 1, 1
        if size and self.at(k + size) == "hundred":
            more, used = self._more(k + size + 1, self._below_100)
            value, size = value * 100 + more, size + 1 + used
        return value, size

    def _cardinal(self, k: int, limit: int = 10**12) -> tuple[int, int]:
        """(value, words) of the whole number below `limit` that starts with word k; (0, 0): there is none."""
        value, size = self._below_1000(k)
        if not size and self._is_a(k) and self.at(k + 1) in SCALES:
            value, size = 1, 1
        scale = SCALES.get(self.at(k + size), limit) if size else limit
        if scale < limit:
            more, used = self._more(k + size + 1, lambda k: self._cardinal(k, scale))
            value, size = value * scale + more, size + 1 + used
        return value, size

    def _more(self, k: int, read: Callable[[int], tuple[int, int]]) -> tuple[int, int]:
        """The part of a number that follows "hundred" or "thousand": "[and] forty-four"."""
        skip = 1 if self.at(k, " ") == "and" else 0
        joined = self.at(k + skip, " ")
        value, size = read(k + skip) if joined and joined != "a" else (0, 0)
        return (value, size + skip) if size else (0, 0)

    def _is_a(self, k: int) -> bool:
        return k < len(self.words) and self.words[k].lower == "a"

    def phrase(self, k: int) -> Phrase | None:
        """The number that starts with word k."""
        word, second = self.words[k].lower, self.at(k + 1)
        if word == "half":
            last = k + 2 if second == "a" else k + 1
            units = WHOLES.get(self.at(last), 0)
            if units:
                return Phrase(last + 1, Fraction(units, 2), "dozen" if units == 12 else "cardinal")
            return Phrase(k + 1, Fraction(1, 2), "share")
        if word in TIMES:
            return Phrase(k + 1, Fraction(TIMES[word]), "times")
        if word == "a" and second == "dozen":
            return Phrase(k + 2, Fraction(12), "dozen")
        value, size = self._cardinal(k)
        if not size and word == "a" and second in PARTS:
            value, size = 1, 1
        part = PARTS.get(self.at(k + size)) if size == 1 and value < 10 else None
        if part:
            return Phrase(k + 2, Fraction(value, part), "share")
        if size and [self.at(k + size + i, " ") for i in range(3)] == ["and", "a", "half"]:
            return Phrase(k + size + 3, Fraction(2 * value + 1, 2), "cardinal")
        return Phrase(k + size, Fraction(value), "cardinal") if size else None

    def numbers(self, areas: Sequence[Area], marks: frozenset[int]) -> Iterator[Number]:
        k, dozens = 0, sum(w.lower in ("dozen", "dozens") for w in self.words)
        inside = Inside(areas)
        while k < len(self.words):
            found = self.phrase(k)
            if found is None:
                k += 1
                continue
            start, end = self.words[k].start, self.words[found.end - 1].end
            skip = inside.reason(start) or self._reason(k, found, start, end)
            if skip is None and found.kind == "dozen" and dozens > 1:
                skip = "repeated"
            multiple = found.kind in ("share", "times")
            role = "multiple" if multiple else role_of(self.text, (start, end, found.value), marks)
            yield Number(start, end, self.text[start:end], found.value, role, skip)
            k = found.end

    def _reason(self, k: int, found: Phrase, start: int, end: int) -> str | None:
        text, previous, after = self.text, self.before(k), self.at(found.end, " ")
        near = before(text, start)
        if IN_WORD.search(near) or CLITIC.match(text, end):
            return "word"
        if follows_label(near):
            return "label"
        if text[start].isupper() and not SENTENCE_START.search(near):
            return "name"
        if TIME.match(text, end):
            return "time"
        next_word = found.end + 1 if after == "and" else found.end
        if found.kind == "cardinal" and self.at(next_word) in ORDINALS:
            return "ordinal"
        hyphen = bool(HYPHENED.match(text, end))
        if found.kind == "share" and previous in ("other", "another"):
            return "reference"
        if found.kind == "share":
            whole = after in OF_WHOLE and previous not in NOT_OF_WHOLE and not hyphen
            return None if whole else "idiom"
        if found.kind == "times":
            return "idiom" if after == "times" or hyphen else None
        if found.kind == "cardinal" and found.value == 1:
            around = {self.before(k), self.before(k - 1), self.before(k - 2)}
            alone = hyphen or not after or after in AFTER_PRONOUN
            return "pronoun" if alone or around & DETERMINERS else None
        return "reference" if previous in REFERS else None


def number_words(text: str) -> bool:
    """Whether a text has a number in words, or a unit of them: "and a half", "dozen"."""
    words = _Words(text)
    return any(w.lower in WHOLES or words.phrase(k) for k, w in enumerate(words.words))


def number_in_words(text: str) -> Fraction | None:
    """The value of a text that starts with a number in words and has no other: "six apples", "half of it"."""
    if text.lower() == "zero":
        return Fraction(0)
    words = _Words(text)
    found = words.phrase(0) if words.words and words.words[0].start == 0 else None
    if found is None or any(words.phrase(k) for k in range(found.end, len(words.words))):
        return None
    rest = text[words.words[found.end - 1].end :]
    unit = words.at(found.end)
    if unit in WHOLES and found.kind == "cardinal":  # two dozen
        return found.value * WHOLES[unit]
    allowed = r"(?: (?:of|as) .*)?" if found.kind in ("share", "times") else r"[^\W\d_ .,'’-]*(?: .*)?"
    return found.value if re.fullmatch(allowed, rest) else None


def find_words(text: str, areas: Sequence[Area], marks: frozenset[int]) -> Iterator[Number]:
    """The numbers in words from left to right."""
    return _Words(text).numbers(areas, marks)
