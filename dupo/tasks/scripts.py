"""Scripts: which letters a language is written with, and how long a text is in letters of any script."""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from dupo.tasks.languages import language_of

# ISO 15924, with the first words of the Unicode names of the letters.
SCRIPTS = {
    "Arab": {"ARABIC"},
    "Cyrl": {"CYRILLIC"},
    "Grek": {"GREEK"},
    "Hans": {"CJK", "IDEOGRAPHIC"},
    "Hant": {"CJK", "IDEOGRAPHIC"},
    "Jpan": {"HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "CJK", "IDEOGRAPHIC"},
    "Kore": {"HANGUL"},
    "Latn": {"LATIN"},
    "Thai": {"THAI"},
}
_LATIN = "cs da de en es fi fr hr hu id it ms nb nl no pl pt ro sv tr vi"
_OTHERS = {"ar": "Arab", "el": "Grek", "ja": "Jpan", "ko": "Kore", "th": "Thai", "zh": "Hans"}
SCRIPT_OF: dict[str, str] = (
    dict.fromkeys(_LATIN.split(), "Latn") | dict.fromkeys(("ru", "uk"), "Cyrl") | _OTHERS
)
# Letters of an alphabet that carry as much as one character of these scripts.
LETTER_WEIGHTS: dict[str, float] = {
    "CJK": 2.9,
    "IDEOGRAPHIC": 2.9,
    "HANGUL": 2.3,
    "HIRAGANA": 1.6,
    "KATAKANA": 1.6,
}
# Added to both lengths before they are compared: "OK" may become "In Ordnung".
LENGTH_SLACK = 10


@lru_cache(maxsize=2**16)  # texts repeat few characters, and looking up a name is slow
def script_of(char: str) -> str:
    """Returns the script of a letter, the first word of its name: LATIN, CJK; empty for what is no letter."""
    return unicodedata.name(char, "").split(" ")[0] if char.isalpha() else ""


def scripts_of_language(code: str) -> set[str]:
    """Returns the scripts of a language, or of the subtag of its code (uk-Latn); empty: unknown."""
    subtag = next((tag.title() for tag in re.split("[-_]", code)[1:] if len(tag) == 4), None)
    return SCRIPTS.get(subtag or SCRIPT_OF.get(language_of(code), ""), set())


def is_in_script(text: str, code: str) -> bool:
    """Says whether at least half of the letters, by weight, are in the script of a language.

    Half is enough, because Chinese with foreign names has many Latin letters. True if there are no letters,
    or if the script of the language is unknown.
    """
    expected = scripts_of_language(code)
    scripts = [script_of(char) for char in unicodedata.normalize("NFKC", text)]
    inside = _weight(script for script in scripts if script in expected)
    outside = _weight(script for script in scripts if script and script not in expected)
    # An unknown script refuses nothing: a gate must not fail every answer of a language.
    return not expected or inside >= outside


def weight_of(text: str) -> float:
    """Returns how many letters of an alphabet a text without blanks is worth."""
    return _weight(map(script_of, text))


def has_letters(text: str) -> bool:
    """Says whether at least a third of what is written in a text is letters: not of digits or signs alone."""
    written = [char for char in text if not char.isspace() and unicodedata.category(char) not in ("Mn", "Mc")]
    return 3 * sum(char.isalpha() for char in written) >= len(written) > 0


def length_ratio(first: str, second: str) -> float:
    """Returns how many times longer the longer text is, at least 1; short texts count as nearly equal."""
    lengths = [
        _weight(script_of(char) for char in text if not char.isspace()) + LENGTH_SLACK
        for text in (first, second)
    ]
    return max(lengths) / min(lengths)


def _weight(scripts: Iterable[str]) -> float:
    return sum(LETTER_WEIGHTS.get(script, 1.0) for script in scripts)
