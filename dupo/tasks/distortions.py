"""Whether a text is its source with the letters of each word moved, left out or added to.

A word and its distortion are nested: one has all letters of the other. Words reversed, without vowels, in pig
latin, behind a prefix or with doubled letters are such.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from dupo.tasks.copy_check import num_in_order
from dupo.tasks.words import CACHED_TEXTS, words_of

# The letters of shorter words stand in any word.
LEAST_LETTERS = 4
# Longer words have the letters of any short one.
MOST_RATIO = 2.2
# Of the long words of a source so large a share is nested, in the same order, and so many words more. Fitted
# references nest at most half of 6 words or more; 97 % of sources with distorted words at least 0.57.
SHARE = 0.5
SPARE_WORDS = 2


def is_distortion(source: str, text: str) -> bool:
    """Says whether most long words of the source stand in a text with their letters moved, less or more."""
    first, second = _words(source, LEAST_LETTERS), _words(text, 2)
    nested = [
        sum(1 << place for place, word in enumerate(first) if _is_nested(word, other)) for other in second
    ]
    return num_in_order(nested, len(first)) >= SHARE * len(first) + SPARE_WORDS


def _words(text: str, least: int) -> Sequence[str]:
    return [word.key for word in words_of(text) if len(word.key) >= least and word.key.isalpha()]


def _is_nested(word: str, other: str) -> bool:
    """Whether one of two different words has all letters of the other."""
    short, long = sorted((word, other), key=len)
    if word == other or len(long) > MOST_RATIO * len(short) or not _set(short) <= _set(long):
        return False
    return _counts(short) <= _counts(long)


@lru_cache(maxsize=CACHED_TEXTS)
def _set(word: str) -> frozenset[str]:
    return frozenset(word)


@lru_cache(maxsize=CACHED_TEXTS)
def _counts(word: str) -> Counter[str]:
    return Counter(word)
