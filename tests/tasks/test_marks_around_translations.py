"""Marks, labels and closings around a translation come off whole or are refused, and a source's own stay."""

import math
import random

import pytest

from dupo.config.task_options import GATES
from dupo.tasks.repetition import says_again
from dupo.tasks.translation_gates import GateResult, Gates

BRIDGE = "The old bridge over the river was closed for repairs last winter."
BRÜCKE = "Die alte Brücke über den Fluss wurde im letzten Winter wegen Reparaturen gesperrt."
다리 = "강 위의 오래된 다리는 지난겨울 수리를 위해 폐쇄되었습니다."
TEXTS = {"en": BRIDGE, "de": BRÜCKE, "ko": 다리}


def read(direction: str, source: str, text: str) -> GateResult:
    src, tgt = direction.split("-")
    return Gates(frozenset(GATES), src, tgt, 3.0).read(source, text)


@pytest.mark.parametrize("direction", ["en-de", "de-en", "en-ko", "ko-en"])
@pytest.mark.parametrize(
    "frame",
    [
        "In {name}, this would be: {text}",
        "Here is the {name}: {text}",
        "Here is the {name} version: {text}",
        "The {name} translation is {text}",
        'The {name} translation is "{text}"',
        "{own}: {text}",
        "{code}: {text}",
        "[{own}] {text}",
        "({name}) {text}",
        "{text} ({name})",
        "Answer: {text}",
        "**Final Answer:** {text}",
        "Here you go: {text}",
        "{text} I hope this translation helps you!",
        "{text} I hope this helps! Feel free to ask. Let me know if you need more.",
        "{text} Let me know if you need anything else!",
        "{text}\nLet me know if you need anything else!",
        "***{text}***",
        "~~{text}~~",
        "```{text}```",
        "'{text}'",
        "[{text}]",
        "({text})",
        "| {text} |",
        "<translation>{text}</translation>",
        "<b>{text}</b>",
        "\\boxed{{{text}}}",
        "$\\text{{{text}}}$",
        "{text}</s>",
        "{text}<|im_end|>",
        '{{"translation": "{text}"}}',
        '{{"source": "x", "translation": "{text}"}}',
        '["{text}"]',
        "{text} 😊",
        "✅ {text}",
        "{text} #translation",
        "{text} https://example.com/x",
        "{text} ...",
        "\ufeff{text}",
    ],
)
def test_frames_come_off(direction: str, frame: str) -> None:
    src, tgt = direction.split("-")
    name = {"en": "English", "de": "German", "ko": "Korean"}[tgt]
    own = {"en": "English", "de": "Deutsch", "ko": "한국어"}[tgt]
    wrapped = frame.format(name=name, own=own, code=tgt.upper(), text=TEXTS[tgt])
    assert read(direction, TEXTS[src], wrapped) == (TEXTS[tgt], None)


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ('{"translation": "' + BRÜCKE, "wrapper"),
        (BRÜCKE + '"}', "wrapper"),
        ('{"a": "' + BRÜCKE + '", "b": "' + BRÜCKE[::-1] + '"}', "wrapper"),
        (BRÜCKE + " / Im letzten Winter wurde die alte Flussbrücke repariert und gesperrt.", "wrapper"),
        (BRÜCKE + " or: Im letzten Winter wurde die alte Flussbrücke repariert.", "wrapper"),
        (BRÜCKE + " Das bedeutet, dass der Satz von einer Brücke handelt.", "wrapper"),
        (BRÜCKE + " Dieser Satz steht im Passiv.", "wrapper"),
        (BRÜCKE + " " + BRÜCKE[: len(BRÜCKE) // 2], "repetition"),
        (BRÜCKE + " " + BRÜCKE[len(BRÜCKE) // 2 :], "repetition"),
    ],
)
def test_what_cannot_be_told_from_the_translation_is_refused(text: str, gate: str) -> None:
    assert read("en-de", BRIDGE, text) == (None, gate)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Die Inschrift lautet: Hier ruht Anna.", "The inscription translates as: Here lies Anna."),
        ("Er starb 1832 (das Datum ist unsicher).", "He died in 1832 (note: the date is uncertain)."),
        ("minus 5 Grad", "- 5 degrees"),
        ("mehr als 5 Jahre", "> 5 years"),
        ("Die Übersetzung ist gut.", "The translation is good."),
        ("Die Antwort: zweiundvierzig.", "Answer: forty-two."),
        ("Die Antwort - er kam nicht.", "Answer: he did not come."),
        ("Sag Bescheid, wenn du etwas brauchst!", "Let me know if you need anything!"),
        ("Er kam. Hoffentlich hilft das.", "He came. I hope that helps."),
        ("Wollen Sie Tee? / Wollen Sie Saft?", "Do you want to drink tea? / Do you want to drink juice?"),
        ("Der Satz ist lang; das heißt, er ist schwer.", "The sentence is long. This means it is hard."),
        ("Das Urteil war hart, das bedeutet Haft.", "The verdict was harsh. This means prison."),
        ("‚Komm mit!‘", "'Come along!'"),
        ("„Komm mit!“", "'Come along!'"),
        ("Er sagt 'ja' und 'nein'.", "'Yes' and 'no' is what he says, and also 'maybe'"),
        ("(Er kam nicht.)", "(He did not come.)"),
        ("Er kam (spät) und ging (früh).", "(Late) he came and he left (early)"),
        ("Das Tag <b>fett</b> steht hier.", "<b>The bold tag stands here.</b>"),
        ("Prima 😀", "Great 😀"),
        ("Siehe https://firma.de/x heute.", "Today see https://firma.de/x"),
        ("Er kam #heute an.", "He arrived #today"),
        ("Immer wieder kam er, immer wieder ging er.", "Again and again he came, again and again he went."),
        ("Das ist [1] klar.", "That is clear [1]"),
    ],
)
def test_what_the_source_has_stays(source: str, text: str) -> None:
    assert read("de-en", source, text).answer == text


@pytest.mark.parametrize("share", [0.1, 0.25, 0.4])
def test_passages_that_stand_twice_are_found(share: float) -> None:
    random.seed(0)
    for _ in range(300):
        text = "".join(random.choices("abc", k=random.randint(1, 24)))
        length = math.ceil(share * len(text))
        pieces = [text[place : place + length] for place in range(len(text) - length + 1)]
        twice = any(pieces[k] in pieces[k + length :] for k in range(len(pieces)))
        assert says_again(text, share) == twice, text


def test_a_closing_inside_a_translation_stays() -> None:
    text = "Er schrieb: „Hallo.“ Feel free to come! Danach schwieg er lange."
    assert read("en-de", "He wrote: “Hello.” Komm ruhig! Then he was silent for long.", text).answer == text


def test_a_list_mark_before_a_number_comes_off_without_a_sign_in_the_source() -> None:
    assert read("de-en", "Fünf Männer kamen heute.", "- 5 men came today.").answer == "5 men came today."
    note = "He died in 1832. (Note: the date is uncertain.)"
    assert read("de-en", "Er starb im Jahr 1832.", note).answer == "He died in 1832."
