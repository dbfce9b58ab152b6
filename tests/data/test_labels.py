"""Labelled answers in every form that TRL reads, and the rows that have no label."""

import json
from pathlib import Path
from typing import Any

import pytest

from dupo.data.labels import read_labelled
from dupo.errors import UserError

OTHER = {"prompt": "2+2?", "completion": "5", "label": False}


def read(path: Path, *rows: dict[str, Any]) -> tuple[list[tuple[str, str, bool]], list[str]]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = read_labelled(str(path), None, 0)
    return [(i.example.prompt, i.example.completion, i.desirable) for i in read.train], read.notes


@pytest.mark.parametrize("label", [True, 1, "true", "True", "1", 1.0])
def test_a_label_is_read_in_every_form(tmp_path: Path, label: Any) -> None:
    answers, _ = read(tmp_path / "a.jsonl", {"prompt": "1+1?", "completion": "2", "label": label}, OTHER)
    assert answers == [("1+1?", "2", True), ("2+2?", "5", False)]


def test_messages_are_read(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]
    row = {"prompt": chat[:1], "completion": chat[1:], "label": True}
    answers, _ = read(
        tmp_path / "a.jsonl", row, {**row, "completion": [{**chat[1], "content": "3"}], "label": 0}
    )
    assert answers == [("1+1?", "2", True), ("1+1?", "3", False)]


def test_a_pair_makes_a_good_and_a_bad_answer(tmp_path: Path) -> None:
    answers, _ = read(tmp_path / "a.jsonl", {"prompt": "1+1?", "chosen": "2", "rejected": "3"})
    assert answers == [("1+1?", "2", True), ("1+1?", "3", False)]


def test_ids_tell_the_answers_of_a_pair_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"prompt": "1+1?", "chosen": "2", "rejected": "3"}))
    ids = [item.example.id for item in read_labelled(str(path), None, 0).train]
    assert ids == ["a.jsonl:1", "a.jsonl:1 (rejected)"]


@pytest.mark.parametrize("label", ["maybe", None, "", 2, 0.5, [True]])
def test_a_row_without_a_label_is_left_out_and_counted(tmp_path: Path, label: Any) -> None:
    row = {"prompt": "1+1?", "completion": "2"}
    answers, notes = read(tmp_path / "a.jsonl", {**row, "label": label}, {**row, "label": True}, OTHER)
    assert len(answers) == 2
    (note,) = [note for note in notes if "left out" in note]
    assert note.startswith("rows left out: 1, ") and "expected true or false in 'label'" in note


def test_one_label_alone_teaches_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^dataset: expected answers of both labels, got false alone"):
        read(tmp_path / "a.jsonl", OTHER)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected columns prompt, completion and label, or chosen and"):
        read(tmp_path / "a.jsonl", {"prompt": "1+1?", "completion": "2"})
