"""The gates of translations: what each refuses and lets pass, in several scripts, and on real references."""

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dupo.config.options import Config
from dupo.errors import UserError
from dupo.tasks import translation_gates as gates
from dupo.tasks.translation import LANGUAGES
from dupo.tasks.translation_gates import (
    GATES,
    Gates,
    common,
    gates_of,
    in_script,
    is_copy,
    language_of,
    length_ratio,
)

with_py3langid = pytest.mark.skipif(find_spec("py3langid") is None, reason="py3langid is not installed")
EN = "On Monday, scientists from Stanford announced the invention of a new diagnostic tool."
DE = "Am Montag haben Wissenschaftler aus Stanford die Erfindung eines neuen Diagnosetools bekanntgegeben."
ZH = "周一，斯坦福大学的科学家宣布发明了一种新型诊断工具。"
JA = "月曜日に、スタンフォード大学の科学者たちは新しい診断ツールの発明を発表しました。"
TH = "เมื่อวันจันทร์ นักวิทยาศาสตร์จากสแตนฟอร์ดได้ประกาศการประดิษฐ์เครื่องมือวินิจฉัยใหม่"
AR = "أعلن علماء من جامعة ستانفورد يوم الاثنين عن اختراع أداة تشخيصية جديدة."
RU = "В понедельник учёные из Стэнфорда объявили об изобретении нового диагностического инструмента."
UK = "У понеділок вчені зі Стенфорда оголосили про винахід нового діагностичного інструменту."
ALL = frozenset(GATES)


@pytest.fixture
def script_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "find_spec", lambda name: None)


def refusal(source: str, completion: str, src: str = "en", tgt: str = "de", names: str = "all") -> str | None:
    chosen = ALL if names == "all" else gates_of(names)
    answer, reason = Gates(chosen, src, tgt, 3.0).read(source, completion)
    assert (answer is None) != (reason is None)
    return reason


def test_names_of_gates() -> None:
    assert gates_of(Config().gates) == gates_of(" Copy,LINES , length,language,copy") == ALL
    assert gates_of("copy") == {"copy"} and gates_of("off") == gates_of(" OFF ") == frozenset()
    for text, name in (("copies", "copies"), ("off,copy", "off"), ("", ""), ("copy,,lines", "")):
        with pytest.raises(
            UserError, match=f"gates: expected off, or any of lines, copy, length, language, got '{name}'"
        ):
            gates_of(text)


def halves(source: str, target: str) -> str:
    """The first half of the source, then the second of its translation."""
    begin, end = source.split(), target.split()
    return " ".join([*begin[: len(begin) // 2], *end[len(end) // 2 :]])


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        (DE, None),
        (f"<think>{EN}\nHmm.</think>\n\n{DE}\n", None),
        ("", "unreadable"),
        (f"<think>{DE}", "unreadable"),
        (f"{DE}\n{DE}", "lines"),
        (f"{DE}\r{DE}", "lines"),
        (f"{DE}\u2028{EN}", "lines"),
        (EN, "copy"),
        (f"Hier ist die Übersetzung: {EN}", "copy"),
        (DE + " " + DE * 3, "length"),
        ("Ja.", "length"),
        (RU, "language"),
    ],
)
def test_every_reason(completion: str, reason: str | None) -> None:
    assert refusal(EN, completion) == reason
    if reason in ALL:
        assert refusal(EN, completion, names=",".join(ALL - {reason})) != reason
    assert refusal(EN, completion, names="off") == ("unreadable" if reason == "unreadable" else None)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (EN, EN.upper()),
        (EN, EN.rstrip(".").replace(",", "")),
        (EN, " ".join(EN)),
        (EN, f"Also: „{EN}“, das heißt: {DE}"),
        (EN, halves(EN, DE)),
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
    ],
)
def test_translations_are_no_copies(source: str, text: str) -> None:
    assert not is_copy(source, text)


def test_close_languages_may_share_more() -> None:
    da = "Hun kommer fra Oslo og bor i dag i en lille by ved vandet i Danmark."
    nb = "Hun kommer fra Oslo og bor i dag i en liten by ved vannet i Danmark."
    assert is_copy(da, nb)
    assert refusal(da, nb, "da", "nb", "copy") is None
    assert refusal(da, nb, "dan_Latn", "no", "copy") is None
    assert refusal(da, nb, "da", "en", "copy") == "copy"
    assert refusal(da, "Ja: " + da, "da", "nb", "copy") == "copy"


def longest(a: str, b: str) -> int:
    """The table of the textbook."""
    row = [0] * (len(b) + 1)
    for x in a:
        new = [0]
        for k, y in enumerate(b):
            new.append(row[k] + 1 if x == y else max(row[k + 1], new[k]))
        row = new
    return row[-1]


@given(st.text("abc", max_size=12), st.text("abc", max_size=12))
def test_the_longest_common_subsequence(a: str, b: str) -> None:
    assert common(a, b) == longest(a, b)


@given(st.text(min_size=1))
def test_every_text_is_a_copy_of_itself(text: str) -> None:
    assert is_copy(text, text)
    assert length_ratio(text, text) == 1.0


@pytest.mark.parametrize(
    ("a", "b", "low", "high"),
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
def test_length_ratios(a: str, b: str, low: float, high: float) -> None:
    assert low <= length_ratio(a, b) == length_ratio(b, a) <= high


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
    assert in_script(text, code) is right


def test_codes_of_languages() -> None:
    assert {language_of(code) for code in LANGUAGES} == set(LANGUAGES) == set(gates.SCRIPT_OF)
    assert set(gates.SHORT_CODES.values()) == set(LANGUAGES)
    codes = ("zh-CN", "ZH_Hans", "zho", "nob_Latn", "no", "arb_Arab", "xx-YY")
    assert [language_of(c) for c in codes] == ["zh", "zh", "zh", "nb", "no", "ar", "xx"]


@with_py3langid
@pytest.mark.parametrize(
    ("text", "src", "tgt", "reason"),
    [
        ("Researchers of a Californian university have presented an instrument.", "en", "de", "language"),
        (
            "Researchers of a Californian university have presented an instrument.",
            "eng_Latn",
            "deu_Latn",
            "language",
        ),
        (DE, "en", "de", None),
        (UK, "uk", "ru", "language"),
        (RU, "uk", "ru", None),
        (ZH, "zh-CN", "ja", "language"),
        (JA, "zh_Hans", "ja", None),
        ("Han sagde, at de ikke længere ville arbejde på det nye værktøj.", "da", "nb", "language"),
        ("Han sagde, at de ikke længere ville arbejde på det nye værktøj.", "da", "no", "language"),
        ("Han sa at de ikke lenger ville jobbe med det nye verktøyet.", "da", "nb", None),
        ("Para ilmuwan mengumumkan penemuan alat diagnostik baru.", "id", "ms", None),  # kept out
        (EN, "en", "xx", None),
        (EN, "en-GB", "en-US", None),
        ("Berlin", "en", "de", None),
    ],
)
def test_the_source_language(text: str, src: str, tgt: str, reason: str | None) -> None:
    assert refusal("x" * len(text), text, src, tgt, "language") == reason


def test_what_is_checked_stands_in_the_note(script_only: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def note(src: str, tgt: str, names: frozenset[str] = frozenset({"language"})) -> str:
        return Gates(names, src, tgt, 3.0).note()

    assert refusal(EN, EN, names="language") is None
    assert note("en", "de").startswith("gates: language (script only,")
    assert "pip install py3langid" in note("en", "de")
    assert note("id", "ms") == "gates: language (script; py3langid does not tell id from ms)"
    assert "no script is known for xx" in note("en", "xx")
    monkeypatch.setattr(gates, "find_spec", lambda name: object())
    assert note("en", "de") == "gates: language (script; py3langid)"
    assert note("en", "de", ALL).startswith("gates: lines, copy, length (at most 3 times")
    assert note("en", "de", frozenset()) == "gates: off"


def test_the_margin_is_asked_of_the_two_languages_only(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = ModuleType("py3langid")
    scores = {"fr": 0.0, "en": -10.0, "no": -14.0}
    fake.rank = lambda text: list(scores.items())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "py3langid", fake)
    monkeypatch.setattr(gates, "find_spec", lambda name: object())
    assert refusal("x", "y", "en", "nb", "language") is None
    scores["en"] = -9.9
    assert refusal("x", "y", "en", "nb", "language") == "language"


FLORES = ("en-de", "de-en", "en-zh", "zh-en", "en-ja", "da-nb", "es-pt", "id-ms", "uk-ru", "en-th", "ar-en")


@with_py3langid
@pytest.mark.parametrize("direction", FLORES)
def test_references_pass_and_sources_do_not(data_dir: Path, direction: str) -> None:
    """Every third sentence of FLORES-200 dev, all of the hardest direction: the share of references that each
    gate refuses, and of sentences in the source language that the language gate does."""
    src, tgt = direction.split("-")
    texts = [(data_dir / f"flores_dev/dev.{c}").read_text(encoding="utf-8").splitlines() for c in (src, tgt)]
    pairs = list(zip(*texts, strict=True))[:: 1 if direction == "da-nb" else 3]
    share = {name: sum(refusal(*p, src, tgt, name) == name for p in pairs) / len(pairs) for name in GATES}
    assert share["lines"] == share["length"] == 0
    # one reference may hold a title in the language of the source
    assert share["copy"] <= (0.01 if direction == "id-ms" else 1 / len(pairs))
    assert share["language"] <= 0.01
    assert all(refusal(source, source, src, tgt) == "copy" for source, _ in pairs)
    if not {"ja", "th", "zh"} & {src, tgt} and direction not in ("da-nb", "id-ms"):
        caught = [refusal(source, halves(source, target), src, tgt) for source, target in pairs]
        assert sum(map(bool, caught)) >= 0.9 * len(pairs)
    if direction != "id-ms":
        caught = [refusal(target, source, src, tgt, "language") for source, target in pairs]
        assert caught.count("language") >= 0.95 * len(pairs)
