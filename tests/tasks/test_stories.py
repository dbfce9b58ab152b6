"""The word problems of the built-in task: right answers, right steps, duals of every number."""

import functools
import re
from itertools import islice

import pytest

from dupo.config.command_line import parse
from dupo.config.task_options import TaskOptions
from dupo.errors import UserError
from dupo.records import Problem
from dupo.tasks.generated import SETS, set_of
from dupo.tasks.stories import VOCABULARY, Stories, lesson_examples, random_problems
from dupo.trust.rerank import rerank

TEXT = (
    "tom has 7 apples . ana has 9 apples . tom buys 5 . tom is 8 years old . tom loses 2 . "
    "how many apples has tom ?"
)
STEP = r"(\d+) ([+-]) (\d+) = (\d+)"


@functools.cache
def make() -> Stories:
    return Stories(TaskOptions(duals_per_prompt=0, eval_size=20), 0)


def fields(pattern: str, text: str) -> tuple[str, ...]:
    """The groups of a pattern that the whole text must match."""
    match = re.fullmatch(pattern, text)
    assert match, text
    return match.groups()


def answer_of(text: str) -> int:
    """Solves a story by reading its words: what the person of the question has, gets and parts with."""
    *told, question = text.split(" . ")
    thing, person = fields(r"how many (\w+) has (\w+) \?", question)
    total = 0
    for sentence in told:
        if match := re.fullmatch(rf"{person} has (\d+) {thing}", sentence):
            total += int(match[1])
        elif match := re.fullmatch(rf"{person} (buys|finds|sells|loses) (\d+)", sentence):
            total += int(match[2]) * (1 if match[1] in ("buys", "finds") else -1)
    return total


def check_steps(steps: list[str], numbers: list[int]) -> int | None:
    """Does the sums; every operand is a number of the text or the last result. Returns the last result."""
    last = None
    for step in steps:
        first, sign, second, result = fields(STEP, step)
        assert int(first) + int(second) * (1 if sign == "+" else -1) == int(result)
        assert {int(first), int(second)} <= {*numbers, last}
        last = int(result)
    return last


@pytest.mark.parametrize("set_name", SETS)
def test_gold_is_what_the_words_say(set_name):
    for problem in islice(random_problems(set_name, 1), 300):
        assert int(problem.gold or "") == answer_of(problem.text) >= 0
        assert set_of(problem.text) == set_name
        assert set(problem.text.split()) <= set(VOCABULARY)


def test_a_story_has_one_to_three_steps_and_numbers_that_do_not_enter():
    steps, beside = set(), set()
    for problem in islice(random_problems("train", 0), 500):
        numbers = len(re.findall(r"\d+", problem.text))
        events = len(re.findall(r"buys|finds|sells|loses", problem.text))
        steps.add(events)
        beside.add(numbers - events - 1)
    assert steps == {1, 2, 3} and beside == {1, 2}


def test_lessons_are_right_and_of_both_formats():
    kinds = {"dual": 0, "at once": 0, "steps": 0}
    for prompt, completion in islice(lesson_examples(0, 0.5), 2000):
        assert set(f"{prompt} {completion}".split()) <= set(VOCABULARY)
        numbers = list(map(int, re.findall(r"\d+", prompt)))
        *steps, last = completion.split(" . ")
        if prompt.endswith(" x ?"):
            kinds["dual"] += 1
            hidden = int(*fields(r"x = (\d+)", last))
            known, answer = fields(r"(.*) answer (\d+) \. x \?", prompt)
            text = " ".join(str(hidden) if word == "x" else word for word in known.split())
            assert int(answer) == answer_of(text)
            # With another number there the answer would be another: the dual has one solution.
            other = " ".join(str(hidden + 1) if word == "x" else word for word in known.split())
            assert answer_of(other) != answer_of(text)
            assert check_steps(steps, numbers) == hidden
        else:
            text, kind = prompt, "steps" if steps else "at once"
            kinds[kind] += 1
            assert int(*fields(r"answer (\d+)", last)) == answer_of(text)
            assert not steps or check_steps(steps, numbers) == answer_of(text)
        assert set_of(text) == "lessons"
    assert 900 < kinds["dual"] < 1100 and 1.0 < kinds["at once"] / kinds["steps"] < 1.5


def test_duals_hide_every_number_in_turn():
    task, problem = make(), Problem("x", TEXT)
    duals = task.duals(problem)
    assert [dual.unknown for dual in duals] == ["7", "9", "5", "8", "2"]
    assert all(" ".join(dual.known.split()).replace("x", dual.unknown) == TEXT for dual in duals)
    asked = "".join(task.dual_prompt(problem, duals[2], "10"))
    assert asked == TEXT.replace("buys 5", "buys x") + " answer 10 . x ?"


def test_answers_and_distances():
    task, problem = make(), Problem("x", TEXT, "10")
    readable = {
        "answer 10": "10",
        "7 + 5 = 12 . 12 - 2 = 10 . answer 10": "10",
        "answer 7 . answer 10": "10",
        "7 + 5 = 12": None,
        "answer": None,
        "answer 10 .": None,
        "answer 100": None,
        "": None,
    }
    assert {text: task.answer(problem, text) for text in readable} == readable
    assert task.refusal(problem, "answer 10") is None and task.refusal(problem, "10") == "unreadable"
    dual = task.duals(problem)[0]
    texts = ("x = 7", "12 - 5 = 7 . x = 7", "x = 8", "x = 07", "7", "x = 7 .")
    assert [task.distance(dual, text) for text in texts] == [0.0, 0.0, 1.0, 1.0, None, None]
    assert task.evaluate([problem, problem], ["10", None]) == {"accuracy": 0.5}


def test_too_many_held_out_problems_are_refused():
    with pytest.raises(UserError, match="eval_size: expected at most 50,000, got 50,001"):
        Stories(TaskOptions(eval_size=50_001), 0)


@pytest.mark.slow
@pytest.mark.full
def test_votes_help_where_the_teaching_ends(tmp_path):
    """A majority of 32 samples is at least 10 points above greedy answers, on training problems."""
    options = ["--task", "stories", "--vote_samples", "32", "--num_problems", "400", "--num_threads", "1"]
    result = rerank(parse([*options, "--output_dir", str(tmp_path)], "rerank"))
    score = {method["key"]: method["score"] for method in result["methods"]}
    assert score["more_votes"] >= score["greedy"] + 0.1
    # Votes leave something to learn, and the dual tells right answers from wrong ones.
    assert score["greedy"] < 0.5 and score["more_votes"] < 0.8 and score["dual"] > score["more_votes"]
