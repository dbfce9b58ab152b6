"""Reading data sets, and splitting them."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from dupo.data.files import column, columns, keyed_hash, make_split, read_jsonl, read_lines, split, text_at
from dupo.errors import UserError
from dupo.records import Problem


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
    assert [row.line for row in rows] == [1, 4]  # type: ignore[attr-defined]
    assert columns(rows) == ["a", "b"]


BROKEN = [
    ("", "the file is empty"),
    (" \n\n", "the file is empty"),
    ('{"a": 1}\n{"a": 1 "b": 2}', "data.jsonl, line 2: not valid JSON (Expecting ',' delimiter)"),
    ('{"a": 1', "data.jsonl, line 1: not valid JSON (Expecting ',' delimiter)"),
    ('\n{"a": 1}\n[1]', "data.jsonl, line 3: expected an object"),
    ('"text"', "data.jsonl, line 1: expected an object"),
    (b'{"a": 1}\n{"a": "\xff"}', "data.jsonl, line 2: not valid UTF-8 at byte 8"),
    ("[" * 200_000, "data.jsonl, line 1: not valid JSON"),
]


@pytest.mark.parametrize(("data", "message"), BROKEN, ids=[case[1][-30:] for case in BROKEN])
def test_a_broken_file_is_refused_by_line(write, data: bytes | str, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        read_jsonl(write(data))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.jsonl: no such file"):
        read_jsonl(tmp_path / "nowhere.jsonl")
    with pytest.raises(UserError, match="expected a file, got a folder"):
        read_lines(tmp_path)


def test_column_is_found_or_refused_with_what_is_there() -> None:
    rows = [{"id": "1", "problem": "p"}, {"question": "q"}]
    assert column(rows, "d/x.jsonl", None, ("question", "problem"), "question_column") == "question"
    assert column(rows, "d/x.jsonl", "id", ("question",), "question_column") == "id"
    with pytest.raises(UserError) as refusal:
        column(rows, "d/x.jsonl", "text", ("question",), "question_column")
    assert str(refusal.value) == (
        "question_column: x.jsonl has no column 'text'; its columns are: id, problem, question"
    )
    with pytest.raises(UserError, match="has no column answer or solution; its columns are: id, problem"):
        column(rows, "x.jsonl", None, ("answer", "solution"), "answer_column")


def test_text_of_a_column(write) -> None:
    rows = read_jsonl(write(r'{"a": " x ", "n": 3, "l": [1], "t": true, "s": "\ud800", "z": null, "b": " "}'))
    path = Path("data.jsonl")
    assert text_at(rows[0], path, "a", needed=True) == "x"
    assert text_at(rows[0], path, "n", needed=True) == "3"
    assert text_at(rows[0], path, "z", needed=False) is None
    assert text_at(rows[0], path, "b", needed=False) is None
    for name, message in [
        ("z", "line 1: 'z' is missing or empty"),
        ("nothing", "line 1: 'nothing' is missing or empty"),
        ("l", "line 1: 'l' must be text or a number"),
        ("t", "line 1: 't' must be text or a number, got true"),
        ("s", "line 1: 's' holds half a surrogate pair"),
    ]:
        with pytest.raises(UserError, match=message):
            text_at(rows[0], path, name, needed=True)


def numbered(count: int) -> list[Problem]:
    return [Problem(f"f:{k}", f"text {k}", str(k)) for k in range(count)]


def test_hash_is_the_same_everywhere() -> None:
    assert keyed_hash("Natalia", "key") == 11981606297932247284
    assert keyed_hash("Natalia", "other") != keyed_hash("Natalia", "key")


def test_split_is_disjoint_and_does_not_depend_on_the_order() -> None:
    problems = numbered(200)
    train, held_out = split(problems, 50)
    assert len(held_out) == 50
    assert {p.text for p in train} | {p.text for p in held_out} == {p.text for p in problems}
    assert not {p.text for p in train} & {p.text for p in held_out}
    shuffled = random.Random(0).sample(problems, 200)
    assert split(shuffled, 50)[1] == held_out
    assert split(problems, 20)[1] == held_out[:20]


def test_copies_of_a_text_stay_on_one_side() -> None:
    problems = numbered(40) + [Problem(f"g:{k}", f"text {k}", str(k)) for k in range(40)]
    train, held_out = split(problems, 10)
    assert len(held_out) == len({p.text for p in held_out}) == 10
    assert len(train) == 60
    assert not {p.text for p in train} & {p.text for p in held_out}


def test_only_problems_with_an_answer_are_held_out() -> None:
    problems = [Problem(f"f:{k}", f"text {k}", "1" if k < 3 else None) for k in range(20)]
    train, held_out = split(problems, 10)
    assert sorted(p.id for p in held_out) == ["f:0", "f:1", "f:2"]
    assert len(train) == 17
    nothing = [Problem(f"f:{k}", f"text {k}") for k in range(5)]
    assert split(nothing, 10) == (nothing, [])


def test_something_must_be_left_to_train_on() -> None:
    with pytest.raises(UserError, match=r"eval_size: must be below .* problems \(8\), .* got 8"):
        split(numbered(8), 8)
    with pytest.raises(UserError, match="eval_dataset: it holds every problem"):
        make_split(numbered(8), numbered(9), 9)


def test_a_data_set_for_evaluation_keeps_its_texts_out_of_train() -> None:
    train, held_out = make_split(numbered(30), numbered(5), 3)
    assert len(held_out) == 3
    assert {p.text for p in train} == {p.text for p in numbered(30)} - {p.text for p in held_out}
