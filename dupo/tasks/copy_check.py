"""Whether a translation is a copy of its source, or carries most of the source along."""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from dupo.tasks.languages import in_same_group
from dupo.tasks.scripts import LETTER_WEIGHTS, script_of


class CopyLimits(NamedTuple):
    """Shares of the source that a translation may have in the same order.

    Attributes:
        run: in one run of letters.
        total: in all, among other text.
    """

    run: float
    total: float


LIMITS, LIMITS_OF_CLOSE_LANGUAGES = CopyLimits(0.3, 0.5), CopyLimits(0.5, 0.7)
# So many letters are shared by right translations of short sentences: "Angela Merkel besucht Paris".
COPY_SLACK = 8
# Between these, references share more than half of the source (id-ms 12 %, da-nb 4 %, da-sv 1 %; any other
# pair at most 0.1 %), at most 0.8 % more than 0.7 of it, and at most 0.6 % a run of more than half of it (any
# other pair at most 0.2 % one of more than 0.3).
CLOSE_LANGUAGES = ({"da", "nb", "no", "sv"}, {"id", "ms"})
GRAM_LETTERS = 4


def copy_limits(src: str, tgt: str) -> CopyLimits:
    """Returns the limits for translations between two languages."""
    return LIMITS_OF_CLOSE_LANGUAGES if in_same_group(src, tgt, CLOSE_LANGUAGES) else LIMITS


def is_copy(source: str, text: str, limits: CopyLimits = LIMITS) -> bool:
    """Says whether `text` is the source again, or shares more of the source than the limits allow.

    Capitals, spaces and punctuation make no difference.
    """
    source_letters, text_letters = _letters(source), _letters(text)
    if source_letters == text_letters:
        return source_letters != "" or source.split() == text.split()
    run_length, total_length = (
        int(share * len(source_letters)) + COPY_SLACK + 1 for share in (limits.run, limits.total)
    )
    # The cheaper check first: a run of letters needs no table of subsequences.
    starts = range(len(source_letters) - run_length + 1)
    if any(source_letters[start : start + run_length] in text_letters for start in starts):
        return True
    return common_subsequence_length(_grams(source_letters), _grams(text_letters)) >= total_length


def common_subsequence_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Returns the length of the longest common subsequence (Hyyrö 2004).

    The row of the usual table is one integer: a bit for each place of `first`, cleared where a match ends. So
    one addition does a whole row.
    """
    places: dict[str, int] = {}
    for place, gram in enumerate(first):
        places[gram] = places.get(gram, 0) | 1 << place
    all_bits = (1 << len(first)) - 1
    row = all_bits
    for gram in second:
        matches = row & places.get(gram, 0)
        row = ((row + matches) | (row - matches)) & all_bits
    return len(first) - row.bit_count()


def _letters(text: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFKC", text).casefold() if char.isalnum())


def _grams(letters: str) -> list[str]:
    # A Han character, a syllable or a kana says as much as a few letters of an alphabet.
    return [
        char if script_of(char) in LETTER_WEIGHTS else letters[place : place + GRAM_LETTERS]
        for place, char in enumerate(letters)
    ]
