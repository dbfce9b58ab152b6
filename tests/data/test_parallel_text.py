"""Sentences with their translations: every gap is counted, in files side by side and in columns."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from dupo.data.parallel_text import read_sentences
from dupo.errors import UserError


def read_lines(folder: Path, en: str, ko: str | None) -> tuple[list[tuple[str, str | None]], list[str]]:
    (folder / "dev.en").write_text(en)
    if ko is not None:
        (folder / "dev.ko").write_text(ko)
    problems, notes = read_sentences(str(folder), "en", "ko")
    return [(problem.text, problem.gold) for problem in problems], notes


def test_blank_lines_of_parallel_files_are_counted(tmp_path: Path) -> None:
    pairs, notes = read_lines(tmp_path, "one\n\n \nfour\n", "하나\n둘\n\n\n")
    assert pairs == [("one", "하나"), ("four", None)]
    assert notes == [
        "rows left out: 1, expected text beside a line of dev.ko (first: dev.en, line 2, got a blank line)",
        "translations not read: 1, expected text in dev.ko (first: dev.en, line 4, got a blank line)",
    ]


def test_a_file_without_translations_has_no_gaps(tmp_path: Path) -> None:
    assert read_lines(tmp_path, "one\n\nthree\n", None) == ([("one", None), ("three", None)], [])


def read_rows(folder: Path, *rows: Any) -> tuple[list[tuple[str, str | None]], list[str]]:
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    problems, notes = read_sentences(str(folder / "a.jsonl"), "en", "ko")
    return [(problem.text, problem.gold) for problem in problems], notes


@pytest.mark.parametrize("wrap", [lambda row: row, lambda row: {"translation": row}])
def test_gaps_in_columns_are_counted(tmp_path: Path, wrap) -> None:
    gap = float("nan")
    rows = [{"en": "one", "ko": "하나"}, {"en": gap, "ko": "둘"}, {"en": "three", "ko": gap}]
    pairs, notes = read_rows(tmp_path, *map(wrap, rows))
    assert pairs == [("one", "하나"), ("three", None)]
    assert [note.split(",")[0] for note in notes] == ["rows left out: 1", "translations not read: 1"]


def test_pairs_as_json_in_a_cell_are_read(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["translation"])
        writer.writerow([json.dumps({"en": "one", "ko": "하나"})])
        writer.writerow(["{'en': 'two', 'ko': '둘'}"])
    (problem,), (note,) = read_sentences(str(tmp_path / "a.csv"), "en", "ko")
    assert (problem.text, problem.gold) == ("one", "하나")
    assert note.startswith("rows left out: 1, expected an object as JSON in 'translation' (write the rows")


def test_columns_of_other_names_are_listed_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refusal:
        read_rows(tmp_path, {"English": "one", "Korean": "하나"})
    assert str(refusal.value) == (
        "src: expected a column en or translation.en in a.jsonl, got English, Korean: rename the columns to "
        "the codes of the languages, en and ko, or choose others by --src and --tgt"
    )
