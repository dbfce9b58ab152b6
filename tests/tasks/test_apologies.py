"""Apologies of a model are refused, and translations that apologise are not."""

from itertools import product

import pytest

from dupo.tasks.chat_words import declines
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


@pytest.mark.parametrize(
    ("source", "text"),
    [
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
