"""Scripts, lengths and codes of languages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupo.tasks.languages import LANGUAGES, SHORT_CODES, language_of
from dupo.tasks.scripts import SCRIPT_OF, is_in_script, length_ratio
from tests.helpers.sentences import AR, DE, EN, JA, RU, TH, ZH


@pytest.mark.parametrize(
    ("text", "code", "right"),
    [
        (DE, "de", True),
        (RU, "de", False),
        (DE, "ru", False),
        (RU, "ru", True),
        (RU, "uk", True),  # the same script: left to py3langid
        (ZH, "zh-CN", True),
        (ZH, "zh_Hans", True),
        (ZH, "zho_Hant", True),
        (ZH, "ja", True),
        ("こんにちは、ありがとうございます", "zh", False),
        (JA, "zh", True),  # a third of it is Han: left to py3langid
        (JA, "jpn_Jpan", True),
        (EN, "zh", False),
        ("月刊雑誌の名前はNational Geographicです", "ja", True),
        ("在Firefox和Chrome浏览器中打开Wikipedia", "zh", True),
        ("Open Wikipedia in Firefox, 谢谢", "zh", False),
        (AR, "ar-EG", True),
        (AR, "fa", True),  # not in the table: not checked
        (EN, "xx", True),
        (TH, "th", True),
        ("Καλημέρα κόσμε", "el", True),
        ("Καλημέρα κόσμε", "en", False),
        ("안녕하세요", "ko_Hang", True),
        ("안녕하세요", "ko", True),
        (ZH, "ko", False),
        (DE, "uk-Latn", True),
        (RU, "ms_Arab", False),
        ("123, 456!", "ru", True),
        ("", "ru", True),
        ("ＡＢＣ", "en", True),
    ],
)
def test_scripts(text: str, code: str, right: bool) -> None:
    assert is_in_script(text, code) is right


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ("OK.", "In Ordnung.", 1.0, 2.0),
        (EN, ZH, 1.0, 1.3),
        (EN, JA, 1.0, 1.3),
        (EN, TH, 1.0, 1.3),
        (EN, "월요일, 스탠포드 대학교 연구진은 새로운 진단 도구를 발명했다고 발표했습니다.", 1.0, 1.3),
        (ZH, ZH * 4, 3.0, 4.0),
        (EN, "Ja.", 4.0, 8.0),
        ("Ja", "", 1.0, 1.3),
        ("Yes", "Ja, das sehe ich auch so, und alle anderen auch.", 3.0, 4.0),
    ],
)
def test_length_ratios(first: str, second: str, low: float, high: float) -> None:
    assert low <= length_ratio(first, second) == length_ratio(second, first) <= high


@given(st.text(min_size=1))
def test_every_text_is_as_long_as_itself(text: str) -> None:
    assert length_ratio(text, text) == 1.0


def test_codes_of_languages() -> None:
    assert {language_of(code) for code in LANGUAGES} == set(LANGUAGES) == set(SCRIPT_OF)
    assert set(SHORT_CODES.values()) == set(LANGUAGES)
    codes = ("zh-CN", "ZH_Hans", "zho", "nob_Latn", "no", "arb_Arab", "xx-YY")
    assert [language_of(c) for c in codes] == ["zh", "zh", "zh", "nb", "no", "ar", "xx"]
