"""Languages: their names, the codes that name them, and which of them are close to each other."""

import re
from collections.abc import Sequence

# The languages of Seed-X, on which DuPO was tried.
LANGUAGES = {
    "ar": "Arabic",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "fr": "French",
    "hr": "Croatian",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "ms": "Malay",
    "nb": "Norwegian Bokmål",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sv": "Swedish",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
# As the languages call themselves, in the order of `LANGUAGES`.
_OWN_NAMES = """العربية čeština dansk deutsch ελληνικά english español suomi français hrvatski magyar
    indonesia italiano 日本語 한국어 melayu norsk_bokmål nederlands norsk polski português română
    русский svenska ไทย türkçe українська tiếng_việt 中文"""
OWN_NAMES = dict(zip(LANGUAGES, [name.replace("_", " ") for name in _OWN_NAMES.split()], strict=True))
# Pairs: a code of three letters (ISO 639-2 or 639-3), and the code of two letters of the same language.
_CODE_PAIRS = """ara ar arb ar ces cs dan da deu de ell el eng en spa es fin fi fra fr hrv hr hun hu ind id
    ita it jpn ja kor ko msa ms zsm ms nob nb nor no nld nl pol pl por pt ron ro rus ru swe sv tha th tur tr
    ukr uk vie vi zho zh cmn zh"""
SHORT_CODES: dict[str, str] = dict(zip(_CODE_PAIRS.split()[::2], _CODE_PAIRS.split()[1::2], strict=True))


def language_of(code: str) -> str:
    """Returns the code of two letters: `zh` for zh, zh-CN, zh_Hans and zho_Hans."""
    # Regions and scripts (CN, Hans) are left out: they do not change the language.
    base = re.split("[-_]", code.strip().lower())[0]
    return SHORT_CODES.get(base, base)


def in_same_group(src: str, tgt: str, groups: Sequence[set[str]]) -> bool:
    """Says whether one of the groups of languages has both languages."""
    return any({language_of(src), language_of(tgt)} <= group for group in groups)
