"""Whether a model says that it does not translate: an apology, an inability, a question for the sentence.

Stems are compared without capitals, anywhere in a sentence. A source with a word of the same kind, in any
language, may say the same itself: then the words say nothing.

    apology      "I am sorry", with a word for translating, or for helping and being unable
    regret       "Unfortunately", with a word for translating
    refusal      a sentence that is unable or asks, speaks of translating, and names itself or the sentence
    of a text    "this sentence", with being unable or asking
    model        "As an AI"
    rules        "my guidelines", or a request that cannot be helped
    context      "without further context"
    unknowing    "I do not know what this means", "this sentence cannot be understood"
"""

import re

from dupo.tasks.chat_words import choice, speaks_of_translation, tells_of_a_version

APOLOGY_STEMS = """sorry apologi tut_mir_leid entschuldig désolé excusez 对不起 抱歉 申し訳
    すみません ごめん извините простите 죄송 미안 عذر آسف نأسف beklag undskyld unnskyld ledsen ursäkt
    förlåt maaf omlouv promiň przepraszam przykro desculp lo_siento disculp žao_mi ispričav oprosti
    вибач перепрош жаль spiace spiacente scus spijt pahoillani anteeksi sajnál elnézés üzgün özür
    xin_lỗi rất_tiếc ขออภัย ขอโทษ เสียใจ συγγνώμη λυπάμαι îmi_pare scuze"""
REGRET_STEMS = """unfortunately leider malheureusement 遗憾 可惜 残念 сожалению жаль 유감 아쉽 안타깝
    للأسف لسوء desværre dessverre tyvärr bohužel niestety infelizmente lamentablemente desafortunad
    nažalost sayangnya malangnya purtroppo sfortun helaas valitettavasti sajnos maalesef δυστυχώς
    din_păcate thật_không_may tiếc น่าเสียดาย"""
# Of the source alone, where informal words and other forms of these words excuse a translation.
EXCUSE_STEMS = """leid verzeih verzei entschuld pardon forgive excus regret afraid désol navré
    dommage 歉 恕 原谅 原諒 遗憾 遺憾 見諒 勘弁 すまな すまん すいません 失礼 悪い 許し わりい вини
    извин винен винна прости прощ жаль сожал виба пробач шкод 죄송 미안 송구 용서 عذر معذر آسف أسف
    سامح عفو beklag undskyld unnskyld tilgi ked_af lei_meg lei_for lei_oss ledsen ledsna förlåt
    ursäkt maaf ampun sesal omluv omlouv promiň odpus lituj mrzí przepr przykro wybacz żałuj desculp
    perdo perdó lament sinto siento disculp foi_mal žao oprost ispri sori žalim spiac scus spijt
    vergeef vergeven excuus jammer pahoil anteeksi ikävä sajnál bocs elnézés üzgün özür affed kusura
    xin_lỗi tiếc thứ_lỗi ขอโทษ ขออภัย เสียใจ อภัย συγγν λυπ συγχωρ scuz iertă iart îmi_pare ne_pare"""
INABILITY_STEMS = """cannot can't can’t can_not unable not_able kann_nicht nicht_übers nicht_mög
    kann_diesen kann_ich peux_pas ne_peux ne_puis impossible 无法 不能 無法 できません できない
    出来ません не_мог не_в_состоянии 수_없 못합니다 لا_أستطيع لا_يمكن kan_ikke kan_inte kan_jeg_ikke
    tidak_dapat tidak_bis tidak_bol nemoh nelze nie_mog nie_jestem não_posso não_consigo no_puedo
    no_me_es ne_mogu не_мож non_posso non_sono kan_niet kan_deze en_voi en_pysty nem_tud çeviremi yapam
    edem không_thể ไม่สามารถ δεν_μπορ nu_pot"""
# Beside a word for translating: "I won't", "is not available".
DENIAL_STEMS = """won't won’t will_not not_allowed not_able don't don’t do_not could_not couldn't
    not_possible no_translation not_available can_only nicht_in_der_lage konnte_nicht nicht_übers
    lässt_sich_nicht darf_nicht werde_nicht nicht_möglich nicht_imstande pas_en_mesure pas_capable
    ne_veux no_estoy no_es_posible no_soy_capaz não_sou_capaz 불가 수가_없 드리기_어렵 できかね
    分からない わからない かねます ていません 难以 不便 拒绝 不可 går_inte får_inte kunde_inte
    nije_moguće nisam_u"""
# A model asks for what it should translate.
ASKING_STEMS = """please_provide please_enter please_send please_give could_you_provide provide_the
    bitte_geben bitte_gib bitte_senden veuillez fournir proporcion_ne proporcione por_favor_indi
    por_favor_env por_favor_prop 입력해 입력하 보내_주 제공해 주세요 入力して 入力くだ 提供して ください
    请提供 请输入 请重新 请给 請提供 請輸入 navedite unesite vänligen_ange ange_den skriv_in angiv
    indtast"""
# The model and what it was given: "I", "the text".
SPEAKER_STEMS = """mich ihnen für_sie vous_puis ne_peux ne_puis no_puedo não_posso non_posso ne_mogu
    nie_mogę не_могу не_можу 저는 제가 드릴 드리 私 いたし わたくし 我 您 sentence text phrase passage
    satz sätze texte frase oracion oración texto testo 문장 텍스트 문구 글을 글은 文は 文に 文を 文章
    テキスト 句 文本 文字 内容 rečenic tekst mening setning sætning větu zdani предложен текст речення"""
TEXT_STEMS = """sentence text phrase passage satz sätze texte frase oracion oración texto testo 문장
    텍스트 문구 글 文 テキスト 句 词 話 话 rečenic tekst mening setning sætning vět zdani предложен фраз
    речен zin cümle kalimat ayat cerita جمل نص câu wort word sprach language langue idioma lengua 언어
    말 言 语 語"""
THIS_TEXT_STEMS = """this_sentence this_text this_phrase this_passage the_sentence_you the_text_you
    your_text your_sentence diesen_satz dieser_satz diesem_satz diesen_text dieser_text cette_phrase
    ce_texte cette_frase esta_frase este_texto esta_oración 이_문장 이_텍스트 제공하신 この文は この文に
    この文を この文の この文章 このテキスト 这个句子 该句子 这句话 此句 这段文字 该文本 您提供的
    這個句子 這句話 ovu_rečenicu ova_rečenica ove_rečenice ovaj_tekst den_här_meningen den_här_texten
    denne_sætning denne_tekst denne_setningen denne_teksten это_предложение этого_предложения этот_текст
    эта_фраза це_речення цей_текст هذه_الجملة هذا_النص to_zdanie tego_zdania ten_tekst tato_věta tuto_větu
    tento_text questa_frase questo_testo deze_zin deze_tekst kalimat_ini ayat_ini teks_ini bu_cümle
    bu_metin câu_này"""
RULE_STEMS = """my_guidelines my_rules my_policy meine_richtlinien meinen_richtlinien meine_regeln
    meinen_regeln mes_directives mes_règles mis_directrices mis_normas 제_지침 저의_지침
    私のガイドライン 我的准则 我的规则 我的規則 我的指南 mojim_pravilima moja_pravila moje_smjernice
    mina_regler mina_riktlinjer mine_regler mine_retningslinjer"""
LAW_STEMS = """guideline rule polic regel richtlin vorschrift prinzip grundsatz grundsätz leitlinie directiv
    règle norme norma directriz regla 지침 규칙 원칙 방침 ガイドライン 規 方針 原則 ルール 准则 规 規 指南
    pravil smjernic riktlin retningslin princip"""
REQUEST_STEMS = """that_request this_request your_request diese_anfrage dieser_anfrage ihre_anfrage
    cette_demande votre_demande esta_solicitud 요청 リクエスト ご要望 请求 請求 tim_zahtjev"""
DEMAND_STEMS = """request anfrage bitte antrag ersuch demand requ solicit pedido petic petiç richiest
    요청 부탁 신청 依頼 要望 リクエスト 請 请 要求 申请 zahtjev molb begär begæ anmod forespør прос zosk
    zád prośb"""
CONTEXT = re.compile(
    r"enough context|without (?:any )?(?:further|more|additional) context"
    r"|ohne weiteren (?:zusammenhang|kontext)|(?:zusammenhang|kontext) fehlt"
    r"|sans (?:plus de )?contexte|sin (?:más )?contexto|(?:맥락|문맥)이 부족"
    r"|文脈が(?:不足|足り)|缺乏上下文|没有上下文|dovoljno konteksta|tillräckligt sammanhang"
)
CONTEXT_STEMS = """context kontext zusammenhang contexte contexto 맥락 문맥 상황 文脈 状況 上下文 背景 情况
    kontekst sammanh sammenh bakgrund baggrund hintergrund background"""
# With an apology and an inability: "I am sorry, I cannot help with that".
HELP_STEMS = """help assist request helfen hilfe behilflich aider aide 帮助 帮您 帮你 协助 幫助 協助 手伝
    応じ 支援 помочь помог допомог 도와 도움 도울 مساعد hjælp hjelp hjälp bantu pomoc pomoż pomož pomoh
    pomoć ajud ayud aiut helpen auttaa auta segít yardım giúp ช่วย βοηθ ajut"""
SELF_STEMS = """as_an_ai as_a_language_model als_ki als_eine_ki als_sprachmodell en_tant_qu'ia
    인공지능_언어 언어_모델로 ai_언어_모델 ai言語モデル 言語モデルとして aiとして 作为一个ai 作为一名ai
    作為ai kao_jezični_model kao_ai kao_umjetna_inteligencija som_en_ai som_ai som_en_språkmodell
    som_en_sprogmodel como_una_ia como_un_modelo_de_lenguaje en_tant_que_ia en_tant_que_modèle como_ia
    como_modelo como_un_modelo 作为一个人工智能 作为人工智能 作为ai как_ии"""
# Words for such a model, in the source.
MODEL_STEMS = """language_model sprachmodell modèle modelo modell 模型 モデル модел artifici künstlich
    人工 kunstig konstgjord sztuczn uměl umjetn yapay tekoäly mesterséges buatan 인공 الذكاء"""
# The first person is in the verb: "I do not know", "I do not understand".
FIRST_PERSON_STEMS = """i_do_not_know i_don't_know i_do_not_understand i_don't_understand i_cannot_understand
    i_can't_understand i_have_no_idea i_cannot_make_sense ich_weiss_nicht ich_verstehe_nicht
    ich_verstehe_diesen ich_verstehe_das ich_habe_keine_ahnung je_ne_sais_pas je_ne_comprends no_sé
    no_entiendo no_comprendo não_sei não_entendo não_compreendo não_percebo non_so non_capisco
    non_comprendo не_знаю не_понимаю понятия_не_имею не_розумію гадки_не_маю nie_wiem nie_rozumiem
    nie_mam_pojęcia nevím nerozumím nemám_tušení ne_znam ne_razumijem nemam_pojma jeg_ved_ikke
    jeg_vet_ikke jeg_forstår_ikke jeg_aner_ikke jag_vet_inte jag_förstår_inte jag_har_ingen_aning
    ik_weet_niet ik_begrijp_niet saya_tidak_tahu saya_tidak_mengerti saya_tidak_memahami saya_tidak_faham
    saya_tidak_paham bilmiyorum anlamıyorum 我不知道 我不明白 我不懂 我看不懂 我无法理解 私にはわかり
    私には分か 意味がわかりません 意味が分かりません 意味がわからない 意味が分からない 모르겠 저는_이해
    لا_أعرف لا_أعلم لا_أفهم tôi_không_biết tôi_không_hiểu ฉันไม่รู้ ฉันไม่เข้าใจ en_tiedä en_ymmärrä
    nem_tudom nem_értem nu_știu nu_înțeleg δεν_ξέρω δεν_καταλαβαίνω"""
# Beside a word for the sentence: "cannot be understood", "makes no sense".
SENSELESS_STEMS = """be_understood no_sense not_make_sense doesn't_make_sense no_meaning meaningless unclear
    not_clear incomprehensible unintelligible nicht_verst nicht_zu_verst unverständlich keinen_sinn
    unklar incompréhensible être_comprise être_compris aucun_sens pas_de_sens pas_claire incomprensible
    se_entiende puede_entender no_tiene_sentido incompreensível ser_compreendid ser_entendid
    não_faz_sentido incomprensibile essere_compres essere_capit non_ha_senso непонятн невозможно_понять
    нельзя_понять не_имеет_смысла незрозуміл неможливо_зрозуміти не_має_сенсу niezrozumiał
    nie_można_zrozumieć nie_da_się_zrozumieć nie_ma_sensu nesrozumiteln nelze_pochopit nelze_porozumět
    nedává_smysl nerazumljiv ne_može_razumjeti nema_smisla uforståelig kan_ikke_forstå ingen_mening
    obegriplig inte_förstås inte_begripas onbegrijpelijk niet_te_begrijpen geen_zin dapat_dipahami
    dapat_difahami masuk_akal anlaşılm anlamsız 无法理解 不能理解 没有意义 看不懂 不清楚 理解できま
    理解できな 理解することはできま 意味不明 이해할_수_없 이해가_되지 의미가_없 يمكن_فهم غير_مفهوم
    لا_معنى"""
# Of the source, which may say such things itself. Each begins a word in an alphabet.
KNOWING_STEMS = """knew underst meaning clear puzzl weiss wissen_ wusst versteh verstand verständ
    unverst begreif sinn klar unklar ahnung sais savoir sait sav compr incompr sens clair idée
    signif sé_ sab sup_ entien entend sentido sei_ soub sapere so_ sapp capi senso знат знаю знает
    пони поня непон смысл ясн розум незрозум сенс wiem wiedz wie_ rozum zrozum niezrozum nevím ví_
    věd smysl chápa zna_ znam razum nerazum smis vet_ ved_ vidste visste forst uforst mening begrip
    obegr veta weet wist begrijp onbegr zin_ tahu mengerti paham dipaham memaham faham difaham makna
    masuk_akal bil anla sicher sûr segur cert увер певн pewn jist sigur sikker säker zeker yakin
    pasti 确定 確 확실 知 明白 懂 理解 意思 意味 清楚 了解 分か わか 알 모르 몰 이해 의미 뜻
    يعرف نعرف أعرف يعلم نعلم أعلم فهم يفهم
    مفهوم معنى biết hiểu nghĩa รู้ เข้าใจ tied ymmär tud ért ști_ înțel ξέρ καταλ know_ knows knew
    unknown not_known sense_ senseless no_idea sure_ unsure uncertain not_certain"""
# In an alphabet a stem begins a word: "discussione" is no "scus".
WORD_START = r"(?:(?<![^\W\d_])|(?=[^a-zà-ɏа-ґ]))"
WORD_END = r"(?:(?![^\W\d_])|(?<=[^a-zà-ɏа-ґ]))"
OPENING_CHARS = 40  # an apology begins within these: "I am truly very sorry"
_SENTENCE = re.compile(r"[^.!?。！？\n]+")


def _pattern(*stems: str) -> re.Pattern[str]:
    return re.compile(choice(" ".join(stems)))


_REGRET, _APOLOGY, _SELF = map(_pattern, (REGRET_STEMS, APOLOGY_STEMS, SELF_STEMS))
_INABILITY, _HELP, _TEXT = map(_pattern, (INABILITY_STEMS, HELP_STEMS, TEXT_STEMS))
_REFUSING = _pattern(INABILITY_STEMS, DENIAL_STEMS, ASKING_STEMS)
_SPEAKER = re.compile(rf"\b(?:i|me|ich|je|yo|eu|io|ja|jag|jeg|ik|я)\b|{choice(SPEAKER_STEMS)}")
_THIS_TEXT, _RULE, _LAW = map(_pattern, (THIS_TEXT_STEMS, RULE_STEMS, LAW_STEMS))
_REQUEST, _DEMAND, _CONTEXT = map(_pattern, (REQUEST_STEMS, DEMAND_STEMS, CONTEXT_STEMS))
_MEANING = re.compile(r"mean|bedeut|heißt|signifi|의미|意味|意思|znači|betyder|означ|quiere decir|vuol dire")
_FIRST_PERSON = re.compile(rf"{WORD_START}(?:{choice(FIRST_PERSON_STEMS)}){WORD_END}")
_SENSELESS = re.compile(rf"{WORD_START}(?:{choice(SENSELESS_STEMS)})")
_KNOWING = re.compile(rf"{WORD_START}(?:{choice(KNOWING_STEMS)})")
# A source with one of these may be an apology itself.
_EXCUSE = re.compile(rf"{WORD_START}(?:{choice(f'{APOLOGY_STEMS} {REGRET_STEMS} {EXCUSE_STEMS}')})")
_MODEL = re.compile(rf"(?<![a-zа-я])(?:ai|ki|ia|ии)(?![a-zа-я])|{choice(MODEL_STEMS)}")


def declines(source: str, text: str) -> bool:
    """Says whether a text says that it does not translate the source: "I am sorry, but I cannot ..."."""
    folded, source = text.casefold(), source.casefold()
    if _SELF.search(folded[:OPENING_CHARS]) and not _MODEL.search(source):
        return True
    may_speak = speaks_of_translation(source) or (
        # "diesen Satz übertragen" is translating; a version of anything else is none.
        tells_of_a_version(source) and (_TEXT.search(source) or _EXCUSE.search(source)) is not None
    )
    sentences = _SENTENCE.findall(folded)
    return (
        _apologises(source, folded, may_speak)
        or any(_refuses(source, sentence, may_speak) for sentence in sentences)
        or (not may_speak and sentences != [] and _knows_nothing(source, sentences[0]))
        or (CONTEXT.search(folded) is not None and not _CONTEXT.search(source))
    )


def _apologises(source: str, text: str, may_speak: bool) -> bool:
    """Whether a text apologises for not translating.

    An apology alone is none: a source apologises in more words than any list has. So the text must speak of
    translating or of helping besides.
    """
    if _EXCUSE.search(source):
        return False
    opening, is_of_translation = text[:OPENING_CHARS], speaks_of_translation(text) and not may_speak
    if _APOLOGY.search(opening):
        is_unable = _INABILITY.search(text) is not None
        return is_of_translation or (is_unable and _HELP.search(text) is not None)
    # "Unfortunately" begins many a sentence.
    return is_of_translation and _REGRET.search(opening) is not None


def _refuses(source: str, sentence: str, may_speak: bool) -> bool:
    """Whether a sentence refuses without an apology: "This text cannot be translated"."""
    if _RULE.search(sentence) and not _LAW.search(source):
        return True
    if not _REFUSING.search(sentence):
        return False
    if speaks_of_translation(sentence) and not may_speak and _SPEAKER.search(sentence):
        return True
    if _THIS_TEXT.search(sentence) and not _TEXT.search(source) and not may_speak:
        return True
    is_of_help = _HELP.search(sentence) and _REQUEST.search(sentence)
    return bool(is_of_help) and not _DEMAND.search(source)


def _knows_nothing(source: str, sentence: str) -> bool:
    """Whether a sentence says that the model understands nothing, of which the source says nothing."""
    if _KNOWING.search(source):
        return False
    if _FIRST_PERSON.search(sentence[:OPENING_CHARS]):
        return True
    return _SENSELESS.search(sentence) is not None and speaks_of_this_text(source, sentence)


def speaks_of_this_text(source: str, sentence: str) -> bool:
    """Says whether a sentence is about a sentence, and the source has no word for such: "This means ..."."""
    if _TEXT.search(source) or speaks_of_translation(source):
        return False
    return _THIS_TEXT.search(sentence) is not None or (
        _MEANING.search(sentence) is not None and _TEXT.search(sentence) is not None
    )
