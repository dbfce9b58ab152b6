"""Words of a text, weighed by their letters, and which of them are names that a translation keeps."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from dupo.tasks.scripts import script_of, scripts_of_language, weight_of

# Written without spaces: each character is a word.
UNSPACED = {"CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "THAI"}
_WORD = re.compile(r"[^\W_]+")
_SENTENCE_END = frozenset(".!?:;…。！？：；\n")
CACHED_TEXTS = 2**13


class Word(NamedTuple):
    """One word.

    Attributes:
        text: as it is written.
        key: equal for words that differ in capitals or width only.
        weight: its letters, as letters of an alphabet.
        opens: the first word of a sentence, where a capital says nothing.
    """

    text: str
    key: str
    weight: float
    opens: bool


@lru_cache(maxsize=CACHED_TEXTS)
def words_of(text: str) -> tuple[Word, ...]:
    """Splits a text into words."""
    text = unicodedata.normalize("NFKC", text)
    words, last_end = list[Word](), 0
    for match in _WORD.finditer(text):
        between = text[last_end : match.start()]
        opens = not words or not _SENTENCE_END.isdisjoint(between)
        last_end = match.end()
        for piece in _pieces(match[0]):
            weight = float(len(piece)) if piece.isascii() else weight_of(piece)
            words.append(Word(piece, piece.casefold(), weight, opens))
            opens = False
    return tuple(words)


def _pieces(run: str) -> Sequence[str]:
    if run.isascii():
        return (run,)
    pieces = [""]
    for char in run:
        if script_of(char) in UNSPACED:
            pieces += [char, ""]
        else:
            pieces[-1] += char
    return [piece for piece in pieces if piece]


@lru_cache(maxsize=CACHED_TEXTS)
def names_of(source: str, code: str) -> frozenset[str]:
    """Returns the keys of words of a source in language `code` that a translation may keep as they are.

    These are numbers, words in another script than that of the language, and words with a capital in the
    middle of a sentence. German nouns are among these words: the words between them tell a copy.
    """
    words, expected = words_of(source), scripts_of_language(code)
    names = set[str]()
    for word in words:
        is_number = any(char.isdigit() for char in word.text)
        is_foreign = bool(expected) and script_of(word.text[0]) not in expected
        is_capital = word.text[0].isupper() and not word.opens
        if is_number or is_foreign or is_capital:
            names.add(word.key)
    # The first word belongs to the name that goes on after it: Orin Telvanni.
    for word, following in pairwise(words):
        if word.opens and word.text[0].isupper() and following.key in names and not following.opens:
            names.add(word.key)
    return frozenset(names)
