"""Whether a translation says the same again: one word over and over, or much of the text twice."""

import math

from dupo.tasks.words import words_of

# The text begins with so large a share of itself as it ends with. References have at most 0.1.
BORDER = 0.4
# A passage of so large a share of the text stands in it twice. References have at most 0.24.
AGAIN = 0.28
# Shorter texts may say "again and again".
LEAST_LETTERS_AGAIN = 40
HASH_BASE, HASH_MODULUS = 1_000_003, 2**61 - 1
# Shorter texts may repeat themselves: "Bye bye", "No, no".
LEAST_WEIGHT = 16.0
# One word makes up more than this share of the words.
COMMON = 0.5
LEAST_WORDS = 4


def is_repetition(source: str, text: str) -> bool:
    """Says whether a text repeats itself, and its source does not."""
    if _repeats(text):
        return not _repeats(source)
    letters = _letters(text)
    is_long = len(letters) >= LEAST_LETTERS_AGAIN
    # A source that says less again may need more words for that in the translation.
    return is_long and says_again(letters, AGAIN) and not says_again(_letters(source), AGAIN / 2)


def _repeats(text: str) -> bool:
    words = words_of(text)
    if sum(word.weight for word in words) < LEAST_WEIGHT:
        return False
    keys = [word.key for word in words]
    if len(keys) >= LEAST_WORDS and max(map(keys.count, set(keys))) > COMMON * len(keys):
        return True
    letters = _letters(text)
    return border_length(letters) >= BORDER * len(letters)


def _letters(text: str) -> str:
    return "".join(word.key for word in words_of(text))


def says_again(text: str, share: float) -> bool:
    """Says whether a passage of that share of a text stands in the text twice, apart from itself.

    Rolling hashes (Karp, Rabin) stand for the passages: a text may be long.
    """
    length, first, passage = math.ceil(share * len(text)), dict[int, int](), 0
    leaving = pow(HASH_BASE, length, HASH_MODULUS)
    for end, char in enumerate(text, start=1):
        passage = passage * HASH_BASE + ord(char)
        if end > length:
            passage -= leaving * ord(text[end - length - 1])
        passage %= HASH_MODULUS
        if end >= length and end - first.setdefault(passage, end) >= length:
            return True
    return False


def border_length(text: str) -> int:
    """Returns the length of the longest proper prefix that is a suffix too (Knuth, Morris, Pratt)."""
    lengths, length = [0] * len(text), 0
    for place in range(1, len(text)):
        while length and text[place] != text[length]:
            length = lengths[length - 1]
        if text[place] == text[length]:
            length += 1
        lengths[place] = length
    return length
