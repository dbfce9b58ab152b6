"""Whether a text is its source in disguise: other letters for its letters, or characters that are not seen.

A substitution of letters (rot13, "l33t", another script letter by letter) leaves the shape of every word: how
long it is, and where it has the same letter again. A transliteration by sound leaves the consonants in their
order, which are told by the names of the letters.
"""

import re
import unicodedata
from collections import Counter
from functools import lru_cache

from dupo.tasks.copy_check import common_subsequence_length
from dupo.tasks.scripts import script_of
from dupo.tasks.words import CACHED_TEXTS

# Scripts that have letters of one look: a word in two of them is spelt to deceive.
LOOK_ALIKE = {"LATIN", "CYRILLIC", "GREEK"}
# A right text has at most so many words in two scripts.
FEW_MIXED = 2
# Words in two scripts are a disguise above this share of the words.
MIXED_SHARE = 0.2
# A right text has at most so many characters that are not seen.
FEW_UNSEEN = 1
# Shapes of shorter words stand in any text.
SHAPED_LETTERS = 4
# Texts with fewer such words share their shapes by chance.
SHAPED_WORDS = 5
# Of shapes shared in one script: references at most 0.82 (pt-es), 95 % of sources in rot13 at least 0.96.
SHAPE_SHARE = 0.9
# Of shapes shared in two scripts: references at most 0.67 (vi-ar), most transliterated sources more.
SHAPE_SHARE_OF_TWO_SCRIPTS = 0.7
# Of consonants shared in two scripts: references at most 0.54 (pl-uk), 90 % of sources by sound 0.58.
SOUND_SHARE = 0.56
# Of both shares together, where a transliteration has a little less of each: references at most 0.89 (hr-uk).
SUM_OF_SHARES = 0.92
# Consonants that are compared at once: single ones stand in the same order in any two texts.
SOUND_GRAM = 4
# The same in kana and Hangul, whose syllables part what stands together in an alphabet.
SOUND_GRAM_OF_SYLLABLES = 2
# Of consonants shared so: references at most 0.55 from English (0.59 from any of 12 languages), 95 % of
# sources in kana or Hangul, by sound, at least 0.61.
SOUND_SHARE_OF_SYLLABLES = 0.6
SYLLABLES = {"HANGUL", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"}
# Texts with fewer consonants share them by chance.
LEAST_SOUNDS = 12
_WORD = re.compile(r"[^\W_]+")
# Consonants that transliterations take for each other (Soundex, but for l and r: Japanese and Korean have one
# letter for both).
_CLASSES = {
    char: group for group, chars in enumerate(("bfpv", "cgjkqsxz", "dt", "lr", "mn")) for char in chars
}
# CYRILLIC SMALL LETTER ZHE, KATAKANA LETTER KA, THAI CHARACTER KO KAI, HANGUL CHOSEONG SSANGKIYEOK.
_SPELT = re.compile(r"(?:LETTER(?: SHORT| SMALL)?|CHARACTER|CHOSEONG|JONGSEONG) (?:SSANG)?(\w+)")
# Letters whose names have consonants that are not heard: vowels, signs, a doubled consonant in kana.
_UNHEARD = re.compile(
    r"LETTER (?:ALEF|AIN|HAMZA)|(?:SOFT|HARD) SIGN|YERU|UKRAINIAN I$|CHARACTER SARA|SMALL TU$|CHOSEONG IEUNG"
)
_F_IN_KANA = re.compile(r"(?:HIRAGANA|KATAKANA) LETTER HU$")


def is_misspelt(source: str, text: str) -> bool:
    """Says whether words of a text hold letters of two scripts, or characters that are not seen."""
    if text.isascii():
        return False
    mixed = _mixed(text)
    if mixed > max(FEW_MIXED, _mixed(source)) and mixed > MIXED_SHARE * len(text.split()):
        return True
    return _unseen(text) > max(FEW_UNSEEN, _unseen(source))


def _mixed(text: str) -> int:
    return sum(len({script_of(char) for char in word} & LOOK_ALIKE) > 1 for word in text.split())


def _unseen(text: str) -> int:
    return sum(
        unicodedata.category(char) == "Cf" and before.isalnum() and after.isalnum()
        for before, char, after in zip(text, text[1:], text[2:], strict=False)
    )


def is_substitution(source: str, text: str) -> bool:
    """Says whether most words of the source stand in a text with other letters for their letters."""
    if main_script(source) == main_script(text):
        return shape_share(source, text) > SHAPE_SHARE
    # Names in the letters of the source sound alike.
    words = [_WORD.findall(string.casefold()) for string in (source, text)]
    shared = set(words[0]) & set(words[1])
    source, text = (" ".join(word for word in side if word not in shared) for side in words)
    if SYLLABLES & {main_script(source), main_script(text)}:
        return sound_share(source, text, SOUND_GRAM_OF_SYLLABLES) > SOUND_SHARE_OF_SYLLABLES
    shapes, sounds = shape_share(source, text), sound_share(source, text, SOUND_GRAM)
    return shapes > SHAPE_SHARE_OF_TWO_SCRIPTS or sounds > SOUND_SHARE or shapes + sounds > SUM_OF_SHARES


@lru_cache(maxsize=CACHED_TEXTS)
def main_script(text: str) -> str:
    """Returns the script of most letters of a text; empty for a text without letters."""
    counts = Counter(script_of(char) for char in text if char.isalpha())
    return counts.most_common(1)[0][0] if counts else ""


def shape_share(source: str, text: str) -> float:
    """Returns the share of long words of the source whose shapes stand in a text in the same order."""
    first, second = shapes_of(source), shapes_of(text)
    if len(first) < SHAPED_WORDS:
        return 0.0
    return common_subsequence_length(first, second) / max(len(first), len(second))


@lru_cache(maxsize=CACHED_TEXTS)
def shapes_of(text: str) -> tuple[str, ...]:
    """Returns the shape of each long word: `hello` has the shape 0 1 2 2 4."""
    words = [word for word in _WORD.findall(text.casefold()) if len(word) >= SHAPED_LETTERS]
    return tuple("".join(chr(word.index(char)) for char in word) for word in words)


def sound_share(source: str, text: str, gram: int) -> float:
    """Returns the share of the consonants of the source that stand in a text in the same order.

    Args:
        source: the text that was translated.
        text: the translation.
        gram: consonants that are compared at once.
    """
    first, second = sounds_of(source), sounds_of(text)
    if len(first) < LEAST_SOUNDS or len(second) < LEAST_SOUNDS:
        return 0.0
    grams = [[sounds[k : k + gram] for k in range(len(sounds) - gram + 1)] for sounds in (first, second)]
    return common_subsequence_length(*grams) / max(map(len, grams))


@lru_cache(maxsize=CACHED_TEXTS)
def sounds_of(text: str) -> str:
    """Returns the classes of the consonants of a text, equal neighbours once."""
    classes = [_sound(char) for char in unicodedata.normalize("NFKD", text.casefold())]
    return re.sub(r"(.)\1+", r"\1", "".join(classes))


@lru_cache(maxsize=2**14)
def _sound(char: str) -> str:
    if not char.isalpha():
        return ""
    name = unicodedata.name(char, "")
    if _UNHEARD.search(name):
        return ""
    if _F_IN_KANA.match(name):
        return str(_CLASSES["f"])
    spelt = _SPELT.search(name)
    letters = spelt[1].casefold() if spelt else ""
    return next((str(_CLASSES[letter]) for letter in letters if letter in _CLASSES), "")
