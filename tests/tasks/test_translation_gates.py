"""The gates of translations: what each refuses and lets pass, in several scripts, and on real references."""

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from dupo.config.task_options import TaskOptions
from dupo.errors import UserError
from dupo.tasks import language_detection
from dupo.tasks.translation_gates import GATES, Gates, parse_gates
from tests.helpers.sentences import DE, EN, JA, RU, UK, ZH, halves

with_py3langid = pytest.mark.skipif(find_spec("py3langid") is None, reason="py3langid is not installed")
ALL = frozenset(GATES)


@pytest.fixture
def script_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_detection, "find_spec", lambda name: None)


def refusal(source: str, completion: str, src: str = "en", tgt: str = "de", names: str = "all") -> str | None:
    chosen = ALL if names == "all" else parse_gates(names)
    answer, reason = Gates(chosen, src, tgt, 3.0).read(source, completion)
    assert (answer is None) != (reason is None)
    return reason


def test_names_of_gates() -> None:
    assert parse_gates(TaskOptions().gates) == parse_gates(" Copy,LINES , length,language,copy") == ALL
    assert parse_gates("copy") == {"copy"} and parse_gates("off") == parse_gates(" OFF ") == frozenset()
    for text, name in (("copies", "copies"), ("off,copy", "off"), (" ", ""), ("copy,,lines", "")):
        with pytest.raises(
            UserError, match=f"gates: expected off, or any of lines, copy, length, language, got '{name}'"
        ):
            TaskOptions(gates=text)


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


def test_close_languages_may_share_more() -> None:
    da = "Hun kommer fra Oslo og bor i dag i en lille by ved vandet i Danmark."
    nb = "Hun kommer fra Oslo og bor i dag i en liten by ved vannet i Danmark."
    assert refusal(da, nb, "da", "nb", "copy") is None
    assert refusal(da, nb, "dan_Latn", "no", "copy") is None
    assert refusal(da, nb, "da", "en", "copy") == "copy"
    assert refusal(da, "Ja: " + da, "da", "nb", "copy") == "copy"


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
    monkeypatch.setattr(language_detection, "find_spec", lambda name: object())
    assert note("en", "de") == "gates: language (script; py3langid)"
    assert note("en", "de", ALL).startswith("gates: lines, copy, length (at most 3 times")
    assert note("en", "de", frozenset()) == "gates: off"


def test_the_margin_is_asked_of_the_two_languages_only(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = ModuleType("py3langid")
    scores = {"fr": 0.0, "en": -10.0, "no": -14.0}
    fake.rank = lambda text: list(scores.items())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "py3langid", fake)
    monkeypatch.setattr(language_detection, "find_spec", lambda name: object())
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
