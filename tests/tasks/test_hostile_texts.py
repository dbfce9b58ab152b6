"""Reading an answer takes time in proportion to the text, whatever a model has written in it."""

from pathlib import Path

import pytest

from dupo.config.task_options import TaskOptions
from dupo.records import Problem
from dupo.tasks import make_task
from dupo.tasks.base import Task
from tests.helpers.linear_time import check_linear

TASKS = ("arithmetic", "conlang", "stories", "word_problems", "translation")
PIECES = [
    "a",
    "7",
    " ",
    "\n",
    "{",
    "}",
    "{}",
    r"\boxed{",
    r"\boxed{1} ",
    r"\boxed{1",
    "\\",
    "$",
    "$1$ ",
    "####",
]
PIECES += [
    "#### 1\n",
    "<think>",
    "</think>",
    "1,",
    "1.",
    r"\frac{1}{",
    "(",
    "[1,",
    "x=1 ",
    "The answer is 5. ",
]
PIECES += [
    "1 and 2 or ",
    "-",
    "1+",
    "1/2/",
    "^",
    "_",
    "**",
    "**5** ",
    r"\text{",
    "5 km ",
    "三百",
    "답은 5입니다. ",
]
PIECES += [
    ". ",
    '"',
    '"a" ',
    "„»",
    "`",
    "```\n",
    "Translation: ",
    "the cat sat ",
    "\t",
    "\xa0",
    r"\left(",
    "1e",
]
PIECES += [r"\[", "<b>", "(a) ", "AB", "*", "__", "- a\n", "1. a\n", "'", "! ", "5 is 6, so ", "or: ", "a / "]
# What once took square time, or more, or ended the run: beside these any machine has time for in a plain run.
KNOWN = [
    (r"\boxed{", " ", "}"),
    ("", '"', ""),
    ("", '"a" ', ""),
    ("", "„»", ""),
    ("", "[1,", ""),
    ("", "{", ""),
]


@pytest.fixture
def task(name: str, tmp_path: Path) -> Task:
    """A task with one problem of a user, or with its own."""
    questions, sentences = tmp_path / "q.jsonl", tmp_path / "s.jsonl"
    questions.write_text('{"question": "Ann has 12 pears and eats 5. How many are left?"}\n')
    sentences.write_text('{"en": "The cat sat on the mat in the kitchen."}\n')
    options = {
        "word_problems": {"dataset": str(questions)},
        "translation": {"dataset": str(sentences), "src": "en", "tgt": "de"},
    }
    return make_task(TaskOptions(task=name, eval_size=0, **options.get(name, {})), 0)


def read(task: Task, problem: Problem, text: str) -> None:
    """Reads a text as an answer, as a refusal, and as what a dual gave back."""
    answer = task.answer(problem, text)
    assert (task.refusal(problem, text) is None) == (answer is not None)
    task.distances([task.duals(problem)[0]], ["5"], [text])


def check(task: Task, before: str, piece: str, behind: str) -> None:
    problem = task.train[0]
    read(task, problem, f"{piece} first")  # tables are made at the first text
    check_linear(lambda text: read(task, problem, text), piece, before, behind)


@pytest.mark.parametrize("name", ["word_problems", "translation"])
@pytest.mark.parametrize("case", KNOWN)
def test_what_once_was_slow_is_read_in_time_in_proportion(task: Task, case: tuple[str, str, str]) -> None:
    check(task, *case)


@pytest.mark.slow
@pytest.mark.parametrize(
    "around", [("", ""), *(pytest.param(a, marks=pytest.mark.full) for a in (("", " 5"), (r"\boxed{", "}")))]
)
@pytest.mark.parametrize("name", TASKS)
def test_any_text_is_read_in_time_in_proportion(task: Task, around: tuple[str, str]) -> None:
    for piece in PIECES:
        check(task, around[0], piece, around[1])
