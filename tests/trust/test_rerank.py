"""The reranker as a program: what it writes, what it answers, and that it goes on where it was stopped."""

import json
import random
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from dupo.config.options import read_config
from dupo.engines import builtin as rollout
from dupo.engines.builtin import Sampler
from dupo.records import Completion, Rollout
from dupo.rerank import main
from dupo.run.rows import Work
from dupo.tasks.arithmetic import Arithmetic
from dupo.trust.rerank import ANSWERS
from tests.helpers.worlds import rows, said, save_tiny, solver, summary

METHODS = ("greedy", "mean@4", "majority@4", "dual rerank@4", "pass@4")
SMALL = "--num_threads 1 --num_generations 4 --generation_batch_size 16 --num_problems 10"


@pytest.fixture(scope="module")
def untrained(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model") / "untrained")


def start(model: Path | str, out: Path, *options: str, code: int = 0) -> Path:
    assert (
        main([*SMALL.split(), "--model_name_or_path", str(model), "--output_dir", str(out), *options]) == code
    )
    return out


def solve(prompts):
    """The perfect dual model, which has nothing to say where there is no answer."""
    return [[said("")] if p[1] == "" else solver([p])[0] for p in prompts]


def plant(monkeypatch, ask, right: float = 0.4, read: float = 0.9) -> None:
    """A policy whose answers are right with a given chance, else off by a digit or unreadable, and `ask` in
    the place of the model that answers the duals. No model is loaded."""

    def answers(sampler, task, problems, n, temperature, seed):
        rng = random.Random(seed)

        def said_of(problem):
            gold, luck = problem.gold or "0000", rng.random()
            if luck < right:
                return gold
            place = rng.randrange(len(gold))
            digit = str((int(gold[place]) + rng.randint(1, 9)) % 10)
            return gold[:place] + digit + gold[place + 1 :] if luck < read else "no idea"

        texts = [[said_of(p) for _ in range(n)] for p in problems]
        completions = [[Completion([1] * 5, [0.0] * 5, t, False) for t in group] for group in texts]
        found = [[task.answer(p, t) for t in group] for p, group in zip(problems, texts, strict=True)]
        return Rollout(problems, [[1]] * len(problems), completions, found)

    monkeypatch.setattr(rollout, "sample_answers", answers)
    monkeypatch.setattr(Work, "sampler", lambda work, name=None: SimpleNamespace(config=work.config))
    monkeypatch.setattr(Work, "ask", lambda work, sampler, purpose, index: ask)


def answer_anything(monkeypatch) -> None:
    """Random text that can be read and is recovered now and then: first characters stand for answers, and
    the first character of what a dual says for the hidden part."""
    monkeypatch.setattr(Arithmetic, "answer", lambda task, problem, text: text[:1] or None)
    monkeypatch.setattr(
        Arithmetic, "distance", lambda task, dual, text: {"": None}.get(text, float(text[:1] > "4"))
    )


# --- what it writes ---


def test_rows_are_complete_and_add_up(untrained, tmp_path, monkeypatch):
    answer_anything(monkeypatch)
    spent, readable, inner, outer = Counter(), Counter(), Sampler.from_ids, Sampler.__call__

    def count(kind, groups):
        spent[kind] += sum(len(c.ids) for group in groups for c in group)
        readable[kind] += sum(c.text != "" for group in groups for c in group)
        return groups

    def primal(self, prompts, n, *rest):
        return count({1: "greedy", 4: "samples", 5: "more"}[n], inner(self, prompts, n, *rest))

    def dual(self, *rest):
        with monkeypatch.context() as patch:
            patch.setattr(Sampler, "from_ids", inner)
            return count("duals", outer(self, *rest))

    monkeypatch.setattr(Sampler, "from_ids", primal)
    monkeypatch.setattr(Sampler, "__call__", dual)
    found = rows(
        start(untrained, tmp_path / "run", "--vote_samples", "9", "--generation_batch_size", "36"), ANSWERS
    )
    task = Arithmetic(read_config(tmp_path / "run/config.yaml", "rerank"))
    assert [row["problem"] for row in found] == [p.id for p in task.problems[:10]]
    for row, problem in zip(found, task.problems, strict=False):
        (best, *others), given = row["candidates"], row["given"]
        assert [best[key] for key in ("answer", "backward_rate", "votes")] == [
            row[key] for key in ("answer", "score", "votes")
        ]
        assert row["runner_up"] == (others[0] if others else None)
        order = [(c["backward_rate"], c["votes"]) for c in row["candidates"]]
        assert order == sorted(order, reverse=True)
        assert all(c["backward_rate"] in (0, 0.5, 1) for c in row["candidates"])  # two duals each
        assert row["completion"][0] == row["answer"] == given["dual"]
        assert row["duals"] == 2
        most = max(c["votes"] for c in row["candidates"])
        assert next(c["votes"] for c in row["candidates"] if c["answer"] == given["majority"]) == most
        assert (row["question"], row["gold"], row["tokens"]["n"]) == (problem.text, problem.gold, 4)
    assert sum(c["votes"] for row in found for c in row["candidates"]) == readable["samples"]
    figures = summary(tmp_path / "run")
    tokens = {m["key"]: m["tokens"] for m in figures["methods"]}
    samples = spent["samples"]
    equal = tokens.pop("equal_cost")
    assert samples <= equal <= tokens["more_votes"]
    assert tokens == {"greedy": spent["greedy"], "mean": round(samples / 4), "majority": samples} | {
        "dual": samples + spent["duals"],
        "more_votes": samples + spent["more"],
        "pass": samples,
    }
    assert min(spent.values()) > 0 and len({row["score"] for row in found}) > 1
    changed = sum(row["answer"] != row["given"]["majority"] for row in found)
    assert figures["other_than_majority"] == changed > 0


def test_tokens_are_those_of_the_problem_itself(tmp_path, monkeypatch):
    """Two problems of one batch: the one whose answers are all alike asks fewer duals."""
    plant(monkeypatch, solve, right=0.5)
    for row in rows(start("tiny", tmp_path / "run"), ANSWERS):
        assert row["tokens"] == {
            "n": 4,
            "greedy": 5,
            "samples": 20,
            "duals": 2 * len(row["candidates"]) * len(said("").ids),  # two duals of each different answer
            "equal_cost": 20,  # there are no more samples to spend tokens on
            "more_votes": 0,
        }


def test_more_votes_are_asked_for_and_counted(tmp_path, monkeypatch):
    plant(monkeypatch, solve, right=0.4, read=1.0)
    found = start("tiny", tmp_path / "run", "--vote_samples", "40", "--num_problems", "40")
    scores = {m["method"]: m["score"] for m in summary(found)["methods"]}
    # a right answer has 40 % of the votes and each of 36 wrong ones under 2 %: more votes find it
    assert scores["majority@40"] == 1 > scores["majority@4"]
    assert [row["tokens"]["more_votes"] for row in rows(found, ANSWERS)] == [36 * 5] * 40
    for row in rows(found, ANSWERS):  # a vote that costs as much: whole samples of five tokens
        assert row["tokens"]["equal_cost"] == -(-(20 + row["tokens"]["duals"]) // 5) * 5


# --- what it answers ---


@pytest.mark.parametrize("by", ["dual", "product"])
def test_with_a_perfect_dual_a_right_answer_is_found_wherever_there_is_one(by, tmp_path, monkeypatch):
    plant(monkeypatch, solve, right=0.3)
    found = start("tiny", tmp_path / "run", "--num_problems", "60", "--rank_by", by)
    figures = {m["method"]: m for m in summary(found)["methods"]}
    assert tuple(figures) == METHODS
    score = {name: figure["score"] for name, figure in figures.items()}
    assert score["dual rerank@4"] == score["pass@4"] == pytest.approx(1 - 0.7**4, abs=0.15)
    assert score["majority@4"] < score["dual rerank@4"] - 0.1
    quality = [row["quality"] for row in rows(found, ANSWERS)]
    assert score["mean@4"] == pytest.approx(sum(q["mean"] for q in quality) / 60)
    for row in rows(found, ANSWERS):
        right = sum(c["votes"] for c in row["candidates"] if c["answer"] == row["gold"])
        assert row["quality"]["mean"] == right / 4 and row["quality"]["dual"] == row["quality"]["pass"]
    gain = summary(found)["dual_minus"]["majority@4"]
    assert gain["mean"] == pytest.approx(score["dual rerank@4"] - score["majority@4"]) and gain["low"] > 0


@pytest.mark.parametrize("by", ["dual", "product"])
def test_the_order_is_the_one_that_was_asked_for(by, tmp_path, monkeypatch):
    """The dual recovers by chance, here one operand, there both."""
    plant(monkeypatch, lambda prompts: [[said("".join(p))] for p in prompts], right=0.5)
    monkeypatch.setattr(
        Arithmetic, "distance", lambda task, dual, text: float(random.Random(text).random() < 0.5)
    )
    found = rows(start("tiny", tmp_path / "run", "--num_generations", "12", "--rank_by", by), ANSWERS)
    orders = {"dual": lambda c: c["backward_rate"], "product": lambda c: c["backward_rate"] * c["votes"]}
    values = {
        name: [[worth(c) for c in row["candidates"]] for row in found] for name, worth in orders.items()
    }
    (other,) = set(orders) - {by}
    assert all(worths == sorted(worths, reverse=True) for worths in values[by])
    assert not all(worths == sorted(worths, reverse=True) for worths in values[other])


def test_with_a_dual_that_knows_nothing_the_majority_answers(tmp_path, monkeypatch):
    plant(monkeypatch, lambda prompts: [[said("no")] for _ in prompts])
    found = start("tiny", tmp_path / "run", "--num_problems", "30")
    assert summary(found)["other_than_majority"] == 0
    assert all(row["answer"] == row["given"]["majority"] for row in rows(found, ANSWERS))


def test_where_nothing_can_be_read_there_is_no_answer(tmp_path, monkeypatch, capfd):
    plant(monkeypatch, solve, right=0.0, read=0.0)
    found = start("tiny", tmp_path / "run")
    for row in rows(found, ANSWERS):
        assert (row["answer"], row["score"], row["votes"], row["candidates"]) == (None, None, 0, [])
        assert row["completion"] == "no idea" and set(row["quality"].values()) == {0}
    assert summary(found)["unanswered"] == 10
    assert "10 problems have no answer" in "".join(capfd.readouterr())


QUESTIONS = ["Ann has 5 pens and buys 7 more. How many?", "Who is she?", "Bob ate 3 of 12 eggs. How many?"]


def write_jsonl(file: Path, *lines: dict) -> str:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(file)


def test_prompts_without_right_answers_or_numbers_are_answered_too(tmp_path, monkeypatch, capfd):
    def ask(prompts):
        return [[said("\\boxed{0}")] for _ in prompts]

    plant(monkeypatch, ask, right=1.0)
    monkeypatch.setattr("dupo.tasks.word_problems.WordProblems.answer", lambda task, problem, text: text)
    file = write_jsonl(tmp_path / "questions.jsonl", *({"question": q} for q in QUESTIONS))
    found = start("tiny", tmp_path / "run", "--task", "word_problems", "--dataset", file)
    assert [row["question"] for row in rows(found, ANSWERS)] == QUESTIONS
    assert [row["duals"] for row in rows(found, ANSWERS)] == [2, 0, 2]
    assert {row["answer"] for row in rows(found, ANSWERS)} == {"0000"}
    assert {row["quality"] for row in rows(found, ANSWERS)} == {None}
    figures = summary(found)
    assert (figures["with_gold"], figures["without_dual"], figures["dual_minus"]) == (0, 1, {})
    assert [m["key"] for m in figures["methods"]] == ["greedy", "majority", "dual"]
    told = "".join(capfd.readouterr())
    assert "score of" not in told and "1 problems have no dual" in told


def test_an_eval_dataset_is_what_is_answered(tmp_path, monkeypatch, capfd):
    plant(monkeypatch, lambda prompts: [[said("?")] for _ in prompts], right=1.0)
    data = write_jsonl(tmp_path / "data.jsonl", *({"question": q} for q in QUESTIONS))
    lines = [{"question": f"Is {n} odd?", "answer": f"{n}"} for n in range(20, 80)]
    common = ["--task", "word_problems", "--dataset", data, "--eval_dataset"]
    found = start("tiny", tmp_path / "run", *common, write_jsonl(tmp_path / "e.jsonl", *lines))
    assert len(rows(found, ANSWERS)) == summary(found)["with_gold"] == 10
    found = start("tiny", tmp_path / "all", *common, str(tmp_path / "e.jsonl"), "--num_problems", "0")
    assert {row["question"] for row in rows(found, ANSWERS)} == {line["question"] for line in lines}
    blank = write_jsonl(tmp_path / "blank.jsonl", {"question": "Is 5 odd?", "answer": ""})
    capfd.readouterr()
    start("tiny", tmp_path / "none", *common, blank, code=2)
    assert "eval_dataset: expected problems with a right answer, got none" in capfd.readouterr().err


# --- again, on from where it stopped, or not at all ---


def test_a_run_that_was_killed_goes_on_to_the_same_bytes(untrained, tmp_path, monkeypatch):
    answer_anything(monkeypatch)
    whole = start(untrained, tmp_path / "run")  # batches of 4, 4 and 2 problems
    data, found = (whole / ANSWERS).read_bytes(), summary(whole)
    other = start(untrained, tmp_path / "other", "--seed", "1")
    assert (other / ANSWERS).read_bytes() != data
    lines, sampled = data.splitlines(keepends=True), rollout.sample_answers
    asked = []

    def counting(sampler, task, problems, n, *rest):
        asked.extend(p.id for p in problems if n > 1)
        return sampled(sampler, task, problems, n, *rest)

    monkeypatch.setattr(rollout, "sample_answers", counting)
    cuts = {
        "nothing": (b"", 10),
        "a batch": (b"".join(lines[:4]), 6),
        "a batch and a half": (b"".join(lines[:6]), 6),
        "a line and a half": (b"".join(lines[:8]) + lines[8][:40], 2),
        "all but a line end": (data[:-1], 0),
        "all": (data, 0),
    }
    for left, (part, missing) in cuts.items():
        asked.clear()
        (whole / ANSWERS).write_bytes(part)
        (whole / "summary.json").unlink()
        start(untrained, whole)
        assert (whole / ANSWERS).read_bytes() == data, left
        assert len(asked) == missing, left
        again = summary(whole)
        assert {**again, "signature": ""} == {**found, "signature": ""}, left


def refused(capfd, *arguments) -> str:
    capfd.readouterr()
    start(*arguments, code=2)
    said = capfd.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    return said


def test_the_seed_decides_what_is_sampled(tmp_path, monkeypatch):
    plant(monkeypatch, lambda prompts: [[said("?")] for _ in prompts])
    lines = [{"question": f"Is {n} odd?", "answer": f"{n}"} for n in range(1000, 1010)]
    data = ["--task", "word_problems", "--dataset", write_jsonl(tmp_path / "data.jsonl", *lines)]
    monkeypatch.setattr("dupo.tasks.word_problems.WordProblems.answer", lambda task, problem, text: text)
    one, same, other = (
        (start("tiny", tmp_path / name, *data, "--seed", name[-1]) / ANSWERS).read_bytes()
        for name in ("run-1", "again-1", "run-2")
    )
    assert one == same != other


def test_other_settings_are_refused_in_one_line_unless_it_is_overwritten(tmp_path, monkeypatch, capfd):
    plant(monkeypatch, solve)
    run = start("tiny", tmp_path / "run")
    before = (run / ANSWERS).read_bytes()
    told = refused(capfd, "tiny", run, "--temperature", "0.5")
    assert "temperature is 0.5, the run was started with 1" in told
    assert "num_problems" in refused(capfd, "tiny", run, "--num_problems", "11")
    assert (run / ANSWERS).read_bytes() == before
    start("tiny", run, "--num_problems", "3", "--overwrite_output_dir")
    assert (run / ANSWERS).read_bytes().splitlines() == before.splitlines()[:3]
    assert summary(run)["problems"] == 3


def test_the_folder_of_another_program_is_refused(tmp_path, monkeypatch, capfd):
    from dupo.audit import main as audit

    plant(monkeypatch, solve)
    run = tmp_path / "run"
    assert audit([*SMALL.split(), "--model_name_or_path", "tiny", "--output_dir", str(run)]) == 0
    assert str(run) in refused(capfd, "tiny", run)
    assert not (run / ANSWERS).exists()


@pytest.mark.parametrize("count", ["1", "4"])
def test_a_vote_of_no_more_than_the_samples_is_refused(count, tmp_path, capfd):
    told = refused(capfd, "tiny", tmp_path / "run", "--vote_samples", count)
    assert told == f"error: vote_samples: expected 0 or more than num_generations, 4, got {count}\n"
    assert not (tmp_path / "run").exists()


def test_the_folder_is_named_before_the_work_starts(tmp_path, monkeypatch, capfd):
    """Whoever gave no --output_dir and stops the program must know what to go on with."""
    monkeypatch.chdir(tmp_path)

    def stopped(prompts):
        raise KeyboardInterrupt

    plant(monkeypatch, stopped)
    assert main([*SMALL.split(), "--model_name_or_path", "tiny"]) == 130
    told = "".join(capfd.readouterr())
    (run,) = (tmp_path / "runs").iterdir()
    assert f"runs/{run.name} (the same command with this --output_dir goes on" in told
    assert "stopped; the same command goes on, with its --output_dir" in told
