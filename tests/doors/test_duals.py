"""`python -m dupo.duals`: what a person reads of the duals of a file, without a model and without labels."""

import json
import re
from pathlib import Path

import pytest

from dupo.duals import main
from dupo.text import find_numbers
from dupo.text.numbers import REASONS
from dupo.trust.number_listing import marked

ROOT = Path(__file__).parents[2]
QUESTIONS = [
    "Tina has 7 apples and buys 12 more on the 3rd of May. How many are there?",
    "No numeral here, though there are words.",
    "Each one of 30 pens and 30 pencils \x1b[31mbreak; \u202eeach cost 4 dollars.",
]


@pytest.fixture
def dataset(tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps({"question": q}) + "\n" for q in QUESTIONS))
    return str(path)


def test_shows_every_number_and_why_it_stays(dataset, capsys):
    assert main(["--dataset", dataset, "--show", "3"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "has [[7]] apples and buys [[12]] more on the 3{ordinal}rd of May" in shown
    assert "Each one{pronoun} of [[30]] pens and [[30]] pencils" in shown
    assert "each cost [[4]] dollars" in shown
    assert "problems.jsonl:2 No numeral here, though there are words. duals: none" in shown
    assert "7 as V" in shown and "12 as V" in shown
    assert "How 7 is asked for, given the answer:" in shown and "\\boxed{ANSWER}" in shown


def test_counts_the_whole_file(dataset, capsys):
    assert main(["--dataset", dataset, "--show", "0"]) == 0
    shown = capsys.readouterr().out
    assert "problems.jsonl:" not in shown
    rows = [line.split() for line in shown.splitlines()]
    for cells in (["may", "be", "hidden", "5"], ["pronoun", "1"], ["ordinal", "1"], ["word", "1"]):
        assert cells in [row[: len(cells)] for row in rows]
    assert "question: question, answer: none" in shown
    assert "3 problems; 2 (66.7%) have a dual; 5 duals, 1.67 for each problem" in shown


def test_draws_the_same_problems_for_the_same_seed(dataset, capsys):
    shown = []
    for seed in ("1", "1", "2"):
        assert main(["--dataset", dataset, "--show", "1", "--seed", seed]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]


def test_at_most_so_many_duals(dataset, capsys):
    assert main(["--dataset", dataset, "--duals_per_prompt", "1"]) == 0
    assert "2 duals, 0.67 for each problem" in capsys.readouterr().out


def test_text_is_shown_and_not_obeyed(dataset, capsys):
    assert main(["--dataset", dataset]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\u202e" not in shown
    assert "\\x1b[31{word}m" in shown


@pytest.mark.parametrize("question", QUESTIONS)
def test_marks_take_nothing_away(question):
    (numbers,) = find_numbers([question])
    text = marked(question, numbers).plain
    for number in numbers:
        shown = f"{number.surface}{{{number.skip}}}" if number.skip else f"[[{number.surface}]]"
        assert shown in text
        text = text.replace(shown, number.surface, 1)
    assert text == question.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "nothing.jsonl"),
        (
            '{"text": "7 apples", "id": 1}\n',
            "question_column: expected a column question or problem or prompt in nothing.jsonl, got text, id",
        ),
    ],
)
def test_mistakes_are_one_line(tmp_path, content, message, capsys):
    path = tmp_path / "nothing.jsonl"
    if content is not None:
        path.write_text(content)
    assert main(["--dataset", str(path)]) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1
    assert message in output.err


def test_the_examples_of_the_docs_are_true():
    page = (ROOT / "docs/duals.md").read_text(encoding="utf-8")
    examples = re.findall(r"^\| [^|]+ \| `([^|`]*(?:\[\[|\{)[^|`]*)`", page, re.M)
    assert len(examples) == 112
    seen = set()
    for example in examples:
        plain = re.sub(rf"\{{(?:{'|'.join(REASONS)})\}}", "", example).replace("[[", "").replace("]]", "")
        (found,) = find_numbers([plain])
        assert marked(plain, found).plain == example
        seen |= {number.skip for number in found}
    assert seen == {*REASONS, None}


def test_a_file_without_numbers_is_shown_too(tmp_path, capsys):
    path = tmp_path / "words.jsonl"
    path.write_text('{"question": "Which of them is it?"}\n{"question": "What is x_1?"}\n')
    assert main(["--dataset", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "x_1{subscript}" in shown and "2 problems; 0 (0.0%) have a dual" in shown
