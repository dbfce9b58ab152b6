"""Words of a source distorted one by one, at little effort: what a model may write in place of a translation.

Shares no code with the gates.
"""

import random
import re
import unicodedata
from collections.abc import Callable

_VOWELS = "aeiouyаеиоуыэюяіїє"


def _is_vowel(char: str) -> bool:
    return unicodedata.normalize("NFD", char)[0].casefold() in _VOWELS


def _without_vowels(word: str) -> str:
    return "".join(char for char in word if not _is_vowel(char)) or word[0]


def _pig_latin(word: str) -> str:
    start = next((place for place, char in enumerate(word) if _is_vowel(char)), 0)
    return word[start:] + word[:start] + "ay"


def _scrambled(word: str) -> str:
    inner = list(word[1:-1])
    random.Random(len(word)).shuffle(inner)
    return word[0] + "".join(inner) + word[-1] if len(word) > 3 else word


DISTORTIONS: dict[str, Callable[[str], str]] = {
    "words without vowels": _without_vowels,
    "words reversed": lambda word: word[::-1],
    "pig latin": _pig_latin,
    "words with a prefix": lambda word: "ge" + word,
    "words with an ending": lambda word: word + "os",
    "words scrambled inside": _scrambled,
    "letters doubled": lambda word: "".join(char * 2 for char in word),
}


def distorted(source: str) -> dict[str, str]:
    """Returns a source in letters of an alphabet with all its words distorted, by kind."""
    return {
        kind: re.sub(r"[^\W\d_]+", lambda match, distort=distort: distort(match[0]), source)
        for kind, distort in DISTORTIONS.items()
    }
