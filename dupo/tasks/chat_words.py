"""Words with which a model talks about a translation, in the languages of `LANGUAGES`.

Stems are compared without capitals, anywhere in a text. A source that has a word of the same kind, in any
language, may be about translations itself: then the words say nothing.
"""

import re

from dupo.tasks.languages import LANGUAGES, OWN_NAMES

TRANSLATION_STEMS = """translat übersetz tradu ترجم překlad překlád přelož oversæt oversett μετάφρα
    μεταφρά käännö kääntä prijevod prevod prevest preved fordít erjemah 翻訳 訳文 を訳 訳すこと 訳せま
    翻译 翻譯 译文 譯文 번역 vertal vertaal tłumacz przekład перевод перевест переведен переклад
    перекласт översätt คำแปล แปล çevir tercüme bản_dịch thể_dịch dịch_văn"""
NOTE_STEMS = """note hinweis anmerkung bemerkung remarque nota notă 注 注意 備考 备注 附注 주 참고
    참고로 примечание примітка ملاحظة poznámka bemærk bemærkning merk merknad anmärkning obs catatan
    uwaga napomena bilješka opmerking noot huomautus huom megjegyzés not ghi_chú lưu_ý หมายเหตุ
    σημείωση literally wörtlich"""
# Of the source alone, where they may stand for a translation: "The German version: ...".
VERSION_STEMS = """version fassung übertrag wiedergab dolmetsch interpret rendering rendition wersj verze
    verzi versão versión 译 譯 訳 版 해석 버전 верси نسخة صيغة"""
# With these a model agrees to translate, before it translates: "Sure! ...".
ENGLISH_CHEERS = "sure certainly of_course absolutely no_problem gladly got_it alright"
CHEERS = """ok okay natürlich klar gern gerne selbstverständlich sicher kein_problem bien_sûr certainement
    avec_plaisir d'accord volontiers claro por_supuesto desde_luego con_gusto con_mucho_gusto com_certeza
    com_prazer certo certamente volentieri con_piacere va_bene natuurlijk zeker graag självklart visst
    naturligtvis absolut javisst selvfølgelig naturligvis selvsagt gjerne totta_kai tietysti toki jistě
    samozřejmě jasně rád oczywiście jasne pewnie chętnie naravno svakako persze természetesen desigur sigur
    bineînțeles tabii tabii_ki elbette конечно разумеется хорошо звичайно звісно добре tentu tentu_saja baik
    baiklah sudah_tentu chắc_chắn chắc_chắn_rồi tất_nhiên vâng được_chứ แน่นอน ได้เลย φυσικά βεβαίως ασφαλώς
    بالتأكيد بالطبع طبعا حسنا 当然 好的 没问题 當然 沒問題 もちろん もちろんです はい 承知しました
    かしこまりました 물론 물론입니다 물론이죠 알겠습니다"""
# Of the source alone, where they may stand for one of these.
AGREEMENT_STEMS = """gewiss freilich in_ordnung einverstanden jawohl bestimmt na_gut na_klar alles_klar oui
    naturellement évidemment sí naturalmente evidente sim naturally obviously yes indeed all_right
    да ja igen evet 是的 よし ええ 그래 좋아 نعم أجل"""
SOURCE_OPENING = 4  # letters of a source in which it agrees: "Na klar, ..."
SOURCE_LABEL = 25  # letters of a source in which it may have a label: "Die Antwort: ..."
DOUBTFUL_OPENING = 40  # letters of a source in which it may agree: "Das ist natürlich ..."
HERE_STEMS = """here hier voici voilà 以下 下面 这是 翻译如下 次 こちら вот 다음 여기 إليك هذه her_ här
    berikut zde tady tu oto aqui aquí evo ovdje ось ecco tässä itt íme iată işte đây dưới นี่ ต่อไปนี้
    εδώ ini inilah sure certainly of_course"""
# Words beside the name of a language in a lead-in: "Here is the sentence in German:".
LEAD_WORDS = """here here's is the a your this in into to sentence text paragraph version translated
    output result answer final would be it as follows says reads sure certainly course of that means
    becomes auf ins en em på na"""
# Labels before a translation.
ANSWER_LABELS = """answer final_answer output result response assistant target antwort ausgabe ergebnis
    réponse résultat respuesta resultado resposta risposta 답변 정답 출력 결과 답 回答 答え 出力 答案
    输出 结果 odgovor svar ответ wynik odpověď"""
_LEAD_WORDS = frozenset(LEAD_WORDS.split())
_LEAD_AND_LANGUAGE_WORDS = _LEAD_WORDS.union(
    *(name.casefold().split() for names in (LANGUAGES, OWN_NAMES) for name in names.values())
)


def choice(stems: str) -> str:
    """Returns a regular expression for any of the stems, in which "_" is a blank."""
    # An alternation takes the first stem that fits, so a long stem stands before a short one that begins it.
    longest_first = sorted(stems.split(), key=len, reverse=True)
    return "|".join(re.escape(stem.replace("_", " ")) for stem in longest_first)


_TRANSLATION = re.compile(choice(TRANSLATION_STEMS))
# A university is no version.
_VERSION = re.compile(rf"(?<!uni)(?<!уни)(?<!уні)(?:{choice(VERSION_STEMS)})")
# A word for a note and a colon, in brackets, stars or bare.
NOTE_MARK = re.compile(
    rf"[(\[（*_]*\s*\b(?:translator['’]s )?(?:{choice(NOTE_STEMS)})s?\s*[*_]*[:：]", re.IGNORECASE
)
# A sentence that begins with a word for a note: "Note that ...", "Hinweis - ...".
_NOTE_OPENING = re.compile(
    rf"(?:^|[.!?。！？؟\n])\W*(?:{choice(NOTE_STEMS)})s?(?!\w)|(?:^|[.!?。！？\n])\s*(?:注|备考|備考)",
    re.IGNORECASE,
)
_PROMISE = r",? (?:thing|here|i['’ ]|let me|happy to|glad to|no problem)[^.!?:。！？：\n]{0,40}"
# "Sure! ...", "Sure, I can help with that! ...", in no other language than English also "Sure, ...".
_ENGLISH_CHEER = re.compile(
    rf"[*_]*(?:{choice(ENGLISH_CHEERS)})(?: thing)?(?:(?:{_PROMISE})?\s*[!！]+|[.,:])[*_]*\s+", re.IGNORECASE
)
_CHEER = re.compile(
    rf"¡?[*_]*(?:{choice(f'{CHEERS} {ENGLISH_CHEERS}')})(?:(?:{_PROMISE})?\s*[!！]+|[.。:：])[*_]*\s*",
    re.IGNORECASE,
)
# A whole word; "make sure" agrees to nothing. Without blanks between words: at the beginning.
_AGREEMENT = re.compile(
    rf"(?<!\w)(?<!make )(?<!be )(?:{choice(f'{CHEERS} {ENGLISH_CHEERS} {AGREEMENT_STEMS}')})(?!\w)"
    rf"|\A\W*(?=[\u0e00-\u0e7f\u3040-\ud7af])(?:{choice(f'{CHEERS} {AGREEMENT_STEMS}')})"
)
_SHORT_OPENING = re.compile(
    r"\W*(?:[^\W\d_\u3040-\ud7af]{1,16}(?: [^\W\d_\u3040-\ud7af]{1,16}){0,2}|[\u3040-\ud7af ]{1,5})"
    r"\s?(?:[,!;，！、；]|(?<=\w\w\w\w)\.(?=\s+[^\W\d_])|。)"
)
_ANSWER = re.compile(choice(ANSWER_LABELS))
_HERE_YOU_GO = re.compile(
    r"(?:(?:sure|certainly|of course|okay|ok)[,!.]? )?(?:here (?:you go|it is|you are|we go)|there you go)"
)
# "The German translation is ...", without a colon.
_BARE_LEAD = re.compile(
    r"(?:(?:the|a|my|this) (?:\w+ ){0,3}translation(?: (?:in|into|of|for) [\w ]{1,30}?)?"
    r"|(?:the|this|your) (?:\w+ ){0,2}(?:sentence|text|phrase)(?: can be| is)? translate[sd])"
    r" (?:is|would be|reads|becomes|to|as|into)(?: as follows)?[,:]? +",
    re.IGNORECASE,
)
_HERE = re.compile(rf"(?:(?<!\w)|(?=[\u0e00-\ud7af]))(?:{choice(HERE_STEMS)})")
_ENGLISH_LEAD = re.compile(
    r"(?:sure|certainly|of course|here(?:['’]s| is)|(?:the )?translat(?:ion|ed)|in )\b"
)


def speaks_of_translation(text: str) -> bool:
    """Says whether a text has a word for translating."""
    return _TRANSLATION.search(text.casefold()) is not None


def num_translation_words(text: str) -> int:
    """Returns how often a text has a word for translating."""
    return len(_TRANSLATION.findall(text.casefold()))


def is_cheer(line: str) -> bool:
    """Says whether a line only agrees to translate."""
    return any(pattern.fullmatch(line + " ") for pattern in (_CHEER, _ENGLISH_CHEER))


def english_cheer_length(source: str, text: str) -> int:
    """Returns the length of English words with which a text that should not be English agrees, or 0."""
    cheer = _ENGLISH_CHEER.match(text)
    return cheer.end() if cheer and not _ENGLISH_CHEER.match(source) else 0


def cheer_length(source: str, text: str) -> int:
    """Returns the length of the words with which a model agrees at the beginning of a text, or 0.

    0 too where the source agrees, but where the text agrees once more.
    """
    cheer = _CHEER.match(text)
    if cheer is None or (re.search("[:：]", cheer[0]) and re.search("[:：]", source)):
        return 0
    return cheer.end() if not agrees(source) or agrees(text[cheer.end() :]) else 0


def agrees(text: str, within: int = SOURCE_OPENING) -> bool:
    """Says whether a word that agrees begins within so many letters of a text: "Sure", "na klar"."""
    agreement = _AGREEMENT.search(text[: within + 30].casefold())
    return agreement is not None and agreement.start() < within


def short_opening(text: str) -> str:
    """Returns the few words apart with which a text begins: they may agree in words that no list has."""
    opening = _SHORT_OPENING.match(text)
    return opening[0] if opening else ""


def may_agree(text: str) -> bool:
    """Says whether a text may agree at its beginning, in a listed word or another."""
    return short_opening(text) != "" or agrees(text, DOUBTFUL_OPENING)


def is_label(source: str, head: str) -> bool:
    """Says whether a lead-in is a label that is none of the source's: "Answer", "Here you go"."""
    if _HERE_YOU_GO.fullmatch(head):
        return True
    return _ANSWER.fullmatch(head) is not None and not _ANSWER.search(source[:SOURCE_LABEL].casefold())


def bare_lead_length(text: str) -> int:
    """Returns the length of an English lead-in without a colon, or 0: "The German translation is ..."."""
    lead = _BARE_LEAD.match(text)
    return lead.end() if lead else 0


def says_more(head: str) -> bool:
    """Says whether a lead-in has words of its own: "The inscription translates as"."""
    words = [word.strip(",!()") for word in head.split()]
    own = [word for word in words if word not in _LEAD_AND_LANGUAGE_WORDS and not speaks_of_translation(word)]
    return own != [] and not is_plain_lead(head)


def is_plain_lead(head: str) -> bool:
    """Says whether a lead-in says "here", or is two words long: "Here is the translation", "Translation"."""
    is_short = len(head.split()) <= 2 and len(head) <= (20 if head[:1] < "\u0e00" else 4)
    return says_here(head) or is_short


def says_here(head: str) -> bool:
    """Says whether a lead-in says "here", or "as follows"."""
    return _HERE.search(head) is not None


def is_english_lead(head: str) -> bool:
    """Says whether a lead-in begins as one in English: "Here is ...", "The translation"."""
    return _ENGLISH_LEAD.match(head) is not None


def names_language(head: str, code: str) -> bool:
    """Says whether a lead-in consists of the name of a language: "German", "in German", "Deutsch", "de"."""
    names = [name.casefold().split() for name in (LANGUAGES.get(code, ""), OWN_NAMES.get(code, ""))]
    words = [word.strip(",!()") for word in head.casefold().split()]
    left = [word for word in words if word and word not in _LEAD_WORDS]
    return head.strip().casefold() == code or (left != [] and left in names)


def tells_of_a_version(text: str) -> bool:
    """Says whether a text has a word that a translator may render as a word for translating."""
    return _VERSION.search(text.casefold()) is not None


def opens_note(text: str) -> bool:
    """Says whether a sentence of a text begins with a word for a note, with a colon or without."""
    return _NOTE_OPENING.search(text) is not None
