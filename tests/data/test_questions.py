"""Questions as public data sets write them: columns, several columns, chats."""

import json
from pathlib import Path
from typing import Any

import pytest

from dupo.config.task_options import TaskOptions
from dupo.errors import UserError
from dupo.records import Problem
from dupo.tasks.word_problem_data import read_problems

USER, SYSTEM = {"role": "user", "content": "2 and 3?"}, {"role": "system", "content": "Be brief."}
ANSWER = {"role": "assistant", "content": r"It is \boxed{5}."}


def read(folder: Path, *rows: Any, **options: Any) -> tuple[list[Problem], list[str]]:
    file = folder / "a.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_problems(str(file), TaskOptions(task="word_problems", **options), answers_needed=False)


# (data set, one row as it has them, text, gold)
LAYOUTS: list[tuple[str, dict[str, Any], str, str | None]] = [
    ("GSM8K", {"question": "2 and 3?", "answer": "2+3=5\n#### 5"}, "2 and 3?", "5"),
    ("MATH", {"problem": "2?", "level": "Level 1", "solution": r"\boxed{4}"}, "2?", "4"),
    ("MATH-500", {"problem": "2?", "solution": r"so \boxed{4}", "answer": "4"}, "2?", "4"),
    (
        "SVAMP",
        {"ID": "c-1", "Body": "2 pens.", "Question": "How many?", "Answer": 2.0},
        "2 pens.\nHow many?",
        "2",
    ),
    ("ASDiv", {"body": "2 pens.", "question": "How many?", "answer": "2 (pens)"}, "2 pens.\nHow many?", None),
    ("MultiArith", {"input": "2 and 3?", "output_program": "x", "output_answer": "5"}, "2 and 3?", "5"),
    ("Alpaca", {"instruction": "Add.", "input": "2 3", "output": "5"}, "Add.\n2 3", "5"),
    ("Alpaca, no input", {"instruction": "2 and 3?", "input": "", "output": "5"}, "2 and 3?", "5"),
    ("MetaMath", {"query": "2 and 3?", "response": "The answer is: 5", "type": "x"}, "2 and 3?", "5"),
    (
        "DAPO",
        {"prompt": [USER], "reward_model": {"ground_truth": "5", "style": "rule"}, "data_source": "math"},
        "2 and 3?",
        "5",
    ),
    ("OpenR1", {"problem": "2?", "solution": "x", "answer": "4", "messages": [USER, ANSWER]}, "2?", "4"),
    ("HRM8K", {"question": "2와 3?", "answer": 5.0, "original": "2 and 3?"}, "2와 3?", "5"),
    ("Korean", {"질문": "2와 3?", "정답": "5"}, "2와 3?", "5"),
    ("chat", {"messages": [SYSTEM, USER, ANSWER]}, "2 and 3?", "5"),
    (
        "ShareGPT",
        {"conversations": [{"from": "human", "value": "2?"}, {"from": "gpt", "value": "4"}]},
        "2?",
        "4",
    ),
]


@pytest.mark.parametrize(("row", "text", "gold"), [case[1:] for case in LAYOUTS], ids=[c[0] for c in LAYOUTS])
def test_public_data_sets_need_no_option(tmp_path: Path, row, text: str, gold: str | None) -> None:
    ((problem,), notes) = read(tmp_path, row)
    assert problem.text == text and notes == []
    if gold is not None:
        assert problem.gold == gold


def test_only_the_input_of_an_instruction_may_be_blank(tmp_path: Path) -> None:
    whole = {"Body": "Tom has 5 pens.", "Question": "How many?", "Answer": 5}
    for name in ("Body", "Question"):
        problems, notes = read(tmp_path, whole, whole | {name: " "})
        assert [problem.text for problem in problems] == ["Tom has 5 pens.\nHow many?"]
        assert notes == [f"rows left out: 1, expected text in {name!r} (first: a.jsonl, line 2, got none)"]
    with pytest.raises(UserError, match="expected text in 'Question'"):
        read(tmp_path, whole | {"Question": None}, question_column="Body,Question")
    alpaca = {"instruction": "Add.", "input": "2 3", "output": "5"}
    problems, _ = read(tmp_path, alpaca, alpaca | {"instruction": ""}, alpaca | {"input": ""})
    assert [problem.text for problem in problems] == ["Add.\n2 3", "Add."]
    ((problem,), _) = read(tmp_path, {"Instruction": "2 and 3?", "Input": None, "output": "5"})
    assert problem.text == "2 and 3?"


def test_the_developer_of_a_chat_is_its_system(tmp_path: Path) -> None:
    ((problem,), notes) = read(tmp_path, {"messages": [SYSTEM | {"role": "developer"}, USER, ANSWER]})
    assert (problem.text, problem.system, notes) == ("2 and 3?", "Be brief.", [])


def test_columns_that_the_user_names(tmp_path: Path) -> None:
    row = {"a": "2 pens.", "b": {"c": "How many?", "d": 2}, "Body,Question": "odd", "question": "wrong"}
    ((joined,), _) = read(tmp_path, row, question_column="a,b.c", answer_column="b.d")
    assert (joined.text, joined.gold) == ("2 pens.\nHow many?", "2")
    ((odd,), _) = read(tmp_path, row, question_column="Body,Question")
    assert odd.text == "odd"
    with pytest.raises(UserError, match=r"question_column: expected a column 'b\.x' in a\.jsonl, got a, b"):
        read(tmp_path, row, question_column="a,b.x")


def test_the_question_is_the_last_message_of_the_user(tmp_path: Path) -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": "2 and"}, {"type": "text", "text": " 3?"}]}
    problems, notes = read(
        tmp_path,
        {"messages": [SYSTEM, USER, ANSWER]},
        {"messages": [USER]},
        {"messages": [parts, ANSWER]},
        {"messages": json.dumps([SYSTEM, USER])},  # as in a cell of a table
    )
    assert [p.text for p in problems] == ["2 and 3?"] * 4 and notes == []
    assert [p.system for p in problems] == ["Be brief.", None, None, "Be brief."]
    assert [p.gold for p in problems] == ["5", None, "5", None]


def test_rows_that_cannot_be_used_are_left_out_and_counted(tmp_path: Path) -> None:
    image = {"role": "user", "content": [{"type": "image", "image": "x"}, {"type": "text", "text": "2?"}]}
    problems, notes = read(
        tmp_path,
        {"messages": [USER, ANSWER]},
        {"messages": [USER, ANSWER, USER, ANSWER]},
        {"messages": [SYSTEM]},
        {"messages": [image]},
        {"messages": None},
        {"messages": [{"role": "user", "content": "  "}]},
        {"messages": [USER, ANSWER, {"role": "tool", "content": "7"}]},
        {"messages": [{"role": "user", "content": "\ud800"}]},
        {"messages": str([USER])},
        {"messages": [USER, ANSWER, USER]},
    )
    assert [problem.id for problem in problems] == ["a.jsonl:1"]
    assert notes == [
        "rows left out: 2, expected no turn before the question in 'messages' "
        "(first: a.jsonl, line 2, got user, assistant)",
        "rows left out: 1, expected a message of the user in 'messages' "
        "(first: a.jsonl, line 3, got roles system)",
        "rows left out: 1, expected messages of text alone in 'messages' "
        "(first: a.jsonl, line 4, got a piece of kind image)",
        "rows left out: 3, expected text in 'messages' (first: a.jsonl, line 5, got none)",
        "rows left out: 1, expected one answer of the assistant after the last question in 'messages' "
        "(first: a.jsonl, line 7, got assistant, tool)",
        "rows left out: 1, expected a list of messages as JSON in 'messages' (write the rows as JSON lines) "
        "(first: a.jsonl, line 9, got Python's)",
    ]


def test_a_file_without_a_row_to_use_is_an_error_that_names_the_first(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.jsonl, line 1: expected text in 'question', got none"):
        read(tmp_path, {"question": None}, {"question": " "}, {"question": ["2?"]})


def test_an_answer_that_cannot_be_read_keeps_its_problem(tmp_path: Path) -> None:
    problems, notes = read(
        tmp_path, {"question": "2?", "answer": ["5", "7"]}, {"question": "3?", "answer": 3}
    )
    assert [p.gold for p in problems] == [None, "3"]
    assert notes == [
        "answers not read: 1, expected text or a number in 'answer' "
        '(first: a.jsonl, line 1, got ["5", "7"])'
    ]


NO_ANSWERS = [None, "", "n/a", "N/A", "unknown", "-", "—", "?", "nan", r"\boxed{}", "so 5.\n####", "#### n/a"]
NO_ANSWERS += [r"5 + 3, so \boxed{ }", r"\boxed{?}", "알 수 없음", float("nan"), float("inf")]


@pytest.mark.parametrize("answer", NO_ANSWERS)
def test_what_states_no_answer_is_none_and_counted(tmp_path: Path, answer: str | float | None) -> None:
    rows = [{"question": "2?", "answer": 2}, {"question": "3?", "answer": answer}]
    problems, (note,) = read(tmp_path, *rows)
    assert [problem.gold for problem in problems] == ["2", None]
    assert note.startswith(
        "answers not read: 1, expected an answer in 'answer' (first: a.jsonl, line 2, got "
    )


@pytest.mark.parametrize("answer", ["none", "-5", "0", "=", "∅", "no solution", "NaCl", "#### -3"])
def test_short_answers_are_answers(tmp_path: Path, answer: str) -> None:
    ((problem,), notes) = read(tmp_path, {"question": "2?", "answer": answer})
    assert problem.gold is not None and notes == []


def test_a_question_that_is_a_gap_is_left_out(tmp_path: Path) -> None:
    ((problem,), (note,)) = read(tmp_path, {"question": "2?"}, {"question": float("nan")})
    assert problem.text == "2?" and note.startswith("rows left out: 1, expected text in 'question'")


def test_pieces_of_a_message_do_not_run_together(tmp_path: Path) -> None:
    def asked(*texts: str) -> str:
        pieces = [{"type": "text", "text": text} for text in texts]
        return read(tmp_path, {"messages": [{"role": "user", "content": pieces}]})[0][0].text

    assert asked("Ann has 3", "4 pens") == "Ann has 3\n4 pens"
    assert asked("Ann has 3 ", "", "pens", "\nand 4.") == "Ann has 3 pens\nand 4."


@pytest.mark.parametrize(
    "cell",
    [
        json.dumps(USER),
        json.dumps([{"id": 1} | USER]),
        json.dumps({"messages": [SYSTEM, USER]}),
        json.dumps({"conversations": [{"from": "human", "value": "2 and 3?"}]}, indent=1),
        [USER | {"role": "User"}],
        [USER | {"role": "human"}, {"role": " GPT ", "content": "5"}],
        {"messages": [USER]},
    ],
)
def test_chats_of_other_layouts_are_chats(tmp_path: Path, cell: Any) -> None:
    ((problem,), _) = read(tmp_path, {"question": cell})
    assert problem.text == "2 and 3?"


PYTHON_CHAT = """array([{'content': "Ann's 6 pens", 'role': 'user'}], dtype=object)"""
OTHER_JSON = [
    '{"a": "Ann has 5"}',
    '[{"id": 1}]',
    '["Ann has 5", "pens"]',
    str({"messages": [USER]}),
    PYTHON_CHAT,
]


@pytest.mark.parametrize("cell", OTHER_JSON)
def test_other_json_in_a_cell_is_no_problem(tmp_path: Path, cell: str) -> None:
    ((problem,), (note,)) = read(tmp_path, {"question": "[1, 2] {x} 5?"}, {"question": cell})
    assert problem.text == "[1, 2] {x} 5?" and note.startswith("rows left out: 1, expected ")


@pytest.mark.parametrize("name", ["context", "Passage", "input"])
def test_a_context_is_not_left_behind_in_silence(tmp_path: Path, name: str) -> None:
    row = {name: "Ann has 5 pens.", "question": "How many?", "answer": 5}
    with pytest.raises(
        UserError, match=f"got {name} beside question: .* --question_column {name},question, or"
    ):
        read(tmp_path, row)
    ((joined,), _) = read(tmp_path, row, question_column=f"{name},question")
    assert joined.text == "Ann has 5 pens.\nHow many?"
    ((bare,), _) = read(tmp_path, row, question_column="question")
    assert bare.text == "How many?"
    # A copy of the question, and an empty column, are no context.
    assert read(tmp_path, row | {name: "How many?"}, row | {name: None})[1] == []
    with pytest.raises(UserError, match="write them into one text"):
        read(tmp_path, row | {name: ["Ann has 5 pens."]})


def test_the_context_of_an_instruction_is_read(tmp_path: Path) -> None:
    row = {"instruction": "How many?", "context": "5 pens.", "response": "5"}
    problems, notes = read(tmp_path, row, row | {"context": ""})
    assert [problem.text for problem in problems] == ["How many?\n5 pens.", "How many?"] and notes == []


@pytest.mark.parametrize("choices", [{"A": "1", "B": "2", "C": "3", "D": "4"}, {"choices": ["1", "2"]}])
def test_choices_are_not_left_behind_in_silence(tmp_path: Path, choices: dict[str, Any]) -> None:
    row = {"question": "2 and 3?", "answer": 1, **choices}
    with pytest.raises(UserError, match="question_column: expected questions with their choices"):
        read(tmp_path, row)
    ((problem,), _) = read(tmp_path, row, question_column="question")
    assert problem.text == "2 and 3?"


def test_a_column_of_choices_that_is_empty_in_every_row_is_none(tmp_path: Path) -> None:
    rows = [{"question": "2?", "answer": 2, "options": empty} for empty in (None, [], " ", {})]
    problems, _ = read(tmp_path, *rows)
    assert [problem.gold for problem in problems] == ["2"] * 4
    with pytest.raises(UserError, match="got these in Options"):
        read(tmp_path, {"question": "2?", "Options": None}, {"question": "3?", "Options": ["3", "4"]})


def test_the_box_of_a_solution_stands_in_for_an_answer_that_is_not_there(tmp_path: Path) -> None:
    for answer, solution in (("answer", "solution"), ("Answer", "Solution")):
        problems, notes = read(
            tmp_path,
            {"question": "1?", answer: None, solution: r"so \boxed{2}"},
            {"question": "2?", answer: ["a", "b"], solution: r"so \boxed{3}"},
            {"question": "3?", answer: 7, solution: r"so \boxed{8}"},
            {"question": "4?", answer: 9, solution: "no box"},
        )
        assert [problem.gold for problem in problems] == ["2", "3", "8", "9"]
        assert notes[0] == "1 answers are not those in the box of their solution: the box is taken"


def test_a_column_that_is_empty_in_every_row_gives_way_to_the_next_usual_name(tmp_path: Path) -> None:
    row = {"question": None, "problem": "2 and 3?", "answer": "", "ground_truth": 5}
    ((problem,), _) = read(tmp_path, row)
    assert (problem.text, problem.gold) == ("2 and 3?", "5")


def test_line_ends_of_windows_are_no_part_of_a_problem(tmp_path: Path) -> None:
    ((problem,), _) = read(tmp_path, {"question": "2 pens.\r\nHow many?\r\n", "answer": "2\r\n"})
    assert problem.text == "2 pens.\nHow many?"


def read_table(folder: Path, *cells: str, delimiter: str = ";") -> tuple[list[str | None], list[str]]:
    """The right answers of a table, and the notes."""
    file = folder / "a.csv"
    rows = [f"Ann has {number} pens{delimiter}{cell}\n" for number, cell in enumerate(cells)]
    file.write_text(f"question{delimiter}answer\n" + "".join(rows))
    problems, notes = read_problems(str(file), TaskOptions(task="word_problems"), answers_needed=True)
    return [problem.gold for problem in problems], notes


def test_a_comma_between_semicolons_may_be_that_of_a_decimal(tmp_path: Path) -> None:
    unclear = [
        "3,5",
        "2,75",
        "-0,5 kg",
        "#### 3,5",
        "1,250",
        "1.250",
        "1.234,5 EUR",
        r"\boxed{2{,}5}",
        "$3,5$",
    ]
    clear = {"7": "7", "2.5": "2.5", "(3,5)": "(3, 5)", "1,2,3": "1, 2, 3", "3/4": "0.75"}
    golds, notes = read_table(tmp_path, *unclear, *clear)
    assert golds == [*[None] * len(unclear), *clear.values()]
    expected = "expected decimals as 3.5, lists as (3, 5) and thousands as 1250 in a table with semicolons"
    assert notes == [f"answers not read: {len(unclear)}, {expected} (first: a.csv, line 2, got 3,5)"]


def test_a_comma_is_read_where_it_can_only_part_thousands_or_a_list(tmp_path: Path) -> None:
    assert read_table(tmp_path, "1,250", "1.250", "7") == (["1250", "1.25", "7"], [])
    assert read_table(tmp_path, "3,5", "7", delimiter="\t") == (["3, 5", "7"], [])
    file = tmp_path / "b.csv"
    file.write_text("question;answer;solution\n5 pens;3,5;so \\boxed{3,5}\n6 pens;3,5;so \\boxed{7}\n")
    problems, _ = read_problems(str(file), TaskOptions(task="word_problems"), answers_needed=True)
    assert [problem.gold for problem in problems] == [None, "7"]
