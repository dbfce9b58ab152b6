"""Numbers in English words: cardinals, halves and other shares, twice, a dozen.

Twin of csrc/numbers_words.cpp.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from dupo.text.numbers.base import (
    END,
    LETTER,
    SPACE,
    START,
    WORDLIKE,
    Area,
    AreaScanner,
    Number,
    text_before,
)
from dupo.text.numbers.rules import CLOCK_AFTER, follows_label, role_of


def _numbered(words: str, first: int, step: int = 1) -> dict[str, int]:
    return {word: first + step * k for k, word in enumerate(words.split())}


def _words_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


UNITS = _numbered("one two three four five six seven eight nine", 1)
SMALL = UNITS | _numbered(
    "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen", 10
)
TENS = _numbered("twenty thirty forty fifty sixty seventy eighty ninety", 20, 10)
POWERS_OF_1000 = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
SHARES = {"half": 2, "quarter": 4, "twelfth": 12, "twentieth": 20, "hundredth": 100}
SHARES |= _numbered("third fourth fifth sixth seventh eighth ninth tenth", 3)
SHARES |= {share + "s": k for share, k in SHARES.items() if share != "half"}
MULTIPLES = {"twice": 2, "thrice": 3}
COLLECTIVES = {"dozen": 12, "hundred": 100, **POWERS_OF_1000}  # half a ...
ORDINALS = _words_of("first second third fourth fifth sixth seventh eighth ninth")

# Words beside a number in words that tell whether the number is a quantity.
DETERMINERS = _words_of(
    "the this that these those each every any no which a an another other his her their its my your our"
)
REFERRING = _words_of("the these those all both other any either")
AFTER_PRONOUN = _words_of(
    "monday tuesday wednesday thursday friday saturday sunday weekend summer winter spring autumn fall season"
    " holiday semester of and or another day morning night evening afternoon side that who which is was are were has had will"
    " would can could did does in on at to for from with by as but because if when where while than every"
    " each after before so then he she it they we i you this these those the a an"
)
# "half of it", "half off", but not "the second half of it".
WORDS_AFTER_HALF = _words_of("as of off price the that this what his her its their my your our an a")
WORDS_BEFORE_NO_SHARE = _words_of("the first second third other another last next each every this that")

WORD = re.compile(rf"{START}[A-Za-z]+{END}")
SENTENCE_START = re.compile(rf"(?:\A|[.!?:;\n])(?:{SPACE}|[\"'“”‘’(*])*\Z")
TIME_AFTER = re.compile(CLOCK_AFTER, re.A | re.I)
IN_WORD_BEFORE = re.compile(rf"{WORDLIKE}[-'’]\Z|[@&\\#]\Z")
CLITIC_AFTER = re.compile(rf"['’]{LETTER}")
HYPHEN_AFTER = re.compile(rf"-{LETTER}")


class Word(NamedTuple):
    """An English word, `text[start:end]`, and the word in lower case."""

    start: int
    end: int
    lower: str


class Cardinal(NamedTuple):
    """A whole number in words, and how many words it takes; 0 words: no number."""

    value: int
    words: int


NO_CARDINAL = Cardinal(0, 0)


class Phrase(NamedTuple):
    """A number in words that ends before word `end`. `kind`: cardinal, dozen, share, times."""

    end: int
    value: Fraction
    kind: str


class _Words:
    """The English words of a text, and the numbers that the words name."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = [Word(m.start(), m.end(), m[0].lower()) for m in WORD.finditer(text)]

    def word(self, k: int) -> str:
        """Returns word k in lower case, "" where there is no word k."""
        return self.words[k].lower if 0 <= k < len(self.words) else ""

    def adjoining(self, k: int, gaps: str = " -") -> str:
        """Returns word k if a single character of `gaps` separates it from word k - 1, else ""."""
        if not 0 < k < len(self.words):
            return ""
        gap = self.text[self.words[k - 1].end : self.words[k].start]
        return self.words[k].lower if len(gap) == 1 and gap in gaps else ""

    def previous(self, k: int) -> str:
        """Returns word k - 1 if a single space separates it from word k, else ""."""
        return self.words[k - 1].lower if self.adjoining(k, " ") else ""

    def phrase(self, k: int) -> Phrase | None:
        """Returns the number that starts with word k, if any."""
        word, second = self.word(k), self.adjoining(k + 1)
        # "half a dozen" is 6, "half a million" is 500,000; any other "half" is a share.
        if word == "half":
            last = k + 2 if second == "a" else k + 1
            units = COLLECTIVES.get(self.adjoining(last), 0)
            if units:
                return Phrase(last + 1, Fraction(units, 2), "dozen" if units == 12 else "cardinal")
            return Phrase(k + 1, Fraction(1, 2), "share")
        if word in MULTIPLES:
            return Phrase(k + 1, Fraction(MULTIPLES[word]), "times")
        if word == "a" and second == "dozen":
            return Phrase(k + 2, Fraction(12), "dozen")
        value, words = self._cardinal(k)
        if not words and word == "a" and second in SHARES:
            value, words = 1, 1
        # One to nine parts: "two thirds" is a share, "twenty-one thirds" is not.
        share = SHARES.get(self.adjoining(k + words)) if words == 1 and value < 10 else None
        if share:
            return Phrase(k + 2, Fraction(value, share), "share")
        if words and [self.adjoining(k + words + i, " ") for i in range(3)] == ["and", "a", "half"]:
            return Phrase(k + words + 3, Fraction(2 * value + 1, 2), "cardinal")
        return Phrase(k + words, Fraction(value), "cardinal") if words else None

    def numbers(self, areas: Sequence[Area], dollars: frozenset[int]) -> Iterator[Number]:
        """Yields the numbers in words from left to right. dollars: `formula_dollars` of the text."""
        k, dozens = 0, sum(w.lower in ("dozen", "dozens") for w in self.words)
        scanner = AreaScanner(areas)
        while k < len(self.words):
            phrase = self.phrase(k)
            if phrase is None:
                k += 1
                continue
            start, end = self.words[k].start, self.words[phrase.end - 1].end
            skip = scanner.reason_at(start) or self._reason(k, phrase, start, end)
            # With several dozens in the text, the others would give the hidden dozen away.
            if skip is None and phrase.kind == "dozen" and dozens > 1:
                skip = "repeated"
            if phrase.kind in ("share", "times"):
                role = "multiple"
            else:
                role = role_of(self.text, start, end, phrase.value, dollars)
            yield Number(start, end, self.text[start:end], phrase.value, role, skip)
            k = phrase.end

    def _below_100(self, k: int) -> Cardinal:
        word = self.word(k)
        if word in TENS:
            unit = UNITS.get(self.adjoining(k + 1), 0)
            return Cardinal(TENS[word] + unit, 2 if unit else 1)
        return Cardinal(SMALL[word], 1) if word in SMALL else NO_CARDINAL

    def _below_1000(self, k: int) -> Cardinal:
        value, words = self._below_100(k)
        if not words and self.word(k) == "a" and self.adjoining(k + 1) == "hundred":
            value, words = 1, 1
        if words and self.adjoining(k + words) == "hundred":
            remainder = self._remainder(k + words + 1, self._below_100)
            value, words = value * 100 + remainder.value, words + 1 + remainder.words
        return Cardinal(value, words)

    def _cardinal(self, k: int, limit: int = 10**12) -> Cardinal:
        """Reads the whole number below `limit` that starts with word k."""
        value, words = self._below_1000(k)
        if not words and self.word(k) == "a" and self.adjoining(k + 1) in POWERS_OF_1000:
            value, words = 1, 1
        # Powers fall from left to right: "two million three thousand", never the other way round.
        power = POWERS_OF_1000.get(self.adjoining(k + words), limit) if words else limit
        if power < limit:
            remainder = self._remainder(k + words + 1, lambda k: self._cardinal(k, power))
            value, words = value * power + remainder.value, words + 1 + remainder.words
        return Cardinal(value, words)

    def _remainder(self, k: int, read: Callable[[int], Cardinal]) -> Cardinal:
        """Reads what follows "hundred" or "thousand": "[and] forty-four"."""
        skip = 1 if self.adjoining(k, " ") == "and" else 0
        # "two hundred and a half": the number does not go on with "a".
        word = self.adjoining(k + skip, " ")
        value, words = read(k + skip) if word and word != "a" else NO_CARDINAL
        return Cardinal(value, words + skip) if words else NO_CARDINAL

    def _reason(self, k: int, phrase: Phrase, start: int, end: int) -> str | None:
        """Tells why the number `text[start:end]` may not be hidden; None if the number may be hidden."""
        text, previous, after = self.text, self.previous(k), self.adjoining(phrase.end, " ")
        context = text_before(text, start)
        if IN_WORD_BEFORE.search(context) or CLITIC_AFTER.match(text, end):
            return "word"
        if follows_label(context):
            return "label"
        if text[start].isupper() and not SENTENCE_START.search(context):
            return "name"
        if TIME_AFTER.match(text, end):
            return "time"
        # "the twenty-first", "the hundred and first"
        next_word = phrase.end + 1 if after == "and" else phrase.end
        if phrase.kind == "cardinal" and self.adjoining(next_word) in ORDINALS:
            return "ordinal"
        hyphen = bool(HYPHEN_AFTER.match(text, end))
        if phrase.kind == "share" and previous in ("other", "another"):
            return "reference"
        if phrase.kind == "share":
            of_something = after in WORDS_AFTER_HALF and previous not in WORDS_BEFORE_NO_SHARE and not hyphen
            return None if of_something else "idiom"
        if phrase.kind == "times":
            return "idiom" if after == "times" or hyphen else None
        if phrase.kind == "cardinal" and phrase.value == 1:
            # "one" is a number only before a noun, and only where no determiner makes it a pronoun.
            words_before = {self.previous(k), self.previous(k - 1), self.previous(k - 2)}
            alone = hyphen or not after or after in AFTER_PRONOUN
            return "pronoun" if alone or words_before & DETERMINERS else None
        # "the other four hundred people": nobody counts to a hundred to point back.
        large = previous == "other" and phrase.value >= 100
        return "reference" if previous in REFERRING and not large else None


def has_number_words(text: str) -> bool:
    """Tells whether a text has a number in words, or a unit of such numbers: "and a half", "dozen"."""
    words = _Words(text)
    return any(w.lower in COLLECTIVES or words.phrase(k) for k, w in enumerate(words.words))


def number_in_words(text: str) -> Fraction | None:
    """Returns the value of a text that starts with its only number, in words: "six apples", "half of it"."""
    if text.lower() == "zero":
        return Fraction(0)
    # A second number would make the value ambiguous.
    words = _Words(text)
    phrase = words.phrase(0) if words.words and words.words[0].start == 0 else None
    if phrase is None or any(words.phrase(k) for k in range(phrase.end, len(words.words))):
        return None
    after = text[words.words[phrase.end - 1].end :]
    unit = words.adjoining(phrase.end)
    if unit in COLLECTIVES and phrase.kind == "cardinal":  # two dozen
        return phrase.value * COLLECTIVES[unit]
    allowed = r"(?: (?:of|as) .*)?" if phrase.kind in ("share", "times") else r"[^\W\d_ .,'’-]*(?: .*)?"
    return phrase.value if re.fullmatch(allowed, after) else None


def find_words(text: str, areas: Sequence[Area], dollars: frozenset[int]) -> Iterator[Number]:
    """Yields the numbers in words from left to right. dollars: `formula_dollars` of the text."""
    return _Words(text).numbers(areas, dollars)
