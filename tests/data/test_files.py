"""Reading data sets: lines, JSON lines, columns."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dupo.data.columns import choose_columns, column_names, column_text
from dupo.data.files import read_jsonl, read_lines
from dupo.errors import UserError


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes | str], Path]:
    def written(data: bytes | str) -> Path:
        path = tmp_path / "data.jsonl"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return written


def test_rows_know_their_line_and_keep_numbers_as_written(write) -> None:
    path = write('\ufeff{"a": 0.10, "b": 12345678901234567890}\r\n\n  \n{"a": "x\u2028y\u0085z"}\n')
    rows = read_jsonl(path)
    assert rows == [{"a": "0.10", "b": "12345678901234567890"}, {"a": "x\u2028y\u0085z"}]
    assert [row.number for row in rows] == [1, 4]
    assert [row.id for row in rows] == ["data.jsonl:1", "data.jsonl:4"]
    assert column_names(rows) == ["a", "b"]


BROKEN = [
    ("", "expected rows of data, got an empty file"),
    (" \n\n", "expected rows of data, got an empty file"),
    (
        '{"a": 1}\n{"a": 1 "b": 2}',
        "data.jsonl, line 2: expected valid JSON, got an error (Expecting ',' delimiter)",
    ),
    ('{"a": 1', "data.jsonl, line 1: expected valid JSON, got an error (Expecting ',' delimiter)"),
    ('\n{"a": 1}\n[1]', "data.jsonl, line 3: expected an object"),
    ('"text"', "data.jsonl, line 1: expected an object"),
    (b'{"a": 1}\n{"a": "\xff"}', "data.jsonl, line 2: expected UTF-8, got an invalid byte at 8"),
    ("[" * 200_000, "data.jsonl, line 1: expected valid JSON, got an error"),
]


@pytest.mark.parametrize(("data", "message"), BROKEN, ids=[case[1][-30:] for case in BROKEN])
def test_a_broken_file_is_refused_by_line(write, data: bytes | str, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        read_jsonl(write(data))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.jsonl: expected a file, got no such file"):
        read_jsonl(tmp_path / "nowhere.jsonl")
    with pytest.raises(UserError, match="expected a file, got a folder"):
        read_lines(tmp_path)


def test_column_is_found_or_refused_with_what_is_there() -> None:
    rows = [{"id": "1", "problem": "p"}, {"question": "q"}]
    usual = ("question", "problem")
    assert choose_columns(rows, "d/x.jsonl", None, usual, "question_column") == ("question",)
    assert choose_columns(rows, "d/x.jsonl", "id", ("question",), "question_column") == ("id",)
    with pytest.raises(UserError) as refusal:
        choose_columns(rows, "d/x.jsonl", "text", ("question",), "question_column")
    assert str(refusal.value) == (
        "question_column: expected a column 'text' in x.jsonl, got id, problem, question"
    )
    with pytest.raises(UserError, match=r"expected a column answer or solution in x\.jsonl, got id, problem"):
        choose_columns(rows, "x.jsonl", None, ("answer", "solution"), "answer_column")


def test_text_of_a_column(write) -> None:
    rows = read_jsonl(write(r'{"a": " x ", "n": 3, "l": [1], "t": true, "s": "\ud800", "z": null, "b": " "}'))
    assert column_text(rows[0], "a", required=True) == "x"
    assert column_text(rows[0], "n", required=True) == "3"
    assert column_text(rows[0], "z", required=False) is None
    assert column_text(rows[0], "b", required=False) is None
    for name, message in [
        ("z", "line 1: expected text in 'z', got none"),
        ("nothing", "line 1: expected text in 'nothing', got none"),
        ("l", r"line 1: expected text or a number in 'l', got \["),
        ("t", "line 1: expected text or a number in 't', got true"),
        ("s", "line 1: expected text in 's', got half a surrogate pair"),
    ]:
        with pytest.raises(UserError, match=message):
            column_text(rows[0], name, required=True)
