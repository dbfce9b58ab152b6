"""Translations of which a half or a third is in another language."""

from importlib.util import find_spec

import pytest

from dupo.tasks.language_parts import is_partly_in_another_language
from tests.helpers import planted_translations as planted
from tests.helpers.sentences import AR, DE, EN, JA, RU, UK, ZH, halves

FR = "Lundi, des scientifiques de Stanford ont annoncé l'invention d'un nouvel outil de diagnostic."
NL = "Maandag kondigden wetenschappers van Stanford de uitvinding van een nieuw diagnostisch hulpmiddel aan."
with_py3langid = pytest.mark.skipif(find_spec("py3langid") is None, reason="py3langid is not installed")


@with_py3langid
@pytest.mark.parametrize(
    ("source", "text", "code"),
    [
        (EN, halves(DE, FR), "de"),
        (EN, halves(FR, DE), "de"),
        (EN, halves(NL, DE), "de"),
        (EN, halves(UK, RU), "ru"),
        (EN, f"{DE} {DE[:60]} {NL}", "de"),
        (AR, halves(FR, EN), "en"),
        (EN, planted.alternate(DE, FR, 0), "de"),
    ],
)
def test_a_half_in_another_language(source: str, text: str, code: str) -> None:
    assert is_partly_in_another_language(source, text, code)


@pytest.mark.parametrize("text", [halves(DE, RU), halves(RU, DE), f"{DE} {ZH}"])
def test_a_half_in_another_script_needs_no_package(text: str) -> None:
    assert is_partly_in_another_language(EN, text, "de")


@pytest.mark.parametrize(
    ("source", "text", "code"),
    [
        *((EN, text, code) for text, code in ((DE, "de"), (RU, "ru"), (ZH, "zh"), (JA, "ja"), (AR, "ar"))),
        (RU, EN, "en"),
        (EN, DE, "xx"),
        # Names, and what the source has too, say nothing.
        (EN, "Die Royal Society for the Prevention of Cruelty to Animals fordert das seit Jahren.", "xx"),
        (RU, "The villages of Riomaggiore, Manarola, Corniglia, Vernazza and Monterosso are old.", "en"),
        (EN, halves(DE, EN), "de"),
        (EN, "Ja.", "de"),
    ],
)
def test_translations_are_in_one_language(source: str, text: str, code: str) -> None:
    assert not is_partly_in_another_language(source, text, code)
