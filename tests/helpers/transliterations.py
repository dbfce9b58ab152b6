"""Transliterations of English by its sounds, as a model would write them: into kana, Hangul and Cyrillic.

Shares no code with the gates. The sounds are guessed from the spelling.
"""

import re
import unicodedata

_VOWELS = "aeiou"
# In this order: a spelling, and its sounds. G is the sound of "ng", C of "ch", S of "sh", T of "th".
_SPELLINGS = (
    ("tion|sion", "Son"),
    ("igh", "ai"),
    ("ck|kk|cc(?![eiy])", "k"),
    ("ph", "f"),
    ("tch|ch", "C"),
    ("sh", "S"),
    ("th", "T"),
    ("wh", "w"),
    ("qu", "kw"),
    ("x", "ks"),
    ("gh|^k(?=n)|^w(?=r)", ""),
    ("ng(?![aeiou])", "G"),
    ("c(?=[eiy])", "s"),
    ("c", "k"),
    ("ee|ea|ie", "i"),
    ("oo", "u"),
    ("ou|ow", "au"),
    ("ai|ay|ey", "ei"),
    ("oa|oe", "o"),
    ("(?<=[^aeiouy])y(?![aeiou])", "i"),
    (r"([bdfgklmnprstz])\1", r"\1"),
    ("(?<=[aeiou][bdfgklmnprstvzsCSTk])e(?=$|d$|s$)", ""),
)
_KANA = {
    "": "アエイオウ",
    "k": "カケキコク",
    "g": "ガゲギゴグ",
    "s": "サセシソス",
    "z": "ザゼジゾズ",
    "t": "タテチトツ",
    "d": "ダデヂドヅ",
    "n": "ナネニノヌ",
    "h": "ハヘヒホフ",
    "b": "バベビボブ",
    "p": "パペピポプ",
    "m": "マメミモム",
    "r": "ラレリロル",
}
_KANA_ALONE = {"n": "ン", "m": "ム", "G": "ング", "t": "ト", "d": "ド"}
_KANA_PAIRS = {"f": "フ", "v": "ヴ", "w": "ウ", "y": "イ", "C": "チ", "S": "シ", "j": "ジ", "T": "ス"}
_SMALL = dict(zip("aeiou", "ァェィォゥ", strict=True))
_INITIALS = dict(
    zip("kgndrmbsjChtpfvlzTS", (15, 0, 2, 3, 5, 6, 7, 9, 12, 14, 18, 16, 17, 17, 7, 5, 12, 9, 9), strict=True)
)
_FINALS = {"n": 4, "l": 8, "r": 8, "m": 16, "b": 17, "p": 17, "t": 19, "k": 1, "g": 1, "G": 21}
_MEDIALS = {
    "a": 0,
    "ya": 2,
    "e": 5,
    "ye": 7,
    "o": 8,
    "wa": 9,
    "yo": 12,
    "u": 13,
    "wo": 14,
    "we": 15,
    "wi": 16,
}
_MEDIALS |= {"yu": 17, "": 18, "i": 20, "yi": 20, "wu": 13, "w": 13, "y": 20}
_CYRILLIC = dict(
    zip(
        "abdefghijklmnoprstuvwyzCSTG",
        [*"абдефгхи", "дж", *"клмнопрстувуйзчшз", "нг"],
        strict=True,
    )
)


def sounds_of_english(word: str) -> str:
    """Returns the sounds of a word without capitals, a letter each."""
    for spelling, sounds in _SPELLINGS:
        word = re.sub(spelling, sounds, word)
    return word


def _kana(sounds: str) -> str:
    text = ""
    for consonant, vowel in re.findall(r"([^aeiou]?)([aeiou]?)", sounds):
        consonant = {"l": "r", "q": "k"}.get(consonant, consonant)
        if consonant in _KANA_PAIRS:
            text += _KANA_PAIRS[consonant] + _SMALL.get(vowel, "")
        elif vowel and consonant in _KANA:
            text += _KANA[consonant][_VOWELS.index(vowel)]
        elif vowel and consonant == "G":
            text += "ン" + _KANA["g"][_VOWELS.index(vowel)]
        elif consonant:
            text += _KANA_ALONE.get(consonant) or _KANA[consonant][4]
    return text


def _hangul(sounds: str) -> str:
    text = ""
    for consonant, vowel, final in re.findall(
        r"([^aeiouwy]?)([wy]?[aeiou]|[wy]|)([nlrmbptkgG](?![aeiouwy])|)", sounds
    ):
        if not vowel and not consonant and not final:
            continue
        initial = 11 if consonant in ("", "G") else _INITIALS[consonant.replace("q", "k")]
        text += chr(0xAC00 + (initial * 21 + _MEDIALS[vowel]) * 28 + _FINALS.get(final, 0))
    return text


def _cyrillic(sounds: str) -> str:
    return "".join(_CYRILLIC.get(sound, sound) for sound in sounds)


WRITERS = {"ja": _kana, "ko": _hangul, "ru": _cyrillic}


def transliterated_by_sound(text: str, code: str) -> str:
    """Writes an English text in the letters of another language, as it sounds."""
    write = WRITERS[code]
    return re.sub(r"[a-z]+", lambda match: write(sounds_of_english(match[0])), text.casefold())


def romanised(text: str) -> str:
    """Writes Korean in Latin letters, by the names of its syllables."""
    return "".join(
        unicodedata.name(char).split()[-1].casefold() if "\uac00" <= char <= "\ud7a3" else char
        for char in text
    )
