"""Words with which a model talks about a translation, in the languages of `LANGUAGES`.

Stems are compared without capitals, anywhere in a text. A source that has a word of the same kind, in any
language, may be about translations itself: then the words say nothing.
"""

import re

TRANSLATION_STEMS = """translat übersetz tradu ترجم překlad překlád přelož oversæt oversett μετάφρα
    μεταφρά käännö kääntä prijevod prevod prevest prevedi fordít terjemah 翻訳 訳文 翻译 翻譯 译文 譯文
    번역 vertal vertaal tłumacz przekład перевод перевест переведен переклад перекласт översätt คำแปล
    แปล çevir tercüme bản_dịch thể_dịch dịch_văn"""
NOTE_STEMS = """note hinweis anmerkung bemerkung remarque nota notă 注 注意 備考 备注 附注 주 참고
    참고로 примечание примітка ملاحظة poznámka bemærk bemærkning merk merknad anmärkning obs catatan
    uwaga napomena bilješka opmerking noot huomautus huom megjegyzés not ghi_chú lưu_ý หมายเหตุ
    σημείωση literally wörtlich"""
APOLOGY_STEMS = """sorry apologi as_an_ai tut_mir_leid entschuldig désolé excusez 对不起 抱歉 申し訳
    すみません ごめん извините простите 죄송 미안 عذر آسف نأسف beklag undskyld unnskyld ledsen ursäkt
    förlåt maaf omlouv promiň przepraszam przykro desculp lo_siento disculp žao_mi ispričav oprosti
    вибач перепрош жаль spiace spiacente scus spijt pahoillani anteeksi sajnál elnézés üzgün özür
    xin_lỗi rất_tiếc ขออภัย ขอโทษ เสียใจ συγγνώμη λυπάμαι îmi_pare scuze"""
REGRET_STEMS = """unfortunately leider malheureusement 遗憾 可惜 残念 сожалению жаль 유감 아쉽 안타깝
    للأسف لسوء desværre dessverre tyvärr bohužel niestety infelizmente lamentablemente desafortunad
    nažalost sayangnya malangnya purtroppo sfortun helaas valitettavasti sajnos maalesef δυστυχώς
    din_păcate thật_không_may tiếc น่าเสียดาย"""
INABILITY_STEMS = """cannot can't can’t can_not unable not_able kann_nicht nicht_übers nicht_mög
    kann_diesen kann_ich peux_pas ne_peux ne_puis impossible 无法 不能 無法 できません できない
    出来ません не_мог не_в_состоянии 수_없 못합니다 لا_أستطيع لا_يمكن kan_ikke kan_inte kan_jeg_ikke
    tidak_dapat tidak_bis tidak_bol nemoh nelze nie_mog nie_jestem não_posso não_consigo no_puedo
    no_me_es ne_mogu не_мож non_posso non_sono kan_niet kan_deze en_voi en_pysty nem_tud çeviremi yapam
    edem không_thể ไม่สามารถ δεν_μπορ nu_pot"""


def _choice(stems: str) -> str:
    # The longest first: a short stem may begin a long one.
    longest_first = sorted(stems.split(), key=len, reverse=True)
    return "|".join(re.escape(stem.replace("_", " ")) for stem in longest_first)


_TRANSLATION, _APOLOGY, _REGRET, _INABILITY = (
    re.compile(_choice(stems)) for stems in (TRANSLATION_STEMS, APOLOGY_STEMS, REGRET_STEMS, INABILITY_STEMS)
)
# A word for a note and a colon, in brackets, stars or bare.
NOTE_MARK = re.compile(
    rf"[(\[（*_]*\s*\b(?:translator['’]s )?(?:{_choice(NOTE_STEMS)})s?\s*[*_]*[:：]", re.IGNORECASE
)
# So soon an apology has come: "I am truly very sorry".
OPENING = 40


def speaks_of_translation(text: str) -> bool:
    """Says whether a text has a word for translating."""
    return _TRANSLATION.search(text.casefold()) is not None


def declines(source: str, text: str) -> bool:
    """Says whether a text says that it cannot translate the source: "I am sorry, but I cannot ..."."""
    folded, source = text.casefold(), source.casefold()
    if _APOLOGY.search(source) or _REGRET.search(source):
        return False
    of_translation = _TRANSLATION.search(folded) is not None and not speaks_of_translation(source)
    if _APOLOGY.search(folded[:OPENING]):
        return of_translation or _INABILITY.search(folded) is not None
    # "Unfortunately" begins many a sentence.
    return of_translation and _REGRET.search(folded[:OPENING]) is not None
