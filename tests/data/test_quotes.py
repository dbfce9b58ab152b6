"""What a double quote means in a table: part of CSV, or a letter of the text. No row is lost in silence."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from dupo.data.files import read_file_rows
from dupo.errors import UserError

HEADER = ("question", "answer")
PLAIN = [(f"Ann has {n} pens and Bob {n + 2} nails", str(n)) for n in range(1, 15)]


def rows_of(folder: Path, name: str, text: str) -> list[tuple[str, ...]]:
    path = folder / name
    path.write_text(text, newline="")
    return [tuple(row.values()) for row in read_file_rows(path)]


def refusal(folder: Path, name: str, text: str) -> str:
    with pytest.raises(UserError) as caught:
        rows_of(folder, name, text)
    return str(caught.value)


def plain_table(rows: list[tuple[str, str]], delimiter: str) -> str:
    return "".join(f"{delimiter.join(row)}\n" for row in [HEADER, *rows])


def quoted_table(rows: list[tuple[str, str]], delimiter: str, quoting: Any = csv.QUOTE_MINIMAL) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator="\n").writerows([HEADER, *rows])
    return text.getvalue()


def with_stray_quotes(rows: list[tuple[str, str]], first: int, last: int) -> list[tuple[str, str]]:
    """A question that starts with a quote, and a later one that ends with a quote."""
    stray = list(rows)
    stray[first] = (f'"{rows[first][0]}', rows[first][1])
    stray[last] = (f'{stray[last][0]}"', rows[last][1])
    return stray


@pytest.mark.parametrize("last", [4, 9, 13])
def test_quotes_in_a_plain_file_with_tabs_are_letters(tmp_path: Path, last: int) -> None:
    stray = with_stray_quotes(PLAIN, 3, last)
    for name in ("a.tsv", "a.csv"):
        assert rows_of(tmp_path, name, plain_table(stray, "\t")) == stray
    unbalanced = [*PLAIN[:3], ('"I own 5 pens', "11"), ('"Yes" and "no" are 2 words', "2"), *PLAIN[3:]]
    assert rows_of(tmp_path, "a.tsv", plain_table(unbalanced, "\t")) == unbalanced
    # A quote that swallows a tab makes the row too short.
    three = "a\tb\tc\n" + '"x\ty"\tz\n' + "1\t2\t3\n"
    assert rows_of(tmp_path, "a.tsv", three) == [('"x', 'y"', "z"), ("1", "2", "3")]


CELLS = [
    ("Two\nlines", "1"),
    ("A\ttab", "2"),
    ('He said "5"', "3"),
    ('"5" is a word', "4"),
    ("A table:\n1\t2\n\n3\t4", "5"),
    ('"', "6"),
    ("plain, and; more", "Two\nlines"),
]


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize(
    ("name", "delimiter"), [("a.tsv", "\t"), ("a.csv", "\t"), ("a.csv", ","), ("a.csv", ";")]
)
def test_cells_are_read_as_programs_quote_them(
    tmp_path: Path, name: str, delimiter: str, quoting: Any
) -> None:
    assert rows_of(tmp_path, name, quoted_table(CELLS, delimiter, quoting)) == CELLS
    for cell in CELLS[:6]:
        assert rows_of(tmp_path, name, quoted_table([cell, ("x", "7")], delimiter, quoting)) == [
            cell,
            ("x", "7"),
        ]


@pytest.mark.parametrize("last", [4, 9, 13])
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_stray_quote_of_csv_swallows_no_rows(tmp_path: Path, delimiter: str, last: int) -> None:
    text = plain_table(with_stray_quotes(PLAIN, 3, last), delimiter)
    message = refusal(tmp_path, "a.csv", text)
    assert "a.csv, line 5: expected a cell that ends before the next row, got a quoted cell" in message
    assert f"up to line {last + 2}, over lines that look like rows" in message
    assert 'double a "' in message and "JSON lines" in message
    # The same in a file whose other rows are quoted as they should be.
    proper = quoted_table([(f"Well{delimiter} {PLAIN[0][0]}", "1"), ('"a" b', "2")], delimiter)
    assert "line 7: expected a cell that ends" in refusal(tmp_path, "a.csv", proper + text.split("\n", 1)[1])
    assert "unexpected end of data" in refusal(tmp_path, "a.csv", text.replace('nails"', "nails"))


def test_lines_of_a_question_do_not_look_like_rows(tmp_path: Path) -> None:
    cells = [
        ("Ann has 5 pens, Bob 7.\nHow many?", "12"),
        ("Let A=(3,5).\nFind its norm.", "8"),
        ("He earns 1,200\nHow much is half?", "600"),
        ("x,y\n1,2\n3,4\nWhat is the slope?", "1"),
        ("How many?", "7"),
    ]
    assert rows_of(tmp_path, "a.csv", quoted_table(cells, ",")) == cells


def test_one_column_of_quoted_lines_is_refused_where_nothing_tells_rows_from_lines(tmp_path: Path) -> None:
    stray = 'question\nAnn has 5\n"Bob has 6\nCy has 7"\nDee has 8\n'
    for name in ("a.csv", "a.tsv"):
        assert "line 3: expected a cell that ends" in refusal(tmp_path, name, stray)
    assert rows_of(tmp_path, "a.csv", stray + '"Eve, 9"\n')[1] == ("Bob has 6\nCy has 7",)
    assert rows_of(tmp_path, "a.tsv", stray.replace("question", '"question"'))[1] == ("Bob has 6\nCy has 7",)


def test_a_file_that_quotes_in_both_ways_is_refused(tmp_path: Path) -> None:
    both = plain_table([*PLAIN, ('"I own 5', "5"), ('"He said ""6"""', "6")], "\t")
    assert "a.tsv, line 16: expected cells of a table" in refusal(tmp_path, "a.tsv", both)


def test_line_ends_of_old_systems_may_stand_among_others(tmp_path: Path) -> None:
    text = 'question,answer\n"5\rand, 6?",7\r8?,9\n"1\n2, 3?",4\n'
    expected = [("5\rand, 6?", "7"), ("8?", "9"), ("1\n2, 3?", "4")]
    assert rows_of(tmp_path, "a.csv", text) == expected
