"""One data set in every format is the same problems; a file that is something else is told what it is."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dupo.config.task_options import TaskOptions
from dupo.data.examples import read_examples
from dupo.data.files import read_file_rows
from dupo.data.parallel_text import read_sentences
from dupo.data.rows import Row
from dupo.data.sources import read_rows
from dupo.errors import UserError
from dupo.tasks.word_problem_data import read_problems

ROWS = [
    {"question": "철수는 사과 12개를 샀다. 3개를 먹었다. 몇 개 남았나?", "answer": "9"},
    {"question": 'Ann said "5, or 7?";\nthen she took 0.10 of it.', "answer": "0.10"},
    {"question": "A; B, and C\thave 1,250 pens. [1] {2} # 3", "answer": "1250"},
    {"question": "'Tis a line with U+2028\u2028inside: 40 - 2 = ?", "answer": "38"},
]


def table(delimiter: str, end: str = "\n") -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["question", "answer"], delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    # A program of Windows writes its line ends into cells as well.
    writer.writerows({name: cell.replace("\n", end) for name, cell in row.items()} for row in ROWS)
    return text.getvalue()


def lines(end: str = "\n") -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + end for row in ROWS)


def parquet(rows: list[dict[str, str]] = ROWS) -> bytes:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def arrow(kind: str) -> bytes:
    pa = pytest.importorskip("pyarrow")
    sink, rows = io.BytesIO(), pa.Table.from_pylist(ROWS)
    with getattr(pa.ipc, f"new_{kind}")(sink, rows.schema) as writer:
        writer.write_table(rows)
    return sink.getvalue()


FORMATS: dict[str, Callable[[], str | bytes]] = {
    "a.jsonl": lines,
    "windows.jsonl": lambda: "\ufeff" + lines("\r\n"),
    "escaped.jsonl": lambda: "\n".join(map(json.dumps, ROWS)),
    "a.jsonl.gz": lambda: gzip.compress(lines().encode()),
    "packed.jsonl": lambda: gzip.compress(lines().encode()),
    "lines.json": lines,
    "list.json": lambda: json.dumps(ROWS, ensure_ascii=False),
    "pretty.json": lambda: json.dumps(ROWS, indent=2).replace("\n", "\r\n"),
    "list_without_ending": lambda: json.dumps(ROWS),
    "lines_without_ending": lines,
    "a.csv": lambda: table(","),
    "A.CSV": lambda: table(","),
    "windows.csv": lambda: "\ufeff" + table(",", "\r\n"),
    "excel.csv": lambda: "\ufeff" + table(";", "\r\n"),
    "told.csv": lambda: "sep=;\r\n" + table(";", "\r\n"),
    "tabs.csv": lambda: table("\t"),
    "a.csv.gz": lambda: gzip.compress(table(",").encode()),
    "a.tsv": lambda: table("\t"),
    "unicode.tsv": lambda: table("\t", "\r\n").encode("utf-16"),
    "big_endian.csv": lambda: b"\xfe\xff" + table(",").encode("utf-16-be"),
    "a.parquet": parquet,
    "stream.arrow": lambda: arrow("stream"),
    "file.arrow": lambda: arrow("file"),
}


def put(folder: Path, name: str, data: str | bytes) -> str:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(path)


@pytest.mark.parametrize("name", FORMATS)
def test_one_data_set_in_every_format_is_the_same_problems(tmp_path: Path, name: str) -> None:
    options = TaskOptions(task="word_problems")
    problems, notes = read_problems(put(tmp_path, name, FORMATS[name]()), options, answers_needed=True)
    assert [problem.text for problem in problems] == [row["question"] for row in ROWS]
    assert [problem.gold for problem in problems] == ["9", "0.1", "1250", "38"]
    assert [dict(problem.columns) for problem in problems][1]["answer"] == "0.10"  # as the file writes it
    assert len({problem.id for problem in problems}) == len(ROWS) and notes == []
    assert all(problem.id.startswith(f"{name}:") for problem in problems)


def test_rows_know_where_they_start(tmp_path: Path) -> None:
    csv_rows = read_file_rows(put(tmp_path, "a.csv", table(",")))
    assert [row.place for row in csv_rows] == [f"a.csv, line {line}" for line in (2, 3, 5, 6)]
    json_rows = read_file_rows(put(tmp_path, "a.json", json.dumps(ROWS)))
    assert [row.place for row in json_rows] == [f"a.json, item {item}" for item in (1, 2, 3, 4)]
    assert [row.id for row in json_rows] == ["a.json:1", "a.json:2", "a.json:3", "a.json:4"]


def test_a_line_of_plain_text_is_a_problem(tmp_path: Path) -> None:
    text = "\ufeffAnn has 5 pens.\r\n\r\n  \r\n정수 7의 두 배는?\r\n"
    problems, _ = read_problems(
        put(tmp_path, "a.txt", text), TaskOptions(task="word_problems"), answers_needed=False
    )
    assert [(p.id, p.text) for p in problems] == [
        ("a.txt:1", "Ann has 5 pens."),
        ("a.txt:4", "정수 7의 두 배는?"),
    ]


def test_numbers_of_parquet_are_text_with_the_digits_of_their_type(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {
        "int": pa.array([12345678901234567, None]),
        "double": pa.array([0.1, float("nan")]),
        "float": pa.array([0.1, None], pa.float32()),
        "decimal": pa.array(["0.10", "7.00"]).cast(pa.decimal128(5, 2)),
        "deep": pa.array([{"a": [1.5, 2.0]}, None]),
        "truth": pa.array([True, None]),
    }
    file = tmp_path / "a.parquet"
    parquet.write_table(pa.table(columns), file)
    first, second = read_file_rows(file)
    assert first == {
        "int": "12345678901234567",
        "double": "0.1",
        "float": "0.1",
        "decimal": "0.10",
        "deep": {"a": ["1.5", "2.0"]},
        "truth": True,
    }
    assert second == dict.fromkeys(columns) | {"decimal": "7.00"}


HTML = "<!DOCTYPE html><html><body>question,answer</body></html>"
COLUMNS = ["one object of columns", "df.to_json('rows.jsonl', orient='records', lines=True)"]
# (name, contents, words of the message: what the file looks like, and how to convert it)
NOT_WHAT_IT_SAYS = [
    ("a.jsonl", json.dumps(ROWS), ["one JSON list", ".json", "jq -c '.[]' a.jsonl"]),
    (
        "a.json",
        json.dumps({"data": ROWS, "version": 1}),
        ["one object", "'data'", "jq -c '.[\"data\"][]' a.json"],
    ),
    (
        "a.json",
        json.dumps({"question": ["1", "2"], "answer": ["3", "4"]}),
        ["one object of columns", "lines=True"],
    ),
    ("a.json", json.dumps({"1": ROWS[0], "2": ROWS[1]}), ["a row under each key", "jq"]),
    ("a.json", '{"question": {"0": "5?", "1": "6?"}, "answer": {"0": 5, "1": 6}}', COLUMNS),
    ("a.json", '{"text": {"0": "5?"}}', COLUMNS),
    ("a.json", '{"Question": {"a": "5?", "b": "6?"}, "Answer": {"a": 5, "b": 6}}', COLUMNS),
    ("a.json", json.dumps({"0": ROWS[0], "1": ROWS[1]}), ["a row under each key", "jq -c '.[]' a.json"]),
    ("a.json", "[]", ["expected a list of objects", "an empty list"]),
    ("a.json", '["a", true]', ["a.json, item 1", "got a value"]),
    ("a.json", '["a", "b"]', ["a list of texts", "jq -c '.[] | {question: .}' a.json"]),
    ("a.json", '{"columns": ["a"], "index": [0], "data": [["5?"]]}', ["pandas", "orient='split'"]),
    ("a.json", '[{"a": 1},\n{"a": 2},\n]', ["a.json, line 3", "take out the comma"]),
    ("a.jsonl", '{"a": 1},\n{"a": 2},\n', ["a.jsonl, line 1", "take out the comma"]),
    ("a.json", "7", ["got a single value"]),
    ("a.json", '[{"a": 1},\n {"a": ]', ["a.json, line 2", "got an error"]),
    ("a.parquet.gz", gzip.compress(b"PAR1rest", mtime=0), ["a file packed by gzip", "gunzip"]),
    ("a.arrow", gzip.compress(b"ARROW1rest", mtime=0), ["a file packed by gzip", "gunzip"]),
    ("a.json", '{"a": 1}\n{"a": \n', ["a.json, line 2", "expected valid JSON"]),
    ("a.jsonl", '{\n  "question": "5?"\n}\n', ["a.jsonl, line 1", "ends in .json"]),
    ("a.csv", lines(), ["JSON", "end in .jsonl"]),
    ("a.csv", json.dumps(ROWS), ["JSON", ".json"]),
    ("a.txt", lines(), ["JSON", ".jsonl"]),
    ("a.txt", "question\tanswer\n5?\t7\n", ["a table with tabs", ".tsv"]),
    ("a.txt", "question,answer\n5?,7\n", ["a table with a header", ".csv"]),
    ("a.txt", '{ "question": "5?", "answer": 7 }\n', ["JSON", ".jsonl"]),
    ("a.txt", "{'question': '5?', 'answer': 7}\n", ["JSON", ".jsonl"]),
    ("a.txt", 'Ann has 5.\n{ "a": 7 },\n', ["JSON", ".jsonl"]),
    ("a.txt", json.dumps(ROWS, indent=2), ["JSON", ".json"]),
    ("a.txt", '[\n  {\n    "question": "5?",\n  },\n]\n', ["JSON", ".json"]),
    ("a.txt", '[ {"role": "user", "content": "5?"} ]\n', ["JSON", ".jsonl"]),
    ("a.txt", "question, answer\nAnn has 5., 8\nhas 6, 7\n", ["a table with a header", ".csv"]),
    ("a.txt", 'question,answer\n"Ann has 5 pens.\nShe buys 3",8\n', ["a table with a header", ".csv"]),
    ("a.txt", 'Frage; Antwort\n"5 Stifte.\nWie viele?"; 8\n', ["a table with a header", ".csv"]),
    ("a.txt", "question\tanswer\n5?\t5\n\n6?\t6\tx\n", ["a table with tabs", ".tsv"]),
    ("a.txt", "question|answer\n5?|5\n", ["a table with a header", ".csv"]),
    ("a.txt", "- question: Ann has 5 pens\n  answer: 5\n", ["questions with their answers", ".jsonl"]),
    ("a.csv", "Ann has 5 pens and buys 3.\nHow many?\n", ["text", ".txt"]),
    ("a.csv", HTML, ["a web page", "download the file itself"]),
    ("a.jsonl", "\n" + HTML, ["a web page"]),
    ("a.parquet", HTML, ["a parquet file", "something else"]),
    ("a.jsonl", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n", ["git-lfs", "git lfs pull"]),
    ("a.xlsx", b"PK\x03\x04rest", ["an Excel workbook", "CSV"]),
    ("a.csv", b"PK\x03\x04rest", ["an Excel workbook", "CSV"]),
    ("a.jsonl", b"PAR1rest", ["a parquet file", ".parquet"]),
    ("a.csv", "Größe;1\n".encode("cp1252"), ["a.csv, line 1", "expected UTF-8", "iconv"]),
    ("a.jsonl", '{"a": 1}'.encode("utf-16-le"), ["UTF-16 without its mark", "UTF-8"]),
    ("a.tsv", b"\xff\xfe" + b"a" * 7, ["UTF-16", "UTF-8"]),
    ("a.jsonl.gz", gzip.compress(lines().encode(), mtime=0)[:60], ["a whole file of gzip"]),
    ("a.dat", "question,answer\n", ["ends in one of .jsonl", "'a.dat'"]),
    ("a.csv", "question,answer\n", ["expected rows below the header question, answer"]),
    ("a.csv", "a,a\n1,2\n", ["different names of columns, got 'a' twice"]),
    ("a.csv", 'a,b\n1,"2\n3,4\n', ["a.csv, line 2", "expected cells"]),
    ("a.csv", "a,b\n1,2,3\n", ["a.csv, line 2", "expected 2 cells as in the header, got 3", '"']),
    ("a.csv", "a,b\nhas 5,1,\n", ["a.csv, line 2", "expected 2 cells as in the header, got 3"]),
    ("a.csv", "a,b\n1,2\nhas 5,1,\n", ["a.csv, line 3", "expected 2 cells as in the header, got 3"]),
    ("a.csv", "a,b,,\n1,2,,\n5,1,7,\n", ["a.csv, line 3", "expected 2 cells as in the header, got 4"]),
    ("a.csv", "a,b\n1\n", ["a.csv, line 2", "expected 2 cells as in the header, got 1"]),
    ("a.csv", 'a,b\n"x "y" z",2\n', ["a.csv, line 2", 'double a "']),
    ("a.csv", "5?,7\n", ["expected rows below the header 5?, 7"]),
    ("a.csv", "7,7\n8,9\n", ["got '7' twice: the header seems to be missing"]),
    ("a.csv", "question|answer\n5, or 7?|7\n", ['a table with "|"', "sep=|", "commas"]),
    ("a.csv", "question|answer\n5?|7\n", ['a table with "|"', "sep=|", "commas"]),
    ("a.tsv", "question|answer\n5?|7\n", ['a table with "|"', "sep=|", "commas"]),
    ("a.tsv", "question,answer\n5?,7\n", ["a table with tabs", "one with commas", ".csv"]),
    ("a.jsonl", '{"a": 1}\n{"a": 1, "b": 2, "a": 1}\n', ["a.jsonl, line 2", "the key 'a' twice"]),
    ("a.json", '{"a": 1, "a": 2}\n{"a": 1}\n', ["a.json, line 1", "the key 'a' twice"]),
    ("a.json", '[{"a": [{"b": 1, "b": 2}]}]', ["a.json: expected", "the key 'b' twice in one object"]),
    ("a.csv", "", ["an empty file"]),
]


@pytest.mark.parametrize(("name", "data", "words"), NOT_WHAT_IT_SAYS)
def test_a_file_that_is_something_else_is_told_what_it_looks_like(
    tmp_path: Path, name: str, data: str | bytes, words: list[str]
) -> None:
    with pytest.raises(UserError) as refusal:
        read_rows(put(tmp_path, name, data))
    line = str(refusal.value)
    assert "\n" not in line and all(word in line for word in words), line


@pytest.mark.parametrize(
    "line",
    [
        "{1, 2, 3} is a set. How many subsets has the set?",
        "[AMC 8] Ann has 5 pens, Bob 7, and Cy 9.",
        "{ x : x > 5 } has what as its smallest integer?",
        '{"A", "B"} has how many subsets of 1 letter?',
        "Hello, world",
        "Question: Ann has 5 pens; how many are 2 of these?",
        "question, answer, repeat: what comes 5 rounds later?",
        "[1, 2, 3]",
        "|5 - 7| = ?",
    ],
)
def test_text_with_braces_and_commas_is_text(tmp_path: Path, line: str) -> None:
    for others in ("", "Yes, sir.\n", "Tom, 5, has {7} pens.\n"):
        rows, _ = read_rows(put(tmp_path, "a.txt", f"{line}\n{others}"))
        assert [row["text"] for row in rows] == f"{line}\n{others}".splitlines()


def test_a_carriage_return_ends_a_line_of_text(tmp_path: Path) -> None:
    for text in ("5 pens?\r6 pens?\r", "5 pens?\r6 pens?\n", "5 pens?\r\n6 pens?\r"):
        rows, _ = read_rows(put(tmp_path, "a.txt", text))
        assert [(row["text"], row.number) for row in rows] == [("5 pens?", 1), ("6 pens?", 2)]
    rows, _ = read_rows(put(tmp_path, "a.jsonl", lines("\r")))
    assert rows == ROWS


def test_numbers_that_json_does_not_have_are_gaps(tmp_path: Path) -> None:
    row = '{"a": NaN, "b": [Infinity, {"c": -Infinity}], "d": "NaN", "e": 1e3}'
    for name, text in (("a.jsonl", row), ("a.json", f"[{row}]")):
        rows, _ = read_rows(put(tmp_path, name, text))
        assert rows == [{"a": None, "b": [None, {"c": None}], "d": "NaN", "e": "1e3"}]
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    values = [float("nan"), float("inf"), float("-inf")]
    columns = {"double": pa.array(values), "float": pa.array(values, pa.float32()), "text": ["nan"] * 3}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert read_file_rows(tmp_path / "a.parquet") == [{"double": None, "float": None, "text": "nan"}] * 3


def test_two_columns_of_parquet_with_one_name_are_named(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pa.Table.from_arrays([pa.array(["5?"]), pa.array(["7"])], names=["a", "a"])
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"different names of columns, got 'a' twice$"):
        read_file_rows(tmp_path / "a.parquet")


def test_parquet_without_its_library_names_the_package(tmp_path: Path, monkeypatch) -> None:
    from dupo.data import arrow_files

    monkeypatch.setattr(arrow_files, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"got none: pip install pyarrow, or"):
        read_rows(put(tmp_path, "a.parquet", b"PAR1 and the rest"))


def test_a_damaged_parquet_file_is_one_line(tmp_path: Path) -> None:
    sound = parquet()
    for cut in (4, 20, len(sound) // 2, len(sound) - 5):
        with pytest.raises(UserError, match="a whole parquet file"):
            read_rows(put(tmp_path, "a.parquet", sound[:cut]))


def test_cells_of_any_size_are_read_and_the_limit_of_the_process_stays(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    ((row,), _) = read_rows(put(tmp_path, "a.csv", f'question,answer\n"{"long " * 60_000}",7\n'))
    assert len(row["question"]) == 300_000 and csv.field_size_limit() == before


def test_a_table_may_have_empty_columns_and_rows_at_its_ends(tmp_path: Path) -> None:
    ((row,), _) = read_rows(put(tmp_path, "a.csv", "\n question ,answer,,\n,,,\n5?,7,,\n,,,\n"))
    assert isinstance(row, Row) and row == {"question": "5?", "answer": "7"} and row.number == 4


def test_every_row_may_end_in_as_many_blank_cells(tmp_path: Path) -> None:
    rows, _ = read_rows(put(tmp_path, "a.csv", "question,answer\n5?,7,\n6?,8,\n"))
    assert rows == [{"question": "5?", "answer": "7"}, {"question": "6?", "answer": "8"}]
    (row,) = read_file_rows(put(tmp_path, "a.csv", ",question\n0,5?\n"))  # as pandas writes its index
    assert row == {"question": "5?"}


def test_a_table_without_a_header_is_told_so(tmp_path: Path) -> None:
    file = put(tmp_path, "a.csv", "Ann has 5 pens and buys 3 more. How many?,8\nBob has 6 pens?,6\n")
    told = "the header seems to be missing: put the names of the columns into a line above the first row"
    for column in (None, "question"):
        options = TaskOptions(task="word_problems", question_column=column)
        with pytest.raises(UserError, match=rf"in a\.csv, got Ann has 5 pens .*, 8: {told}$"):
            read_problems(file, options, answers_needed=False)
    with pytest.raises(UserError, match=told):
        read_sentences(file, "en", "de")
    with pytest.raises(UserError, match=told):
        read_examples(file, None, 0)
    assert read_rows(put(tmp_path, "a.csv", "sep=|\nquestion|answer\n5, or 7?|7\n"))[0] == [
        {"question": "5, or 7?", "answer": "7"}
    ]
