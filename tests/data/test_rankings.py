"""Rankings in every form, pairs with a margin, and the rows that rank nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from dupo.data.rankings import Ranking, read_rankings
from dupo.errors import UserError


def read(path: Path, *rows: dict[str, Any]) -> tuple[list[Ranking], list[str]]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rankings = read_rankings(str(path), None, 0)
    return rankings.train, rankings.notes


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "1+1?", "completions": ["2", "3", "4"]},
        {"prompt": [said("user", "1+1?")], "completions": ["2", "3", "4"]},
        {"Prompt": "1+1?", "Completions": [[said("assistant", text)] for text in "234"]},
        {"prompt": "1+1?", "completions": [said("assistant", text) for text in "234"]},
        {"prompt": "1+1?", "completions": '["2", "3", "4"]'},
        {"prompt": "", "completions": [[said("user", "1+1?"), said("assistant", text)] for text in "234"]},
    ],
)
def test_a_list_is_read_from_the_best_to_the_worst(row, tmp_path):
    ((answers, margin),), notes = read(tmp_path / "r.jsonl", row)
    assert [answer.completion for answer in answers] == ["2", "3", "4"] and margin == 0
    assert {answer.prompt for answer in answers} == {"1+1?"}
    assert not any("left out" in note for note in notes)


@pytest.mark.parametrize(("value", "margin"), [(1.5, 1.5), ("2", 2.0), (0, 0.0), (None, 0.0), ("", 0.0)])
def test_a_pair_has_the_margin_of_its_column(value, margin, tmp_path):
    row = {"prompt": "1+1?", "chosen": "2", "rejected": "3", "margin": value}
    (ranking,), _ = read(tmp_path / "r.jsonl", row)
    assert [answer.completion for answer in ranking.answers] == ["2", "3"] and ranking.margin == margin


def test_rows_of_a_table_hold_lists_as_json(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text('prompt,completions\n1+1?,"[""2"", ""3""]"\n2+2?,"[""4"", ""5"", ""6""]"\n')
    rankings = read_rankings(str(path), None, 0).train
    assert [[answer.completion for answer in r.answers] for r in rankings] == [["2", "3"], ["4", "5", "6"]]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"completions": ["2"]}, "at least two answers in 'completions'"),
        ({"completions": []}, "at least two answers in 'completions'"),
        ({"completions": ["2", "3", "2 "]}, "answers that differ"),
        ({"completions": ["2", ""]}, "text in 'completions'"),
        ({"completions": ["2", None]}, "text in 'completions'"),
        ({"completions": ["2", {"text": "3", "score": 1}]}, "text or a number in 'completions'"),
        ({"completions": "2"}, "a list of answers, the best first, in 'completions'"),
        ({"completions": None}, "a list of answers, the best first, in 'completions'"),
        ({"completions": {"best": "2"}}, "a list of answers, the best first, in 'completions'"),
        ({"completions": ["2", "3"], "prompt": ""}, "text in 'prompt'"),
        (
            {"completions": [[said("user", "1+1?"), said("assistant", "2")], "3"]},
            "chats that differ in their last message alone",
        ),
    ],
)
def test_a_row_that_ranks_nothing_is_counted_and_named(row, words, tmp_path):
    sound = {"prompt": "2+2?", "completions": ["4", "5"]}
    row = {"prompt": "1+2?"} | row
    rankings, notes = read(tmp_path / "r.jsonl", sound, row, row)
    assert len(rankings) == 1
    (note,) = [note for note in notes if note.startswith("rows left out: 2, expected ")]
    assert words in note and "first: r.jsonl, line 2, got " in note


@pytest.mark.parametrize("value", ["-1", "much", "nan", "inf", [1]])
def test_a_margin_that_is_no_size_is_counted_and_named(value, tmp_path):
    sound = {"prompt": "1+1?", "chosen": "2", "rejected": "3", "margin": 1}
    rankings, notes = read(tmp_path / "r.jsonl", sound, sound | {"prompt": "2?", "margin": value})
    assert len(rankings) == 1 and any("a number of at least 0 in 'margin'" in note for note in notes)


def test_other_columns_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"^dataset: expected columns prompt, chosen and rejected, or prompt"):
        read(tmp_path / "r.jsonl", {"prompt": "x", "completion": "y"})
