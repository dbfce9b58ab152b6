"""Which duals are kept: the rule on hand-made trials, planted faults, and the whole program."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from dupo.config.command_line import parse
from dupo.records import Dual, Problem, Rollout
from dupo.run import rows as work
from dupo.select import main
from dupo.tasks import make_task
from dupo.tasks.arithmetic import Arithmetic, reversed_digits
from dupo.train import main as train
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
from tests.helpers.worlds import rows, said, save_tiny, solver

DUAL = Dual("@?+654=", "321", "?")


def trial(solved, no_answer=0.0, decoys=()):
    return Trial(DUAL, solved, no_answer, dict(enumerate(decoys)))


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
    config = parse(["--num_decoys", str(num_decoys)], "select")
    tried = try_duals(task, rollout(*groups), ask, config, 0)
    return [[t.outcome(0.5, task.one_answer) for t in of_one] for of_one in tried]


ARITHMETIC = Arithmetic(parse([]))


def test_a_perfect_dual_model_keeps_what_one_answer_solves():
    groups = (["9750", "8750", None, "9750"], ["0000", "0000"])
    assert outcomes(ARITHMETIC, solver, *groups) == [[KEPT, KEPT], [UNANSWERABLE, UNANSWERABLE]]
    assert outcomes(ARITHMETIC, solver, ["9750"], [None]) == [[VACUOUS] * 2, [UNREADABLE] * 2]


def test_a_trial_holds_every_figure():
    config = parse(["--num_decoys", "4"], "select")
    groups = rollout(["9750", "8750"], ["0000"])
    (first, _), _ = try_duals(ARITHMETIC, groups, solver, config, 0, ["9750", None])
    assert first.solved == {"9750": 1.0, "8750": 0.0}
    assert first.no_answer == 0 and first.gold == 1.0 and first.unread == 0
    # the one other problem has one answer, and one of ours solves the dual and is tried with other digits
    fake = [answer for answer in first.decoys if answer != "0000"]
    assert len(first.decoys) == 2 and len(fake) == 1 and not set("9750") - set("9750" + fake[0]) - set("9750")
    assert all(a != b for a, b in zip(fake[0], "9750", strict=True))
    row = json.loads(json.dumps(first.row()))
    assert row["unknown"] == "321" and row["gold"] == 1.0 and row["solved"] == first.solved


def test_the_right_answer_is_never_a_decoy():
    config = parse(["--num_decoys", "4"], "select")
    groups = rollout(["1111", "2222"], ["9750", "9750"])
    (first, _), _ = try_duals(ARITHMETIC, groups, solver, config, 0, ["9750", None])
    assert first.decoys == {} and first.gold == 1.0


def test_where_several_answers_can_be_right_numbers_are_left_alone():
    class Free(Arithmetic):
        one_answer = False

    config = parse(["--num_decoys", "4"], "select")
    (first, _), _ = try_duals(Free(parse([])), rollout(["9750", "8750"], ["0000"]), solver, config, 0)
    assert set(first.decoys) == {"0000"}


def test_a_planted_dual_that_is_always_solved_is_dropped():
    """Its question gives the hidden part away: no answer is needed."""

    def ask(prompts):
        return [[said("321")] if p[0] == "@?+654=" else solver([p])[0] for p in prompts]

    found = outcomes(ARITHMETIC, ask, ["9750", "8750"])
    assert found == [[NO_ANSWER_LEAK, KEPT]]


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
    task = Leaky(parse([]))
    assert outcomes(task, reader, ["9750;321", "1234"]) == [[DECOY_LEAK, UNANSWERABLE]]
    # a leak starts in few answers: the most voted one is honest
    rare = (["1234", "1234", "1234", "9750;321"], ["5555"])
    assert outcomes(task, reader, *rare)[0] == [DECOY_LEAK, UNANSWERABLE]
    assert outcomes(task, reader, ["9750", "1234"]) == [[UNANSWERABLE, UNANSWERABLE]]
    assert outcomes(task, reader, ["9750;321", "1234"], num_decoys=0) == [[KEPT, UNANSWERABLE]]  # why decoys


# --- the program ---


@pytest.fixture(scope="module")
def untrained(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model") / "untrained")


@pytest.fixture
def solved(monkeypatch, untrained) -> Path:
    """The program with answers that are right four times in ten and a dual model that solves every sum."""
    import random

    def answers(sampler, task, problems, n, temperature, seed):
        rng = random.Random(seed)
        groups = [
            [p.gold if rng.random() < 0.4 else reversed_digits(rng.randrange(9999), 4) for _ in range(n)]
            for p in problems
        ]
        return Rollout(list(problems), [[1]] * len(groups), [[said(a) for a in g] for g in groups], groups)

    monkeypatch.setattr("dupo.trust.select.sample_answers", answers)
    monkeypatch.setattr(work, "ask_duals", lambda sampler, prompts, seed: solver(prompts))
    return untrained


def run(model: Path, out: Path, *options: str) -> int:
    return main(
        ["--model_name_or_path", str(model), "--num_problems", "40", "--output_dir", str(out), *options]
    )


def test_the_program_keeps_what_can_be_trusted_and_training_uses_it(solved, tmp_path, capsys):
    out = tmp_path / "duals"
    assert run(solved, out) == 0
    shown = capsys.readouterr().out
    summary = json.loads((out / "summary.json").read_text())
    first, second = summary["passes"]
    assert (first["pool_size"], second["pool_size"]) == (32, 8)
    assert first["problems"] == 40 and first["duals"] == 80
    assert sum(first["outcomes"].values()) == 80 and first["leak/no_answer"] == 0
    assert first["outcomes"][KEPT] > 60  # the right answer is among 32 but by accident
    assert second["duals"] == first["outcomes"][KEPT] + first["outcomes"].get(VACUOUS, 0)
    kept = rows(out, "kept.jsonl")
    assert len(kept) == summary["kept_duals"] == second["outcomes"][KEPT] + second["outcomes"].get(VACUOUS, 0)
    assert f"kept: {len(kept):,} duals" in shown and "pass 1: pool of 32" in shown
    task = make_task(parse(["--selected_duals", str(out)]))
    assert {p.text for p in task.train} == {row["text"] for row in kept}
    asked = [d for p in task.train for d in task.duals(p)]
    assert sorted((d.known, d.unknown) for d in asked) == sorted((r["known"], r["unknown"]) for r in kept)
    assert len(task.duals(task.held_out[0])) == 2  # what is measured does not depend on the selection
    assert task.duals(replace(task.held_out[0], text="#111+222=")) == []  # and nothing else has any
    one = make_task(parse(["--selected_duals", str(out), "--duals_per_prompt", "1"]))
    assert {len(one.duals(p)) for p in one.train} == {1}


def test_a_text_that_comes_again_gives_its_duals_once(tmp_path, monkeypatch):
    again = [{"question": "Tina has 12 apples and 30 pears. How many in all?"}] * 3
    again += [{"question": f"Bob walks {n} miles a day. How far in {n + 3} days?"} for n in (14, 15)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in again))

    def all_kept(work, task, problems, *_):
        tried = {"outcome": KEPT, "no_answer": 0, "decoys": {}}
        return [{"text": p.text, "duals": [tried | asdict(d) for d in task.duals(p)]} for p in problems]

    monkeypatch.setattr("dupo.trust.select.one_pass", all_kept)
    data = ["--task", "word_problems", "--dataset", str(tmp_path / "data.jsonl")]
    assert main([*data, "--output_dir", str(tmp_path / "out"), "--eval_dataset", "not read"]) == 0
    kept = rows(tmp_path / "out", "kept.jsonl")
    assert len(kept) == len({(row["text"], row["unknown"]) for row in kept}) == 6
    assert json.loads((tmp_path / "out/summary.json").read_text())["kept_problems"] == 3


def test_a_batch_holds_several_problems_so_that_each_has_foreign_decoys(solved, tmp_path):
    assert run(solved, tmp_path / "out", "--generation_batch_size", "4", "--num_problems", "8") == 0
    tried = [dual for row in rows(tmp_path / "out", "pass-1.jsonl") for dual in row["duals"]]
    assert all(len(dual["decoys"]) >= 2 for dual in tried)


def test_duals_of_a_pool_with_one_answer_are_kept_unless_told_otherwise(solved, tmp_path, monkeypatch):
    def unanimous(sampler, task, problems, n, temperature, seed):
        return Rollout(list(problems), [[1]] * len(problems), [[said(p.gold)] * n for p in problems],
                       [[p.gold] * n for p in problems])  # fmt: skip

    monkeypatch.setattr("dupo.trust.select.sample_answers", unanimous)
    options = ("--num_problems", "4", "--pool_sizes", "4")
    assert run(solved, tmp_path / "kept", *options) == 0
    assert len(rows(tmp_path / "kept", "kept.jsonl")) == 8
    assert run(solved, tmp_path / "dropped", *options, "--no_keep_vacuous") == 0
    assert rows(tmp_path / "dropped", "kept.jsonl") == []


def test_killed_anywhere_and_started_again_gives_the_same_bytes(solved, tmp_path):
    options = ("--generation_batch_size", "128", "--num_problems", "14")
    assert run(solved, tmp_path / "whole", *options) == 0
    whole = (tmp_path / "whole/pass-1.jsonl").read_bytes()
    for k, size in enumerate((0, 10, len(whole) // 2, len(whole) - 1)):
        out = tmp_path / f"cut-{k}"
        assert run(solved, out, *options) == 0
        (out / "pass-1.jsonl").write_bytes(whole[:size])
        for name in ("pass-2.jsonl", "kept.jsonl", "summary.json"):
            (out / name).unlink()
        assert run(solved, out, *options) == 0
        for name in ("pass-1.jsonl", "pass-2.jsonl", "kept.jsonl", "summary.json"):
            assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), (size, name)


def test_what_cannot_go_on_is_refused(solved, tmp_path, capsys):
    out = tmp_path / "duals"
    assert run(solved, out, "--pool_sizes", "4") == 0
    assert run(solved, out, "--pool_sizes", "8") == 2
    assert "holds other work (pool_sizes is 8, the run was started with 4)" in capsys.readouterr().err
    assert run(solved, out, "--pool_sizes", "8", "--overwrite_output_dir") == 0
    assert len(json.loads((out / "summary.json").read_text())["passes"]) == 1
    before = {file: file.read_bytes() for file in out.iterdir() if file.is_file()}
    assert train(["--output_dir", str(out), "--overwrite_output_dir"]) == 2  # not a training run's folder
    assert "holds work of dupo.select: it is never overwritten" in capsys.readouterr().err
    assert before == {file: file.read_bytes() for file in out.iterdir() if file.is_file()}
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("mine")
    assert run(solved, tmp_path / "other") == 2 and (tmp_path / "other/file").read_text() == "mine"


def test_an_untrained_model_keeps_nothing_and_says_so(untrained, tmp_path, capsys):
    assert run(untrained, tmp_path / "none", "--pool_sizes", "4,2") == 0
    assert "kept: 0 duals of 0 problems" in capsys.readouterr().out
    assert (tmp_path / "none/kept.jsonl").read_bytes() == b""
    assert train(["--selected_duals", str(tmp_path / "none"), "--output_dir", str(tmp_path / "run")]) == 2
    assert "selected_duals" in capsys.readouterr().err


def test_a_selection_that_is_none_is_refused(tmp_path, capsys):
    assert train(["--selected_duals", str(tmp_path), "--output_dir", str(tmp_path / "run")]) == 2
    assert "expected the folder of a finished dupo.select" in capsys.readouterr().err
    (tmp_path / "kept.jsonl").write_text('{"text": "x", "known": "y"}\n')
    assert train(["--selected_duals", str(tmp_path), "--output_dir", str(tmp_path / "run")]) == 2
    assert "has a line without 'unknown'" in capsys.readouterr().err
