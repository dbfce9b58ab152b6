"""One exchange, as the terminal shows it."""

from typing import Any

import pytest

from dupo.views.exchange import exchange_of
from dupo.views.terminal import Display
from tests.helpers.streams import SAMPLE, Stream


@pytest.mark.parametrize(
    ("changes", "title", "answer"),
    [
        ({"correct": False}, "step 7 · train.jsonl:17 · wrong", "42 (wrong)"),
        ({"correct": None}, "step 7 · train.jsonl:17 · gold unknown", "42 (gold unknown)"),
        ({"gold": "41", "correct": False}, "step 7 · train.jsonl:17 · wrong", "42 (wrong; gold: 41)"),
        (
            {"gold": "Ja.", "correct": None, "score": 0.534},
            "step 7 · train.jsonl:17 · score 0.53 of 1",
            "42 (score 0.53 of 1; reference: Ja.)",
        ),
        (
            {"gold": "Ja.", "correct": None},
            "step 7 · train.jsonl:17 · not judged",
            "42 (not judged; reference: Ja.)",
        ),
        ({"answer": None, "correct": False}, "step 7 · train.jsonl:17 · wrong", "none could be read"),
    ],
    ids=["wrong", "unknown", "wrong beside gold", "graded", "graded by another version", "unreadable"],
)
def test_exchange_says_what_is_known(changes: dict[str, Any], title: str, answer: str) -> None:
    told, lines = exchange_of({**SAMPLE, **changes})
    assert told == title
    assert dict(lines)["answer"] == answer


def test_exchange_without_duals_or_text() -> None:
    stream = Stream()
    Display(stream).exchange(*exchange_of({**SAMPLE, "duals": [], "completion": " \n"}))
    assert "  completion  (empty)\n" in stream.written()
    assert "came back" not in stream.written()


def test_an_answer_without_duals_says_why_it_has_no_reward() -> None:
    row = {**SAMPLE, "duals": [], "reward": None}
    assert ("reward", "none, as no dual was asked") in exchange_of({**row, "held_out": True})[1]
    # Neither has one of a group that was not judged.
    assert ("reward", "none, as no dual was asked") in exchange_of(row)[1]


def test_what_a_model_writes_its_own_way_stands_there_in_plain_as_well() -> None:
    dual = {
        "prompt": "@?+2=3:",
        "completion": "1",
        "unknown": "1",
        "distance": 0.0,
        "plain": "? + 2 = 3, ? = 1",
    }
    row = {**SAMPLE, "plain": "1 + 2 = 4", "plain_gold": "1 + 2 = 3", "duals": [dual], "held_out": True}
    title, lines = exchange_of({**row, "correct": False})
    assert title == "step 7 · held out · train.jsonl:17 · wrong"
    assert [text for name, text in lines if name == "in plain"] == [
        "1 + 2 = 4 (right: 1 + 2 = 3)",
        "? + 2 = 3, ? = 1",
    ]
    assert ("in plain", "1 + 2 = 4") in exchange_of({**row, "correct": True})[1]
    assert "in plain" not in dict(exchange_of(SAMPLE)[1])
