"""Whether a translation says the same again: one word over and over, or all of the text twice."""

from dupo.tasks.words import words_of

# The text begins with so large a share of itself as it ends with. References have at most 0.1.
BORDER = 0.4
# Shorter texts may repeat themselves: "Bye bye", "No, no".
LEAST_WEIGHT = 16.0
# One word makes up more than this share of the words.
COMMON = 0.5
LEAST_WORDS = 4


def is_repetition(source: str, text: str) -> bool:
    """Says whether a text repeats itself, and its source does not."""
    return _repeats(text) and not _repeats(source)


def _repeats(text: str) -> bool:
    words = words_of(text)
    if sum(word.weight for word in words) < LEAST_WEIGHT:
        return False
    keys = [word.key for word in words]
    if len(keys) >= LEAST_WORDS and max(map(keys.count, set(keys))) > COMMON * len(keys):
        return True
    letters = "".join(keys)
    return border_length(letters) >= BORDER * len(letters)


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
