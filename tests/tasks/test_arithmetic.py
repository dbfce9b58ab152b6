"""The built-in task: right sums, disjoint sets, duals that fit."""

from itertools import islice

import pytest

from dupo.config.task_options import TaskOptions
from dupo.errors import UserError
from dupo.records import Problem
from dupo.tasks.arithmetic import Arithmetic, lesson_examples, random_problems, read_question
from dupo.tasks.generated import SETS, distinct, set_of


def make(seed: int = 0, **options: int) -> Arithmetic:
    return Arithmetic(TaskOptions(**options), seed)


def number(text: str) -> int:
    return int(text[::-1])


def result(first: str, operator: str, second: str) -> int:
    return number(first) + number(second) if operator == "+" else number(first) - number(second)


@pytest.mark.parametrize("set_name", SETS)
def test_gold_is_the_result(set_name):
    for problem in islice(random_problems(set_name, 1), 500):
        first, operator, second = read_question(problem)
        assert number(problem.gold) == result(first, operator, second) >= 0
        assert len(problem.gold) == 4 and len(first) == len(second) == 3


def test_sets_are_disjoint_whatever_the_seed():
    texts = {
        name: {p.text for seed in range(3) for p in distinct(random_problems(name, seed), 800)}
        for name in SETS
    }
    for name in SETS:
        assert all(set_of(text) == name for text in texts[name])
        assert all(not texts[name] & texts[other] for other in SETS if other != name)
    assert sorted(tenth for tenths in SETS.values() for tenth in tenths) == list(range(10))


def test_lessons_come_from_their_set_and_are_right():
    duals = 0
    for prompt, completion in islice(lesson_examples(0, 0.9), 1000):
        if prompt.startswith("@"):
            duals += 1
            question, _, answer = prompt.rstrip(":").partition("=")
            text = f"#{question[1:]}=".replace("?", completion)
        else:
            text, answer = prompt, completion
        assert set_of(text) == "lessons"
        assert number(answer) == result(*read_question(Problem(text, text)))
    assert 850 < duals < 950


def test_held_out_problems_are_the_same_for_every_seed_and_training_ones_are_not():
    first, second = make(1, eval_size=50), make(2, eval_size=50)
    assert first.held_out == second.held_out and len(first.held_out) == 50
    assert [p.text for p in first.train] != [p.text for p in second.train]
    with pytest.raises(UserError, match="eval_size: expected at most 50,000, got 50,001"):
        make(eval_size=50_001)


def test_duals_hide_one_operand_each():
    task = make(duals_per_prompt=0)
    problem = Problem("x", "#321-654=")
    assert [(d.known, d.unknown) for d in task.duals(problem)] == [("@?-654=", "321"), ("@321-?=", "654")]
    assert task.dual_prompt(problem, task.duals(problem)[0], "9750") == ("@?-654=", "9750", ":")
    assert len(make(duals_per_prompt=1).duals(problem)) == 1


def test_answers_and_distances():
    task = make()
    problem = Problem("x", "#321+654=", "9750")
    readable = {"9750": "9750", "975": None, "97500": None, "": None, "97=0": None, "９７５０": None}
    assert {text: task.answer(problem, text) for text in readable} == readable
    assert task.score(problem, "9750") == 1 and task.score(problem, "0000") == task.score(problem, None) == 0
    dual = task.duals(problem)[0]
    assert [task.distance(dual, t) for t in ("321", "322", "32", "321=")] == [0.0, 1.0, None, None]
    assert task.evaluate([problem, problem], ["9750", None]) == {"accuracy": 0.5}


def test_sums_are_told_as_people_write_them():
    task = Arithmetic(TaskOptions(eval_size=1), 0)
    assert task.plain("#321+654=9750") == "123 + 456 = 579"
    assert task.plain("#000-000=") == "0 - 0 ="
    assert task.plain("@?+654=9750:321") == "? + 456 = 579, ? = 123"
