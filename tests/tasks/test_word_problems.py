"""The word-problem task: what it reads, hides, asks and accepts."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from dupo.config.config import Config
from dupo.errors import UserError
from dupo.records import Dual, Problem
from dupo.tasks import word_problems as word_problems_module
from dupo.tasks.final_answer import gold_answer
from dupo.tasks.math_equality import is_installed
from dupo.tasks.word_problem_duals import DUAL_TEMPLATES, without_unknown
from dupo.tasks.word_problems import WordProblems
from dupo.text.tokenizer import PromptTokenizer
from dupo.train import main as train

CLIPS = "Natalia sold clips to 48 friends, 3/4 of it in April, for $1,250.50 in 20% fewer hours."
Make = Callable[..., WordProblems]


def word_problems(seed: int = 0, **options: Any) -> WordProblems:
    return WordProblems(Config.of(task="word_problems", **options).task, seed)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def write_rows(rows: list[dict[str, Any]], name: str = "train.jsonl") -> str:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return write_rows


@pytest.fixture
def make(write) -> Make:
    def make_task(rows: list[dict[str, Any]], seed: int = 0, **options: Any) -> WordProblems:
        return word_problems(seed, **{"dataset": write(rows), "eval_size": 2, **options})

    return make_task


def questions(count: int) -> list[dict[str, Any]]:
    return [
        {"question": f"Ann has {k} pens and buys 3 more.", "answer": f"#### {k + 3}"}
        for k in range(10, 10 + count)
    ]


# --- reading ---


def test_problems_are_read_counted_and_split(make: Make) -> None:
    task = make([*questions(6), {"question": "No number here?", "answer": "yes"}], eval_size=2)
    assert task.notes == [
        "7 problems read; 6 with a number to hide; 2 held out",
        "question: question, answer: answer",
    ]
    assert len(task.held_out) == 2
    assert "No number here?" not in {p.text for p in task.train}
    assert not {p.text for p in task.train} & {p.text for p in task.held_out}
    by_id = {p.id: p for p in [*task.train, *task.held_out]}
    assert by_id["train.jsonl:3"] == Problem("train.jsonl:3", "Ann has 12 pens and buys 3 more.", "15")


@pytest.mark.parametrize("question", ["question", "problem", "prompt"])
@pytest.mark.parametrize("answer", ["answer", "solution"])
def test_columns_are_found_by_their_usual_names(make: Make, question: str, answer: str) -> None:
    task = make([{"id": "7", question: f"{k} and 5?", answer: k} for k in range(10, 16)])
    assert {p.text: p.gold for p in [*task.train, *task.held_out]} == {
        f"{k} and 5?": str(k) for k in range(10, 16)
    }


def test_columns_of_other_names(make: Make) -> None:
    rows = [{"question": "wrong 9", "q": f"{k} and 5?", "a": 0.5} for k in range(10, 16)]
    task = make(rows, question_column="q", answer_column="a")
    assert {p.gold for p in task.train} == {"0.5"}
    assert all(p.text.endswith("and 5?") for p in task.train)


def test_the_columns_that_were_read_are_told_and_so_is_an_answer_of_no_usual_name(make: Make, write) -> None:
    rows = [{"문제": row["question"], "my_answer": row["answer"], "난이도": "1"} for row in questions(6)]
    lack = "question: 문제, answer: no usual name among my_answer, 난이도 (--answer_column names it)"
    assert make(rows).notes[1] == lack and not make(rows).held_out
    assert make(rows, answer_column="my_answer").notes[1] == "question: 문제, answer: my_answer"
    both = [row | {"solution": f"\\boxed{{{k + 13}}}"} for k, row in enumerate(questions(6))]
    assert make(both).notes[1] == "question: question, answer: answer, solution"
    lines = Path(write([], "lines.txt"))
    lines.write_text("7 and 8?\n", encoding="utf-8")
    assert not any("question:" in note for note in word_problems(dataset=str(lines)).notes)


def test_no_answers_are_needed_to_train(make: Make) -> None:
    task = make([{"question": row["question"]} for row in questions(4)])
    assert [p.gold for p in task.train] == [None] * 4
    assert list(task.held_out) == []
    assert task.notes[1] == "question: question, answer: none" and "accuracy cannot be given" in task.notes[2]


def test_nine_problems_say_how_to_hold_some_out(make: Make) -> None:
    assert make(questions(9), eval_size=None).notes[2].startswith("0 held out, a tenth of 9: ")
    assert not any("held out, a tenth" in note for note in make(questions(10), eval_size=None).notes)


def test_a_data_set_for_evaluation(make: Make, write) -> None:
    other = write(questions(9)[-4:], "test.jsonl")
    task = make([{"question": row["question"]} for row in questions(8)], eval_dataset=other, eval_size=3)
    assert len(task.held_out) == 3
    assert all(p.id.startswith("test.jsonl:") and p.gold for p in task.held_out)
    assert not {p.text for p in task.train} & {p.text for p in task.held_out}


REFUSED = [
    (
        [{"text": "5", "id": "1"}],
        {},
        r"expected a column question or problem or prompt in train\.jsonl, got text, id: .*--question_column",
    ),
    (
        questions(3),
        {"question_column": "q"},
        "question_column: expected a column 'q' in .*, got question, answer",
    ),
    (
        questions(3),
        {"answer_column": "a"},
        "answer_column: expected a column 'a' in .*, got question, answer",
    ),
    (questions(3), {"eval_size": 3}, "eval_size: expected less than"),
    ([{"question": " ", "answer": "4"}], {}, "train.jsonl, line 1: expected text in 'question', got none"),
    (questions(3), {"dataset": None}, "dataset: expected --dataset PATH, which --task word_problems needs"),
    (questions(3), {"dataset": "nowhere.jsonl"}, "nowhere.jsonl: expected a file, got no such file"),
]


@pytest.mark.parametrize(("rows", "options", "message"), REFUSED, ids=[case[2][:40] for case in REFUSED])
def test_what_cannot_be_used_is_refused(make: Make, rows, options, message: str) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        make(rows, **options)
    assert "\n" not in str(refusal.value)


def test_thirty_problems_train_without_options_and_a_row_without_text_is_left_out(write) -> None:
    task = word_problems(dataset=write([*questions(30), {"question": None, "answer": "7"}]))
    assert (len(task.train), len(task.held_out)) == (27, 3)
    assert task.notes == [
        "30 problems read; 30 with a number to hide; 3 held out",
        "question: question, answer: answer",
        "rows left out: 1, expected text in 'question' (first: train.jsonl, line 31, got none)",
    ]


def test_evaluation_data_without_answers_is_refused(make: Make, write) -> None:
    other = write([{"question": "9 pens"}], "test.jsonl")
    with pytest.raises(
        UserError,
        match=r"answer_column: expected a column answer or solution .* in test\.jsonl, got question",
    ):
        make(questions(4), eval_dataset=other)


@pytest.mark.parametrize(
    ("solution", "gold"),
    [
        ("48/2 = <<48/2=24>>24\n#### 72", "72"),
        ("#### 1,234", "1234"),
        (r"So the sum is $\boxed{\frac{3}{4}}$ as 2 shows.", "0.75"),
        ("18", "18"),
        ("$18.00", "18"),
        ("18 apples", "18"),
        ("Monday", "monday"),
        (r"x^2 + 1", "x^2+1"),
        ("She has 3 of 5 so in all there are 15.", "15"),
        ("It is because she said so.", None),
        ("x^3 - 2x + 1", "x^3-2x+1"),
        ("y = 2x + 3", "2x+3"),
        (r"(-\infty, 2) \cup (3, \infty)", r"(-\infty, 2)\cup(3, \infty)"),
        (r"\begin{pmatrix} 4 \\ 5 \\ 6 \end{pmatrix}", r"\begin{pmatrix}4 \\ 5 \\ 6\end{pmatrix}"),
        (r"$a = 3 \text{ or } a = -3 \text{ or } a = 0$", "a=3 or a=-3 or a=0"),
    ],
)
def test_gold_is_read_from_solutions(solution: str, gold: str | None) -> None:
    assert gold_answer(solution) == gold


def test_a_box_wins_over_another_answer(make: Make) -> None:
    rows = [
        {"problem": f"Ann has {k} pens.", "answer": answer, "solution": rf"So it is $\boxed{{{k}\sqrt2}}$."}
        for k, answer in enumerate([r"2\sqrt{2}", r"3 \sqrt {2}", r"\sqrt{32}", "5", r"6\sqrt2"], start=2)
    ]
    task = make(rows, eval_size=0)
    golds = {problem.text: problem.gold for problem in task.train}
    assert golds["Ann has 5 pens."] == r"5\sqrt{2}"
    wrong = 1 if is_installed() else 2  # \sqrt{32} is 4\sqrt2
    assert f"{wrong} answers are not those in the box of their solution: the box is taken" in task.notes


def test_the_notes_say_that_formulas_are_compared_as_written(make: Make, monkeypatch) -> None:
    rows = [{"problem": f"Ann has {k} pens.", "answer": f"{k}x + 1"} for k in range(2, 6)]
    note = "4 right answers are formulas, compared as they are written"
    assert any(note in line for line in make(rows, eval_size=0).notes) == (not is_installed())
    monkeypatch.setattr(word_problems_module, "is_installed", lambda: False)
    assert any(note in line for line in make(rows, eval_size=0).notes)
    assert not any("formulas" in line for line in make(questions(4), eval_size=0).notes)


# --- duals ---


def test_every_number_is_hidden_in_turn(make: Make) -> None:
    task = make([*questions(4), {"question": CLIPS, "answer": "1"}], duals_per_prompt=0)
    duals = task.duals(Problem("x", CLIPS))
    assert [d.unknown for d in duals] == ["48", "3/4", "1,250.50", "20"]
    for dual in duals:
        assert re.fullmatch("V[bcdfghjkmnpqrstvwxz]{2}", dual.variable)
        assert dual.known.replace(dual.variable, dual.unknown) == CLIPS
        assert dual.unknown not in dual.known
    assert len({d.variable for d in duals}) == 4
    assert duals == task.duals(Problem("y", CLIPS, "1"))


def test_some_duals_are_chosen_by_the_seed(make: Make) -> None:
    all_duals = make(questions(4), duals_per_prompt=0).duals(Problem("x", CLIPS))
    chosen = set()
    for seed in range(20):
        task = make(questions(4), duals_per_prompt=2, seed=seed)
        duals = task.duals(Problem("x", CLIPS))
        assert duals == task.duals(Problem("x", CLIPS))
        order = [[d.unknown for d in all_duals].index(d.unknown) for d in duals]
        assert len(order) == 2 and order == sorted(order)
        chosen.add(tuple(order))
    assert len(chosen) > 3


def test_dual_prompts_show_the_answer_and_ask_for_the_variable(make: Make) -> None:
    task = make(questions(40), duals_per_prompt=0)
    shapes = set()
    for problem in task.train:
        for dual in task.duals(problem):
            prompt = "".join(task.dual_prompt(problem, dual, "8888"))
            assert prompt == "".join(task.dual_prompt(problem, dual, "8888"))
            assert dual.known in prompt and "\\boxed{8888}" in prompt and "\\boxed{}" in prompt
            assert prompt.count(dual.variable) > dual.known.count(dual.variable)
            assert dual.unknown not in prompt.replace(dual.known, "")
            shapes.add(prompt.replace(dual.known, "").replace(dual.variable, ""))
    assert len(shapes) == len(DUAL_TEMPLATES) >= 4
    (dual,) = task.duals(Problem("x", "Ann has 5 pens."))
    prompts = {make(questions(4), seed=seed).dual_prompt(Problem("x", ""), dual, "1") for seed in range(30)}
    assert len(prompts) == len(DUAL_TEMPLATES)


def test_the_primal_prompt_asks_for_steps_and_a_box(make: Make) -> None:
    prompt = make(questions(4)).prompt(Problem("x", "What is {5} + 3?"))
    assert (
        prompt.startswith("What is {5} + 3?\n\n")
        and "step by step" in prompt
        and prompt.endswith("\\boxed{}.")
    )


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("48", "48"),  # one number: the answer may be what is hidden
        ("(72, 48)", "(72, Vqk)"),
        ("72 of 48.0 clips", "72 of Vqk clips"),
        ("(72, 148)", "(72, 148)"),
        ("48 and 48 of 148", "Vqk and Vqk of 148"),
        ("(72, forty-eight)", "(72, Vqk)"),
        ("(72, 4800%)", "(72, Vqk%)"),
        ("monday", "monday"),
    ],
)
def test_an_answer_cannot_carry_the_hidden_number(answer: str, expected: str) -> None:
    assert without_unknown(answer, Dual("Vqk clips", "48", "Vqk")) == expected


@pytest.mark.parametrize(
    ("unknown", "completion", "distance"),
    [
        ("1,250.50", r"so Vqk = \boxed{1250.5}", 0.0),
        ("1,250.50", r"\boxed{\$1,250.50}", 0.0),
        ("48", r"\boxed{Vqk = 48}", 0.0),
        ("48", "48 was it", 0.0),
        ("48", r"<think>\boxed{48}</think>\boxed{49}", 1.0),
        ("48", r"\boxed{many}", 1.0),
        ("3/4", r"\boxed{0.75}", 0.0),
        ("1/3", r"\boxed{0.333}", 1.0),
        ("20", r"\boxed{20\%}", 0.0),
        ("twenty-one", "21", 0.0),
        ("half", r"\boxed{\frac{1}{2}}", 0.0),
        ("twice", r"\boxed{2}", 0.0),
        ("a dozen", r"\boxed{twelve}", 0.0),
        ("20", "no idea", None),
        ("20", "", None),
    ],
)
def test_distance(make: Make, unknown: str, completion: str, distance: float | None) -> None:
    assert make(questions(4)).distance(Dual("Vqk", unknown, "Vqk"), completion) == distance


def test_score_and_accuracy(make: Make) -> None:
    task = make(questions(6))
    problem = Problem("x", "5 and 6?", "11")
    assert task.answer(problem, r"It is \boxed{11.0}.") == "11"
    assert [task.score(problem, answer) for answer in ("11", "12", None)] == [1.0, 0.0, 0.0]
    assert task.score(Problem("x", "5 and 6?"), None) == 0.0
    assert task.evaluate([problem] * 4, ["11", None, "11", "11"])[task.headline] == 0.75


@given(st.text(max_size=80))
def test_any_text_has_duals_that_can_be_asked_and_judged(text: str) -> None:
    task = object.__new__(WordProblems)
    task.seed, task.duals_per_prompt = 0, 0
    problem = Problem("x", f"{text} 52 or twice two-thirds of 3/4 {text}")
    for dual in task.duals(problem):
        assert task.distance(dual, f"\\boxed{{{dual.unknown}}}") == 0.0
        before, answer, after = task.dual_prompt(problem, dual, text)
        assert dual.variable in before + after and answer == without_unknown(text, dual)


@pytest.mark.slow
def test_gsm8k(data_dir: Path) -> None:
    task = word_problems(dataset=str(data_dir / "gsm8k/train.jsonl"), duals_per_prompt=0, eval_size=500)
    assert [len(task.held_out), len({p.text for p in task.held_out})] == [500, 500]
    assert all(p.gold is not None for p in task.train)
    count = 0
    for problem in task.train:
        duals = task.duals(problem)
        assert duals
        for dual in duals:
            assert task.distance(dual, f"\\boxed{{{dual.unknown}}}") == 0.0
        count += len(duals)
    assert re.fullmatch(r"7,473 problems read; 7,4\d\d with a number to hide; 500 held out", task.notes[0])
    assert count / len(task.train) > 3.4


def test_the_split_does_not_follow_the_order_of_the_file(make: Make) -> None:
    rows = questions(60)
    first = make(rows, eval_size=20)
    second = make(random.Random(0).sample(rows, 60), eval_size=20, seed=5)
    assert [p.text for p in first.held_out] == [p.text for p in second.held_out]


@pytest.mark.slow
@pytest.mark.full
def test_prompts_of_gsm8k_have_the_ids_of_whole_strings(data_dir: Path) -> None:
    task = word_problems(dataset=str(data_dir / "gsm8k/train.jsonl"), duals_per_prompt=0, eval_size=0)
    tokenizer = PromptTokenizer(AutoTokenizer.from_pretrained(data_dir / "tokenizers/qwen3"))
    prompts = [task.dual_prompt(p, dual, str(p.gold)) for p in task.train for dual in task.duals(p)]
    prompts += [task.prompt(p) for p in task.train]
    frame = tokenizer.frame
    strings = ["".join([frame.opening, *prompt, frame.closing]) for prompt in prompts]
    encoded = tokenizer.encode(prompts)
    for start in range(0, len(strings), 4096):
        unframed = tokenizer.hf(strings[start : start + 4096], add_special_tokens=False).input_ids
        framed = [[*frame.before, *ids, *frame.after] for ids in unframed]
        assert encoded[start : start + 4096] == framed
    assert len(prompts) > 32_000 and tokenizer.counts.uncut == 0


def test_without_a_number_to_hide_there_is_nothing_to_train_on(tmp_path, capsys):
    path = tmp_path / "train.jsonl"
    path.write_text('{"question": "none"}\n{"question": "x_1"}\n')
    options = ["--task", "word_problems", "--dataset", str(path), "--output_dir", str(tmp_path / "run")]
    assert train([*options, "--eval_size", "0"]) == 2
    error = capsys.readouterr().err
    assert "expected problems to train on, got none: 2 problems read; 0 with a number to hide" in error
