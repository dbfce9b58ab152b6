"""Failures planted among translations: what gates refuse, what they unwrap, and the directions to try.

Shares no code with the gates.
"""

import codecs
import random
from collections.abc import Callable

from tests.helpers.distorted_sources import distorted
from tests.helpers.planted_declines import NOT_KNOWING, NOT_UNDERSTOOD
from tests.helpers.transliterations import WRITERS, romanised, transliterated_by_sound

_DIRECTIONS = """en-de de-en en-fr fr-en en-zh zh-en en-ja ja-en en-ru ru-en en-ko ko-en en-ar ar-en da-nb
    nb-da da-sv sv-nb id-ms ms-id cs-pl pt-es es-pt pl-hr hr-cs uk-ru ru-uk it-es"""
DIRECTIONS = _DIRECTIONS.split()
# Related languages, where half of the failures may pass: the targets that the text names.
RELATED_TARGETS = {"hr", "id", "ms", "da", "nb", "sv"}
THIRD_LANGUAGES = {
    "ar": "fr tr",
    "cs": "pl hr en",
    "da": "nb sv de",
    "de": "nl fr da",
    "en": "de fr nl",
    "es": "pt it fr",
    "fr": "es it de",
    "hr": "cs pl en",
    "id": "ms en",
    "ja": "zh ko en",
    "ko": "ja zh en",
    "ms": "id en",
    "nb": "da sv de",
    "pl": "cs hr uk",
    "pt": "es it fr",
    "ru": "uk en",
    "sv": "nb da de",
    "uk": "ru pl",
    "zh": "ja ko en",
}
CYRILLIC = dict(zip("abcdefghijklmnopqrstuvwxyz", "абкдефгхийклмнопкрстувуксйз", strict=False))
_ROMAN = "a b v g d e zh z i y k l m n o p r s t u f kh ts ch sh shch _ y _ e yu ya i yi ye g"
LATIN = dict(zip("абвгдежзийклмнопрстуфхцчшщъыьэюяіїєґ", _ROMAN.split(), strict=True))
ARABIC = dict(zip("abcdefghijklmnopqrstuvwxyz", "ابكدهفغحيجكلمنوبقرستوفوكيز", strict=False))
KATAKANA = dict(
    zip("abcdefghijklmnopqrstuvwxyz", "アブクドエフグハイジクルムノオプクルストウヴワクイズ", strict=False)
)
HANGUL = dict(
    zip("abcdefghijklmnopqrstuvwxyz", "아브크드에프그흐이즈크르므느오프쿠르스트우브우크이즈", strict=False)
)
TO_LATIN_FROM_ARABIC = dict(
    zip("ابتثجحخدذرزسشصضطظعغفقكلمنهويةىأإآءئؤ", "abttjhkddrzssSDTZaGfqklmnhwyhaaaaayw", strict=False)
)
LETTERS = {"ru": CYRILLIC, "uk": CYRILLIC, "ar": ARABIC, "ja": KATAKANA, "ko": HANGUL}
LEET = str.maketrans("aeiostAEIOST", "431057431057")
HOMOGLYPHS = str.maketrans("aeopcxyABEHKMOPCTX", "аеорсхуАВЕНКМОРСТХ")
REFUSALS = {
    "en": "I am sorry, but I cannot translate this text.",
    "de": "Es tut mir leid, aber ich kann diesen Text nicht übersetzen.",
    "fr": "Je suis désolé, mais je ne peux pas traduire ce texte.",
    "zh": "对不起，我无法翻译这段文字。",
    "ja": "申し訳ありませんが、このテキストを翻訳することはできません。",
    "ru": "Извините, но я не могу перевести этот текст.",
    "ko": "죄송합니다만 이 텍스트를 번역할 수 없습니다.",
    "ar": "عذرًا، لا أستطيع ترجمة هذا النص.",
    "da": "Jeg beklager, men jeg kan ikke oversætte denne tekst.",
    "nb": "Beklager, men jeg kan ikke oversette denne teksten.",
    "sv": "Jag är ledsen, men jag kan inte översätta den här texten.",
    "id": "Maaf, saya tidak dapat menerjemahkan teks ini.",
    "ms": "Maaf, saya tidak boleh menterjemahkan teks ini.",
    "cs": "Omlouvám se, ale tento text nemohu přeložit.",
    "pl": "Przepraszam, ale nie mogę przetłumaczyć tego tekstu.",
    "pt": "Desculpe, mas não posso traduzir este texto.",
    "es": "Lo siento, pero no puedo traducir este texto.",
    "hr": "Žao mi je, ali ne mogu prevesti ovaj tekst.",
    "uk": "Вибачте, але я не можу перекласти цей текст.",
    "it": "Mi dispiace, ma non posso tradurre questo testo.",
}
LEADS = {
    "en": "Here is the translation:",
    "de": "Hier ist die Übersetzung:",
    "fr": "Voici la traduction :",
    "zh": "以下是翻译：",
    "ja": "翻訳は次のとおりです：",
    "ru": "Вот перевод:",
    "ko": "번역은 다음과 같습니다:",
    "ar": "إليك الترجمة:",
    "da": "Her er oversættelsen:",
    "nb": "Her er oversettelsen:",
    "sv": "Här är översättningen:",
    "id": "Berikut terjemahannya:",
    "ms": "Berikut ialah terjemahannya:",
    "cs": "Zde je překlad:",
    "pl": "Oto tłumaczenie:",
    "pt": "Aqui está a tradução:",
    "es": "Aquí está la traducción:",
    "hr": "Evo prijevoda:",
    "uk": "Ось переклад:",
    "it": "Ecco la traduzione:",
}
CHEERS = {
    "en": "Of course!",
    "de": "Natürlich!",
    "fr": "Bien sûr !",
    "zh": "当然！",
    "ja": "もちろんです！",
    "ru": "Конечно!",
    "ko": "물론입니다!",
    "ar": "بالتأكيد!",
    "da": "Selvfølgelig!",
    "nb": "Selvfølgelig!",
    "sv": "Självklart!",
    "id": "Tentu saja!",
    "ms": "Sudah tentu!",
    "cs": "Samozřejmě!",
    "pl": "Oczywiście!",
    "pt": "Claro!",
    "es": "¡Por supuesto!",
    "hr": "Naravno!",
    "uk": "Звичайно!",
    "it": "Certo!",
}
NAMES = {
    "en": "English",
    "de": "German",
    "fr": "French",
    "zh": "Chinese",
    "ja": "Japanese",
    "ru": "Russian",
    "ko": "Korean",
    "ar": "Arabic",
    "da": "Danish",
    "nb": "Norwegian Bokmål",
    "sv": "Swedish",
    "id": "Indonesian",
    "ms": "Malay",
    "cs": "Czech",
    "pl": "Polish",
    "pt": "Portuguese",
    "es": "Spanish",
    "hr": "Croatian",
    "uk": "Ukrainian",
    "it": "Italian",
}


def pieces(text: str) -> list[str]:
    """Words, or characters of a text without blanks between words."""
    return list(text.replace(" ", "")) if is_unspaced(text) else text.split()


def is_unspaced(text: str) -> bool:
    return sum("\u0e00" <= char <= "\u0e7f" or "\u3040" <= char <= "\u9fff" for char in text) > len(text) / 3


def glue(words: list[str], text: str) -> str:
    return ("" if is_unspaced(text) else " ").join(words)


def alternate(source: str, target: str, first: int) -> str:
    """Every second word of the source, the words between them from the target."""
    texts = [pieces(source), pieces(target)]
    length = max(map(len, texts))
    words = [texts[(first + k) % 2][k] for k in range(length) if k < len(texts[(first + k) % 2])]
    return " ".join(words)


def half(source: str, target: str) -> str:
    a, b = pieces(source), pieces(target)
    return glue(a[: len(a) // 2], source) + " " + glue(b[len(b) // 2 :], target)


def shuffled(source: str) -> str:
    words = pieces(source)
    random.Random(len(source)).shuffle(words)
    return glue(words, source)


def mapped(text: str, letters: dict[str, str]) -> str:
    return "".join(letters.get(char, char) for char in text.lower()).replace("_", "")


def inserted(text: str, char: str) -> str:
    """A character in the middle of each word of more than three letters; after each third without blanks."""
    if is_unspaced(text):
        return "".join(c + char * (k % 3 == 2) for k, c in enumerate(text[:-1])) + text[-1:]
    return " ".join(w[: len(w) // 2] + char + w[len(w) // 2 :] if len(w) > 3 else w for w in text.split())


def one_word(target: str) -> str:
    words = pieces(target)
    return glue([words[len(words) // 2].strip(",.。，、")] * len(words), target)


Plant = Callable[[str, str], str]
FAILURES: dict[str, Plant] = {
    "source": lambda s, t: s,
    "source in capitals": lambda s, t: s.upper(),
    "source backwards by words": lambda s, t: glue(pieces(s)[::-1], s),
    "source shuffled": lambda s, t: shuffled(s),
    "source sorted": lambda s, t: glue(sorted(pieces(s)), s),
    "every second word": lambda s, t: alternate(s, t, 0),
    "every other second word": lambda s, t: alternate(s, t, 1),
    "half and half": half,
    "rot13": lambda s, t: codecs.encode(s, "rot13"),
    "leetspeak": lambda s, t: s.translate(LEET),
    "one word": lambda s, t: one_word(t),
    "twice": lambda s, t: f"{t} {t}",
    "twice with a slash": lambda s, t: f"{t} / {t}",
    "twice in brackets": lambda s, t: f"{t} ({t})",
    "digits": lambda s, t: "".join("0123456789"[ord(c) % 10] if c.isalpha() else c for c in t),
    "emoji": lambda s, t: " ".join("😀🎉🚀🌍🏠"[len(w) % 5] for w in pieces(t)),
    "source in brackets": lambda s, t: f"{t} ({glue(pieces(s)[: max(1, len(pieces(s)) // 4)], s)})",
    "line separator": lambda s, t: f"{t}\u2028{s}",
    "zero width": lambda s, t: inserted(t, "\u200b"),
    "right to left": lambda s, t: inserted(t, "\u202e"),
}
CYRILLIC_LANGUAGES = {"ru", "uk"}
UNCASED_LANGUAGES = {"ar", "ja", "ko", "zh"}
OTHER_LETTERS = {"ru", "uk", "ar", "ja", "ko", "zh"}
FROM_LETTERS = {"ru": LATIN, "uk": LATIN, "ar": TO_LATIN_FROM_ARABIC}
WRAPPERS: dict[str, Plant] = {
    "quotes": lambda s, t: f'"{t}"',
    "guillemets": lambda s, t: f"«{t}»",
    "low quotes": lambda s, t: f"„{t}“",
    "corner brackets": lambda s, t: f"「{t}」",
    "bold": lambda s, t: f"**{t}**",
    "dash": lambda s, t: f"- {t}",
    "number": lambda s, t: f"1. {t}",
    "heading": lambda s, t: f"# {t}",
    "fence": lambda s, t: f"```\n{t}\n```",
    "fence with a name": lambda s, t: f"```text\n{t}\n```",
    "Sure!": lambda s, t: f"Sure! Here is the translation:\n\n{t}",
    "Sure, one line": lambda s, t: f"Sure! Here is the translation: {t}",
    "Sure! alone": lambda s, t: f"Sure! {t}",
    "Certainly, here you go!": lambda s, t: f"Certainly, here you go! {t}",
    "Translation:": lambda s, t: f"Translation: {t}",
    "bold Translation:": lambda s, t: f"**Translation:** {t}",
    "note": lambda s, t: f"{t} (Note: this is a free translation.)",
    "note on its line": lambda s, t: f"{t}\n\n(Note: this is a free translation.)",
    "lead": lambda s, t: f"Here is the translation: {t}",
    "lead on its line": lambda s, t: f"Here is the translation:\n{t}",
    "lead and quotes": lambda s, t: f'Here is the translation: "{t}"',
}


def failures_of(src: str, tgt: str, row: dict[str, str]) -> dict[str, str]:
    """The failures of one sentence by kind; `row` has the sentence in every language."""
    source, target = row[src], row[tgt]
    texts = {kind: plant(source, target) for kind, plant in FAILURES.items()}
    if src in OTHER_LETTERS:
        for kind in ("rot13", "leetspeak", "source in capitals"):
            del texts[kind]
    for third in THIRD_LANGUAGES[tgt].split():
        if third != src:
            texts[f"third language {third}"] = row[third]
            texts[f"half a third language {third}"] = half(target, row[third])
            texts[f"every second word of a third language {third}"] = alternate(target, row[third], 0)
            texts[f"half a third language first {third}"] = half(row[third], target)
    letters = LETTERS.get(tgt) if src not in OTHER_LETTERS else FROM_LETTERS.get(src)
    if letters and (src in OTHER_LETTERS) != (tgt in OTHER_LETTERS):
        texts["transliterated"] = mapped(source, letters)
    if (src in CYRILLIC_LANGUAGES) == (tgt in CYRILLIC_LANGUAGES) and not {src, tgt} & UNCASED_LANGUAGES:
        texts |= distorted(source)
    if src == "en" and tgt in WRITERS:
        texts["transliterated by sound"] = transliterated_by_sound(source, tgt)
    if src == "ko" and tgt not in OTHER_LETTERS:
        texts["transliterated by sound"] = romanised(source)
    if tgt not in OTHER_LETTERS:
        texts["homoglyphs"] = target.translate(HOMOGLYPHS)
    texts["refusal in English"], texts["refusal in the target"] = REFUSALS["en"], REFUSALS[tgt]
    texts["not knowing"], texts["not understood"] = NOT_KNOWING[tgt], NOT_UNDERSTOOD[tgt]
    return texts


QUOTE_CHARS = '"“”„«»‹›「」『』'
QUOTE_WRAPPERS = ("quotes", "guillemets", "low quotes", "corner brackets", "lead and quotes")


def lacks_quotes(source: str, target: str) -> bool:
    """A quote at an end of the source, and none there of the reference: quotes may be the source's."""
    ends = [(text.strip()[0], text.rstrip(" .。,!?")[-1]) for text in (source, target)]
    return any(a in QUOTE_CHARS and b not in QUOTE_CHARS for a, b in zip(*ends, strict=True))


def wrapped(tgt: str, source: str, target: str) -> dict[str, str]:
    """The wrapped references by kind."""
    texts = {kind: plant(source, target) for kind, plant in WRAPPERS.items()}
    if lacks_quotes(source, target):
        for kind in QUOTE_WRAPPERS:
            texts[kind + ", lacking in the reference"] = texts.pop(kind)
    texts["lead in the target"] = f"{LEADS[tgt]} {target}"
    texts["lead in the target on its line"] = f"{LEADS[tgt]}\n\n{target}"
    texts["Of course! in the target"] = f"{CHEERS[tgt]} {target}"
    texts["name of the language"] = f"Here is the sentence in {NAMES[tgt]}: {target}"
    return texts
