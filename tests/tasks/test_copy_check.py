"""Copies of a source and translations of it, in several scripts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupo.tasks.copy_check import (
    _words_inside_names,
    common_subsequence_length,
    copies_in_brackets,
    copies_words_of,
    copy_limits,
    is_copy,
)
from tests.helpers.sentences import AR, DE, EN, JA, RU, TH, UK, ZH


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (EN, EN.upper()),
        (EN, EN.rstrip(".").replace(",", "")),
        (EN, " ".join(EN)),
        (EN, f"Also: „{EN}“, das heißt: {DE}"),
        (EN, EN.replace("announced the invention", "verkündeten die Erfindung")),
        (EN, EN.replace("o", "ο", 1)),
        (ZH, ZH.replace("，", " , ").replace("宣布", "公布")),
        (JA, f"「{JA}」"),
        (TH, TH.replace(" ", "")),
        (AR, f"{AR} {EN}"),
        (RU, RU.replace("учёные", "scientists")),
        ("Cafe\u0301 Paris", "CAF\u00c9 PARIS!"),
        ("Straße", "STRASSE"),
        ("42", "42."),
        ("ABC 123", "ＡＢＣ １２３"),
        ("?!", " ?! "),
        ("The cat sat.", "the  cat sat"),
        (EN, " ".join(EN.split()[::-1])),
        (EN, " ".join(sorted(EN.split()))),
        ("Die alte Mühle am Fluss wurde verkauft.", "The alte Mühle on Fluss the wurde sold verkauft."),
    ],
)
def test_copies(source: str, text: str) -> None:
    assert is_copy(source, text)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (EN, DE),
        (RU, UK),
        (ZH, JA),
        (JA, ZH),
        (AR, TH),
        ("Angela Merkel besucht Paris.", "Angela Merkel visits Paris."),
        ("Das Internet", "The Internet"),
        ("?!", "?"),
        ("日本人", "日本人です"),
        ("1939, 1940, 1945", "1939, 1940 und 1945"),
        (EN, ""),
        (
            "Die Angeklagten sind Orin Telvanni, Miro Telvanni und Sela Varro.",
            "The accused are Orin Telvanni, Miro Telvanni and Sela Varro.",
        ),
        (
            "Agents Orin Telvanni, Miro Telvanni and Sela Varro met in Balmora in 1998.",
            "1998 trafen sich Orin Telvanni, Miro Telvanni und Sela Varro in Balmora.",
        ),
    ],
)
def test_translations_are_no_copies(source: str, text: str) -> None:
    assert not is_copy(source, text)


def test_short_words_inside_a_name_are_the_name() -> None:
    source = "The Society for the Prevention of Cruelty to Animals said no."
    text = "La Society for the Prevention of Cruelty to Animals a dit non."
    assert not copies_words_of(source, text, "en", "fr")
    assert _words_inside_names(source, text) == {"for", "the", "of", "to"}
    assert _words_inside_names(source, "Prevention for the of to Cruelty") == set()


def test_words_of_the_source_in_brackets_are_carried_along() -> None:
    begin = " ".join(EN.split()[:4])
    assert copies_in_brackets(EN, f"{DE} ({begin})", "en")
    assert copies_in_brackets(EN, f"{DE}（{begin}）", "en")
    assert not copies_in_brackets(EN, f"{DE} (Stanford)", "en")
    # Behind the last sentence one word is enough.
    korean, english = (
        "남극 내륙은 얼음으로 뒤덮인 고원입니다.",
        "Inland Antarctica is a plateau covered by ice",
    )
    assert copies_in_brackets(korean, f"{english}. (남극)", "ko")
    assert not copies_in_brackets(korean, f"{english} (남극)", "ko")
    assert not copies_in_brackets("Ja (er kam).", "Yes. (Ja)", "de")
    assert not copies_in_brackets(EN.replace(".", " (a new one)."), f"{DE} (a new one)", "en")


def test_close_languages_have_limits_of_their_own() -> None:
    da = "Hun kommer fra Oslo og bor i dag i en lille by ved vandet i Danmark."
    nb = "Hun kommer fra Oslo og bor i dag i en liten by ved vannet i Danmark."
    assert is_copy(da, nb)
    assert not is_copy(da, nb, copy_limits("da", "nb"))


def textbook_length(first: str, second: str) -> int:
    """The table of the textbook."""
    row = [0] * (len(second) + 1)
    for x in first:
        new = [0]
        for k, y in enumerate(second):
            new.append(row[k] + 1 if x == y else max(row[k + 1], new[k]))
        row = new
    return row[-1]


@pytest.mark.slow
@given(st.text("abc", max_size=12), st.text("abc", max_size=12))
def test_the_longest_common_subsequence(first: str, second: str) -> None:
    assert common_subsequence_length(first, second) == textbook_length(first, second)


@given(st.text(min_size=1))
def test_every_text_is_a_copy_of_itself(text: str) -> None:
    assert is_copy(text, text)


@pytest.mark.parametrize(
    ("direction", "source", "text"),
    [
        ("de-en", "Soweit bekannt wurde niemand verletzt.", "Soweit bekannt wurde nobody was hurt."),
        ("de-en", "Die Ursache wurde nicht angegeben.", "The cause wurde nicht angegeben."),
        ("en-fr", "He never came back to the house again.", "He never came back à la maison."),
        ("en-fr", "He never came back to the house again.", "Jamais il ne revint to the house again."),
    ],
)
def test_the_beginning_or_the_end_of_a_source_is_a_copy(direction: str, source: str, text: str) -> None:
    src, tgt = direction.split("-")
    assert is_copy(source, text, copy_limits(src, tgt)._replace(run=1.0, total=1.0, words=1.0), src)


@pytest.mark.parametrize(
    ("direction", "source", "text"),
    [
        ("de-en", "Der Zug nach Berlin kam in Hamburg an.", "The train to Berlin came in Hamburg."),
        ("en-fr", "Radio Free Asia Limited said no.", "Radio Free Asia Limited a dit non."),
        ("en-fr", "The hotel is a museum.", "The Guardian habite un museum."),
        ("zh-ja", "日本政府发表声明。", "日本政府は声明を出した。"),
    ],
)
def test_names_and_short_ends_are_no_copies(direction: str, source: str, text: str) -> None:
    src, tgt = direction.split("-")
    assert not is_copy(source, text, copy_limits(src, tgt)._replace(run=1.0, total=1.0, words=1.0), src)
