"""Which duals are kept: the rule on hand-made trials, and planted faults."""

import json
from pathlib import Path

import pytest

from dupo.config.command_line import parse
from dupo.errors import UserError
from dupo.records import Dual, Problem, Rollout
from dupo.tasks.arithmetic import Arithmetic
from dupo.tasks.selected_duals import read_selected_duals
from dupo.trust.dual_filter import (
    AMBIGUOUS,
    DECOY_LEAK,
    KEPT,
    NO_ANSWER_LEAK,
    UNANSWERABLE,
    UNREADABLE,
    VACUOUS,
    VACUOUS_DROPPED,
    Trial,
    try_duals,
)
from dupo.trust.rows import PassRow, TrialRow
from tests.helpers.worlds import said, solver

DUAL = Dual("@?+654=", "321", "?")


def trial(solved, no_answer=0.0, decoys=()):
    return Trial(DUAL, solved, no_answer, {str(n): similarity for n, similarity in enumerate(decoys)})


@pytest.mark.parametrize(
    ("tried", "outcome"),
    [
        (trial({"a": 1.0, "b": 0.0}), KEPT),
        (trial({"a": 0.5, "b": 0.49}), KEPT),
        (trial({"a": 1.0, "b": 0.5}), AMBIGUOUS),
        (trial({"a": 0.4, "b": 0.0}), UNANSWERABLE),
        (trial({}), UNREADABLE),
        (trial({"a": 1.0}), VACUOUS),
        (trial({"a": 0.0}), UNANSWERABLE),
        (trial({"a": 1.0, "b": 0.0}, no_answer=0.5), NO_ANSWER_LEAK),
        (trial({"a": 1.0, "b": 0.0}, decoys=[0.0, 0.5]), DECOY_LEAK),
        (trial({"a": 1.0, "b": 0.0}, no_answer=0.4, decoys=[0.4]), KEPT),
        (trial({"a": 1.0, "b": 1.0}, no_answer=1.0, decoys=[1.0]), NO_ANSWER_LEAK),
    ],
)
def test_exactly_one_answer_solves_it_and_nothing_else_does(tried, outcome):
    assert tried.outcome(0.5, one_answer=True) == outcome


def test_where_several_answers_can_be_right_several_may_solve_it():
    assert trial({"a": 1.0, "b": 0.9}).outcome(0.5, one_answer=False) == KEPT
    assert trial({"a": 1.0}).outcome(0.5, one_answer=True, keep_vacuous=False) == VACUOUS_DROPPED
    assert trial({"a": 0.8, "b": 0.9}).outcome(0.85, one_answer=True) == KEPT


# 123+456=579 and 500-321=179, in the task's own writing
PROBLEMS = [Problem("a", "#321+654=", gold="9750"), Problem("b", "#005-123=", gold="9710")]


def rollout(*groups):
    answers = [list(g) for g in groups]
    return Rollout(
        PROBLEMS[: len(groups)], [[1]] * len(groups), [[said(a or "") for a in g] for g in groups], answers
    )


def outcomes(task, ask, *groups, num_decoys=2):
    trials = try_duals(task, rollout(*groups), ask, decoys(num_decoys), 0)
    return [[t.outcome(0.5, task.one_answer) for t in of_problem] for of_problem in trials]


def decoys(count):
    """Options with that many decoys."""
    return parse(["--num_decoys", str(count)], "select").selection


OPTIONS = parse([]).task
ARITHMETIC = Arithmetic(OPTIONS, 0)


def test_a_perfect_dual_model_keeps_what_one_answer_solves():
    groups = (["9750", "8750", None, "9750"], ["0000", "0000"])
    assert outcomes(ARITHMETIC, solver, *groups) == [[KEPT, KEPT], [UNANSWERABLE, UNANSWERABLE]]
    assert outcomes(ARITHMETIC, solver, ["9750"], [None]) == [[VACUOUS] * 2, [UNREADABLE] * 2]


def test_a_trial_holds_every_similarity():
    groups = rollout(["9750", "8750"], ["0000"])
    (first, _), _ = try_duals(ARITHMETIC, groups, solver, decoys(4), 0, ["9750", None])
    assert first.solved == {"9750": 1.0, "8750": 0.0}
    assert first.no_answer == 0 and first.gold == 1.0 and first.unread == 0
    # the one other problem has one answer, and one of ours solves the dual and is tried with other digits
    fake = [answer for answer in first.decoys if answer != "0000"]
    assert len(first.decoys) == 2 and len(fake) == 1 and not set("9750") - set("9750" + fake[0]) - set("9750")
    assert all(a != b for a, b in zip(fake[0], "9750", strict=True))
    row = json.loads(json.dumps(TrialRow(KEPT, first).to_json()))
    assert row["unknown"] == "321" and row["gold"] == 1.0 and row["solved"] == first.solved
    duals = [TrialRow(KEPT, first), TrialRow(UNREADABLE, trial({}))]
    written = PassRow("a", "#321+654=", {"9750": 1}, duals)
    assert PassRow.from_json(json.loads(json.dumps(written.to_json()))) == written


def test_the_right_answer_is_never_a_decoy():
    groups = rollout(["1111", "2222"], ["9750", "9750"])
    (first, _), _ = try_duals(ARITHMETIC, groups, solver, decoys(4), 0, ["9750", None])
    assert first.decoys == {} and first.gold == 1.0


def test_where_several_answers_can_be_right_numbers_are_left_alone():
    class Free(Arithmetic):
        one_answer = False

    (first, _), _ = try_duals(Free(OPTIONS, 0), rollout(["9750", "8750"], ["0000"]), solver, decoys(4), 0)
    assert set(first.decoys) == {"0000"}


def test_a_planted_dual_that_is_always_solved_is_dropped():
    """Its question gives the hidden part away: no answer is needed."""

    def ask(prompts):
        return [[said("321")] if p[0] == "@?+654=" else solver([p])[0] for p in prompts]

    assert outcomes(ARITHMETIC, ask, ["9750", "8750"]) == [[NO_ANSWER_LEAK, KEPT]]


def test_a_planted_dual_that_every_answer_solves_is_ambiguous():
    def ask(prompts):
        return [[said("321" if p[0] == "@?+654=" and p[1] in ("9750", "8750") else "???")] for p in prompts]

    assert outcomes(ARITHMETIC, ask, ["9750", "8750"]) == [[AMBIGUOUS, UNANSWERABLE]]


class Leaky(Arithmetic):
    """A planted leak: the answer is all that was written, so a policy can hide the operand in it."""

    def answer(self, problem, completion):
        return completion or None


def reader(prompts):
    """A dual model that reads the hidden operand after the semicolon, and cannot count."""
    return [[said(p[1].partition(";")[2] or "???")] for p in prompts]


def test_a_planted_leak_is_caught_by_the_decoys():
    task = Leaky(OPTIONS, 0)
    assert outcomes(task, reader, ["9750;321", "1234"]) == [[DECOY_LEAK, UNANSWERABLE]]
    # a leak starts in few answers: the most voted one is honest
    rare = (["1234", "1234", "1234", "9750;321"], ["5555"])
    assert outcomes(task, reader, *rare)[0] == [DECOY_LEAK, UNANSWERABLE]
    assert outcomes(task, reader, ["9750", "1234"]) == [[UNANSWERABLE, UNANSWERABLE]]
    assert outcomes(task, reader, ["9750;321", "1234"], num_decoys=0) == [[KEPT, UNANSWERABLE]]  # why decoys


@pytest.mark.parametrize("bad", [{"known": "\ud800"}, {"unknown": ""}, {"text": " "}], ids=str)
def test_a_kept_dual_that_hides_nothing_is_refused(bad: dict[str, str], tmp_path: Path) -> None:
    row = {"text": "t", "known": "k", "unknown": "u", "variable": "v"} | bad
    (tmp_path / "kept.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match="selected_duals: expected text in"):
        read_selected_duals(str(tmp_path))
