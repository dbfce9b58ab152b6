"""Whether a text is its source in disguise: other letters for its letters, or characters that are not seen.

A substitution of letters (rot13, "l33t", another script letter by letter) leaves the shape of every word: where
it has the same letter again, and how long it is.
"""

import unicodedata

from dupo.tasks.scripts import script_of

# Scripts that have letters of one look: a word in two of them is spelt to deceive.
LOOK_ALIKE = {"LATIN", "CYRILLIC", "GREEK"}
# So many such words, or words with characters that are not seen, no reference has.
FEW = 2
MIXED_SHARE = 0.2


def is_misspelt(source: str, text: str) -> bool:
    """Says whether words of a text hold letters of two scripts, or characters that are not seen."""
    words = text.split()
    odd = sum(_is_odd(word) for word in words)
    return odd > FEW and odd > MIXED_SHARE * len(words) and not any(map(_is_odd, source.split()))


def _is_odd(word: str) -> bool:
    if word.isascii():
        return False
    unseen = any(unicodedata.category(char) == "Cf" for char in word[1:-1])
    return unseen or len({script_of(char) for char in word} & LOOK_ALIKE) > 1


def is_substitution(source: str, text: str) -> bool:
    """Says whether most words of the source stand in a text with other letters for their letters."""
    return False


def is_transliteration(source: str, text: str) -> bool:
    """Says whether a text spells its source in another script."""
    return False
