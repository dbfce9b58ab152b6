"""Pairs of answers in every form that TRL reads, and the rows that are no pairs."""

import json
from pathlib import Path
from typing import Any

import pytest

from dupo.data.preferences import Pair, read_pairs_of_answers
from dupo.errors import UserError
from dupo.records import Message


def read(path: Path, *rows: dict[str, Any]) -> tuple[list[Pair], list[str]]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = read_pairs_of_answers(str(path), None, 0)
    return pairs.train, pairs.notes


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


ASKED = [said("system", "Be brief."), said("user", "Hi"), said("assistant", "Hello"), said("user", "1+1?")]
GOOD, BAD = said("assistant", "2"), said("assistant", "3")
HISTORY = tuple(Message(m["role"], m["content"]) for m in ASKED[:-1])


@pytest.mark.parametrize(
    ("row", "history"),
    [
        ({"prompt": "1+1?", "chosen": "2", "rejected": "3"}, ()),
        ({"Prompt": "1+1?", "Chosen": "2", "Rejected": "3"}, ()),
        ({"prompt": "1+1?", "chosen": [GOOD], "rejected": [BAD]}, ()),
        ({"prompt": ASKED, "chosen": [GOOD], "rejected": [BAD]}, HISTORY),
        ({"prompt": ASKED, "chosen": "2", "rejected": "3"}, HISTORY),
        ({"chosen": [*ASKED, GOOD], "rejected": [*ASKED, BAD]}, HISTORY),
        # The prompt stands in the answers as well, as in UltraFeedback.
        ({"prompt": "1+1?", "chosen": [*ASKED, GOOD], "rejected": [*ASKED, BAD]}, HISTORY),
        ({"prompt": ASKED, "chosen": [*ASKED, GOOD], "rejected": [*ASKED, BAD]}, HISTORY),
    ],
)
def test_every_form_gives_one_prompt_and_two_answers(row, history, tmp_path):
    ((chosen, rejected),), notes = read(tmp_path / "p.jsonl", row)
    assert (chosen.prompt, chosen.history) == (rejected.prompt, rejected.history) == ("1+1?", history)
    assert (chosen.completion, rejected.completion) == ("2", "3")
    assert not [note for note in notes if "left out" in note]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "1+1?", "chosen": "2", "rejected": "2"}, "answers that differ"),
        ({"prompt": "1+1?", "chosen": "2", "rejected": " 2\n"}, "answers that differ"),
        ({"prompt": "1+1?", "chosen": "", "rejected": "3"}, "text in 'chosen'"),
        ({"prompt": "1+1?", "chosen": "2", "rejected": None}, "text in 'rejected'"),
        ({"prompt": " ", "chosen": "2", "rejected": "3"}, "text in 'prompt'"),
        ({"chosen": "2", "rejected": "3"}, "text in 'prompt'"),
        ({"chosen": [*ASKED, GOOD], "rejected": [ASKED[1], BAD]}, "differ in their last message alone"),
        (
            {"chosen": [*ASKED, GOOD], "rejected": [*ASKED]},
            "one of the assistant last in 'rejected'",
        ),
        ({"prompt": "1+1?", "chosen": {"a": 1}, "rejected": "3"}, "text or a number in 'chosen'"),
    ],
)
def test_a_row_that_is_no_pair_is_counted_and_named(row, words, tmp_path):
    sound = {"prompt": "2+2?", "chosen": "4", "rejected": "5"}
    pairs, notes = read(tmp_path / "p.jsonl", sound, row, row)
    assert [pair.chosen.completion for pair in pairs] == ["4"]
    (note,) = [note for note in notes if note.startswith("rows left out: 2, expected ")]
    assert words in note and "first: p.jsonl, line 2, got " in note
    with pytest.raises(UserError, match=r"^q\.jsonl, line 1: expected "):
        read(tmp_path / "q.jsonl", row)


def test_other_columns_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"^dataset: expected columns prompt, chosen and rejected in .*, got"):
        read(tmp_path / "p.jsonl", {"prompt": "x", "completion": "y"})


def test_pairs_of_one_prompt_are_on_one_side(tmp_path):
    path = tmp_path / "p.jsonl"
    rows = [{"prompt": f"{i}?", "chosen": f"{j}", "rejected": "x"} for i in range(20) for j in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    train, held_out, notes = read_pairs_of_answers(str(path), None, 5)
    prompts = [{pair.chosen.prompt for pair in side} for side in (train, held_out)]
    assert len(held_out) == 15 and len(prompts[1]) == 5 and len(train) == 45 and not prompts[0] & prompts[1]
    assert not any("not trained on" in note for note in notes)
