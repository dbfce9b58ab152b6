"""The source in other letters, letters that deceive, and text that repeats itself."""

import codecs

import pytest

from dupo.tasks.disguises import is_misspelt, is_substitution, sounds_of
from dupo.tasks.distortions import is_distortion
from dupo.tasks.repetition import border_length, is_repetition
from tests.helpers import planted_translations as planted
from tests.helpers import transliterations
from tests.helpers.distorted_sources import distorted
from tests.helpers.sentences import AR, DE, EN, JA, RU, TH, UK, ZH


@pytest.mark.parametrize(
    "text",
    [
        codecs.encode(EN, "rot13"),
        EN.translate(planted.LEET),
        *(planted.mapped(EN, letters) for letters in planted.LETTERS.values()),
    ],
)
def test_other_letters_are_the_source_still(text: str) -> None:
    assert is_substitution(EN, text)


def test_a_transliteration_into_latin_letters_is_the_source_still() -> None:
    assert is_substitution(RU, planted.mapped(RU, planted.LATIN))


@pytest.mark.parametrize("text", [DE, ZH, JA, TH, AR, RU, UK, "Ja.", ""])
def test_translations_are_no_disguise(text: str) -> None:
    assert not is_substitution(EN, text) and not is_misspelt(EN, text) and not is_repetition(EN, text)


@pytest.mark.parametrize("code", transliterations.WRITERS)
def test_a_transliteration_by_sound_is_the_source_still(code: str) -> None:
    source = "The children ran through the garden and jumped over the little wooden fence."
    for text in (source, EN):
        assert is_substitution(text, transliterations.transliterated_by_sound(text, code))


def test_letters_that_are_not_heard_say_nothing() -> None:
    assert sounds_of("ъьыі") == sounds_of("اعأ") == sounds_of("아오이") == sounds_of("ッ") == ""
    assert sounds_of("フ") == sounds_of("f") and sounds_of("라") == sounds_of("ラ") == sounds_of("la")


@pytest.mark.parametrize("kind", distorted(EN))
@pytest.mark.parametrize("source", [EN, RU])
def test_distorted_words_are_the_source_still(source: str, kind: str) -> None:
    assert is_distortion(source, distorted(source)[kind])


@pytest.mark.parametrize(
    ("source", "text"), [(EN, DE), (DE, EN), (RU, UK), (EN, EN), ("He was here.", "Sehr.")]
)
def test_translations_are_no_distortion(source: str, text: str) -> None:
    assert not is_distortion(source, text)


def test_names_sound_alike_in_both_scripts() -> None:
    source = "Today's Player of the Day is Alex Ovechkin of the Washington Capitals."
    assert not is_substitution(source, "Сегодняшний игрок дня — Алекс Овечкин из Washington Capitals.")


@pytest.mark.parametrize(
    "text", [RU.translate({ord("а"): "a", ord("о"): "o"}), *(planted.inserted(DE, c) for c in "\u200b\u202e")]
)
def test_letters_that_deceive(text: str) -> None:
    assert is_misspelt(EN, text)
    assert not is_misspelt(text, text)


@pytest.mark.parametrize(
    "text",
    [
        "Mühle Mühle Mühle Mühle Mühle",
        f"{DE} {DE}",
        f"{DE} / {DE}",
        f"{DE} ({DE})",
        ZH * 2,
        f"{DE} oder {DE}",
    ],
)
def test_repetitions(text: str) -> None:
    assert is_repetition(EN, text)
    assert not is_repetition(text, text)


@pytest.mark.parametrize("text", ["Bye bye", "Nein, nein!", "Ha ha ha", DE])
def test_what_may_repeat(text: str) -> None:
    assert not is_repetition("Good bye", text)


@pytest.mark.parametrize(("text", "length"), [("", 0), ("a", 0), ("aa", 1), ("abcab", 2), ("aabaaab", 3)])
def test_borders(text: str, length: int) -> None:
    assert border_length(text) == length
    borders = [k for k in range(len(text)) if text[:k] == text[len(text) - k :]]
    assert max(borders, default=0) == length
