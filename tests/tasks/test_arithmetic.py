"""The built-in task: right sums, disjoint sets, duals that fit."""

from itertools import islice

import pytest

from dupo.config.command_line import parse
from dupo.records import Problem
from dupo.tasks.arithmetic import Arithmetic, draw, labelled_examples, parts, stream
from dupo.tasks.generated import SETS, belongs


def number(text: str) -> int:
    return int(text[::-1])


@pytest.mark.parametrize("which", SETS)
def test_gold_is_the_result(which):
    for problem in islice(stream(which, 1), 500):
        a, op, b = parts(problem)
        assert number(problem.gold) == (number(a) + number(b) if op == "+" else number(a) - number(b)) >= 0
        assert len(problem.gold) == 4 and len(a) == len(b) == 3


def test_sets_are_disjoint_whatever_the_seed():
    seen = {which: {p.text for s in range(3) for p in draw(which, 800, s)} for which in SETS}
    for a in SETS:
        assert all(belongs(text) == a for text in seen[a])
        assert all(not seen[a] & seen[b] for b in SETS if b != a)
    assert sorted(bucket for buckets in SETS.values() for bucket in buckets) == list(range(10))


def test_warm_up_examples_come_from_the_warm_up_set_and_are_right():
    duals = 0
    for prompt, completion in islice(labelled_examples(0, 0.9), 1000):
        if prompt.startswith("@"):
            duals += 1
            shown, _, answer = prompt.rstrip(":").partition("=")
            text = f"#{shown[1:]}=".replace("?", completion)
        else:
            text, answer = prompt, completion
        a, op, b = parts(Problem(text, text))
        assert belongs(text) == "warmup"
        assert number(answer) == (number(a) + number(b) if op == "+" else number(a) - number(b))
    assert 850 < duals < 950


def test_held_out_problems_are_the_same_for_every_seed_and_training_ones_are_not():
    one, two = (Arithmetic(parse(["--seed", s, "--eval_size", "50"])) for s in ("1", "2"))
    assert one.held_out == two.held_out and len(one.held_out) == 50
    assert [p.text for p in one.train] != [p.text for p in two.train]


def test_duals_hide_one_operand_each():
    task = Arithmetic(parse([]))
    problem = Problem("x", "#321-654=")
    assert [(d.known, d.unknown) for d in task.duals(problem)] == [("@?-654=", "321"), ("@321-?=", "654")]
    assert task.dual_prompt(problem, task.duals(problem)[0], "9750") == ("@?-654=", "9750", ":")
    assert len(Arithmetic(parse(["--duals_per_prompt", "1"])).duals(problem)) == 1


def test_answers_and_distances():
    task = Arithmetic(parse([]))
    problem = Problem("x", "#321+654=", "9750")
    readable = {"9750": "9750", "975": None, "97500": None, "": None, "97=0": None, "９７５０": None}
    assert {text: task.answer(problem, text) for text in readable} == readable
    assert task.score(problem, "9750") == 1 and task.score(problem, "0000") == task.score(problem, None) == 0
    dual = task.duals(problem)[0]
    assert [task.distance(dual, t) for t in ("321", "322", "32", "321=")] == [0.0, 1.0, None, None]
    assert task.evaluate([problem, problem], ["9750", None]) == {"accuracy": 0.5}
