"""Apologies of a model are refused, and translations that apologise are not."""

from itertools import product

import pytest

from dupo.tasks.refusals import declines
from tests.helpers.planted_declines import NOT_KNOWING, NOT_UNDERSTOOD
from tests.helpers.planted_translations import REFUSALS
from tests.helpers.sentences import AR, DE, EN, JA, RU, ZH

# Neither an apology nor a word for translating.
PLAIN = (EN, DE, RU, JA, ZH, AR, "Der Zug kann heute nicht fahren.", "It is impossible to help them all.")


def test_planted_apologies_are_refused() -> None:
    passed = [pair for pair in product(PLAIN, REFUSALS.values()) if not declines(*pair)]
    assert len(passed) <= 0.05 * len(PLAIN) * len(REFUSALS), passed


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that.",
        "I apologize, but I am unable to help with this request.",
        "As an AI, I cannot do this.",
        "Unfortunately, I cannot translate this.",
        "Tut mir leid, dabei kann ich nicht helfen.",
        "Désolé, je ne peux pas vous aider.",
        "Lo siento, no puedo ayudar con eso.",
        "申し訳ありませんが、お手伝いできません。",
        "对不起，我无法帮助您。",
        "Извините, я не могу помочь.",
    ],
)
def test_apologies_without_a_word_for_translating_are_refused(text: str) -> None:
    assert declines(EN, text) and declines(RU, text)


def test_a_model_that_understands_nothing_is_refused() -> None:
    texts = [*NOT_KNOWING.values(), *NOT_UNDERSTOOD.values()]
    assert [pair for pair in product(PLAIN, texts) if not declines(*pair)] == []


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Ich weiß nicht, was das bedeutet.", "I do not know what this means."),
        ("Niemand verstand den Satz.", "This sentence cannot be understood."),
        ("Keine Ahnung, wo er ist.", "I have no idea where he is."),
        ("他说他不懂。", "I do not understand, he said."),
        ("El siglo pasado fue largo.", "O século foi longo e no séc. XV não."),
        ("The mail was not asked for.", "Il s'agissait de courriels non sollicités."),
    ],
)
def test_a_source_that_understands_nothing_may_be_translated(source: str, text: str) -> None:
    assert not declines(source, text)


REFUSED = (
    "I cannot translate this sentence because it is sensitive.",
    "I don't know German well enough to translate this.",
    "As an AI language model, I have no opinion.",
    "This text cannot be translated without a reason.",
    "No translation is available for this sentence.",
    "Please provide the sentence that you would like me to translate.",
    "My guidelines do not allow me to go on.",
    "I can't assist with that request.",
    "Ich kann diesen Satz nicht übersetzen, weil er sensibel ist.",
    "Als KI-Sprachmodell bin ich nicht in der Lage dazu.",
    "Der angegebene Satz konnte nicht übersetzt werden.",
    "Bitte geben Sie den Satz an, den ich übersetzen soll.",
    "Ohne weiteren Kontext geht das nicht.",
    "Je ne peux pas traduire cette phrase.",
    "Veuillez fournir le texte à traduire.",
    "No puedo traducir esta frase porque es delicada.",
    "이 문장은 민감하여 번역할 수 없습니다.",
    "저는 인공지능 언어 모델로서 의견이 없습니다.",
    "번역할 문장을 입력해 주세요.",
    "그 요청은 도와드릴 수 없습니다.",
    "この文は翻訳できません。",
    "AI言語モデルとして、意見はありません。",
    "翻訳したい文を入力してください。",
    "您提供的句子不完整，因此无法翻译。",
    "作为人工智能语言模型，我没有意见。",
    "请提供您想要翻译的句子。",
    "Ne mogu prevesti ovu rečenicu jer je osjetljiva.",
    "Jag kan inte översätta den här meningen.",
)


@pytest.mark.parametrize("text", REFUSED)
def test_refusals_in_other_words_are_refused(text: str) -> None:
    assert [source for source in PLAIN if not declines(source, text)] == []


@pytest.mark.parametrize(
    "source",
    [
        "As an AI, I cannot translate this sentence without context: my guidelines, that request.",
        "Als KI habe ich Regeln, bitte: diesen Satz übersetzen, ohne Kontext.",
        "作为AI，我的规则：没有上下文，我无法翻译这个句子，不能帮助请求。",
    ],
)
@pytest.mark.parametrize("text", REFUSED)
def test_a_source_that_says_the_same_may_be_translated(source: str, text: str) -> None:
    assert not declines(source, text)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Man kann Ruhm nicht zu Geld machen.", "You cannot translate fame into money."),
        ("Ich bedaure, diesen Satz nicht übertragen zu können.", "I am sorry that I cannot translate this."),
        ("Dieser Text ist nicht lang.", "This text is not long, I cannot deny."),
        ("La demande est refusée.", "This request cannot be granted."),
        ("在这种背景下不能这样做。", "この文脈では不可能です。"),
        ("Das Modell ist eine KI.", "As an AI the model is not alive."),
        ("Die Strafe war mild, ich kann nicht klagen.", "The sentence was mild, I cannot complain."),
        ("Tut uns leid, wir können nicht.", "Sorry, we cannot."),
        ("Verzeih mir, ich kann heute nicht kommen.", "I am sorry, I cannot come today."),
        ("Verzeihung, ich kann nicht helfen.", "Sorry, I cannot help."),
        ("Sorry, kann nicht.", "Désolé, je ne peux pas."),
        ("Pardon, ich kann dir nicht helfen.", "Sorry, I cannot help you."),
        ("Je suis navré, je ne peux pas vous aider.", "I am sorry, I cannot help you."),
        ("Foi mal, não posso ir hoje.", "Sorry, I cannot go today."),
        ("Perdona, no puedo ayudarte.", "Sorry, I cannot help you."),
        ("Perdón, es imposible.", "Sorry, it is impossible."),
        ("Scusami, non posso venire.", "I am sorry, I cannot come."),
        ("Sori, ne mogu danas.", "Sorry, I cannot today."),
        ("Wybacz, nie mogę ci pomóc.", "Sorry, I cannot help you."),
        ("Промиње, нема шансе.", "Sorry, impossible."),
        ("Прости, не могу помочь.", "Sorry, I cannot help."),
        ("Пробач, я не можу допомогти.", "Sorry, I cannot help."),
        ("すまん、今日は行けない。", "Sorry, I cannot come today."),
        ("悪いけど、手伝えない。", "Sorry, I cannot help."),
        ("미안해, 도와줄 수 없어.", "Sorry, I cannot help you."),
        ("不好意思，我今天来不了。", "Sorry, I cannot come today."),
        ("Beklager, jeg kan ikke hjelpe deg.", "Sorry, I cannot help you."),
        ("Kusura bakma, gelemem.", "Sorry, I cannot come."),
        ("My bad, can't make it.", "Tut mir leid, ich kann nicht kommen."),
        ("Wir können leider nicht kommen.", "I am sorry, we cannot come."),
        ("Als KI kann ich das nicht.", "As an AI I cannot do that."),
        ("She is sorry that he cannot translate it.", "Es tut ihr leid, dass er es nicht übersetzen kann."),
        ("Leider ist die Fassung verloren.", "Unfortunately the translation is lost."),
    ],
)
def test_translations_that_apologise_pass(source: str, text: str) -> None:
    assert not declines(source, text)
