"""The reranker as a program: what it writes, what it answers, and that it goes on where it was stopped."""

import random
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from dupo.config.layers import read_config
from dupo.evaluation.intervals import Estimate
from dupo.run.program import run_program
from dupo.tasks import generated
from dupo.tasks.arithmetic import Arithmetic
from dupo.tasks.word_problems import WordProblems
from dupo.trust.audit import audit
from dupo.trust.rerank import ANSWERS, best_and_worst, interval, rerank
from dupo.trust.rows import AnswerRow, TokenCounts
from dupo.views.folder_page import write_folder_page
from tests.helpers.left_rows import leave, whole_batches
from tests.helpers.pages import Page
from tests.helpers.worlds import rows, said, save_tiny, summary
from tests.trust.fakes import fake, solve, start, untaught, watched, write_jsonl

ROW = AnswerRow("id", "text", 2, "7", 0.5, 1, None, {}, [], "7", None, None, TokenCounts(1, 1, 1, 1, 1, 1))
METHODS = ("greedy", "mean@4", "majority@4", "dual rerank@4", "pass@4")
SMALL = "--num_threads 1 --num_generations 4 --generation_batch_size 16 --num_problems 10"


@pytest.fixture(scope="module")
def untrained(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model") / "untrained")


def run(load, out: Path, *options: str, code: int = 0) -> Path:
    return start("rerank", rerank, load, out, *SMALL.split(), *options, code=code)


def answer_anything(monkeypatch) -> None:
    """Random text that can be read and is recovered now and then: first characters stand for answers, and
    the first character of what a dual says for the hidden part."""
    monkeypatch.setattr(Arithmetic, "answer", lambda task, problem, text: text[:1] or None)
    monkeypatch.setattr(
        Arithmetic, "distance", lambda task, dual, text: {"": None}.get(text, float(text[:1] > "4"))
    )


def constant(text: str):
    """A judge that always says the same."""
    return lambda prompts: [[said(text)] for _ in prompts]


def unread_answers(monkeypatch) -> None:
    """Word problems whose answers are whole completions."""
    monkeypatch.setattr(WordProblems, "answer", lambda task, problem, text: text)


# --- what it writes ---


def test_rows_are_complete_and_add_up(untrained, tmp_path, monkeypatch):
    answer_anything(monkeypatch)
    spent, readable = Counter(), Counter()

    def count(is_primal, n, groups):
        kind = {1: "greedy", 4: "samples", 5: "more"}[n] if is_primal else "duals"
        spent[kind] += sum(len(c.ids) for group in groups for c in group)
        readable[kind] += sum(c.text != "" for group in groups for c in group)

    options = ["--model_name_or_path", str(untrained), "--vote_samples", "9"]
    out = run(watched(count), tmp_path / "run", *options, "--generation_batch_size", "36")
    answer_rows = rows(out, ANSWERS)
    config = read_config(out / "config.yaml", "rerank")
    problems = Arithmetic(config.task, config.run.seed).problems[:10]
    assert [row["problem"] for row in answer_rows] == [p.id for p in problems]
    for row, problem in zip(answer_rows, problems, strict=True):
        (best, *others), answers = row["candidates"], row["answers"]
        assert [best[key] for key in ("answer", "backward_rate", "votes")] == [
            row[key] for key in ("answer", "score", "votes")
        ]
        assert row["runner_up"] == (others[0] if others else None)
        order = [(c["backward_rate"], c["votes"]) for c in row["candidates"]]
        assert order == sorted(order, reverse=True)
        assert all(c["backward_rate"] in (0, 0.5, 1) for c in row["candidates"])  # two duals each
        assert row["completion"][0] == row["answer"] == answers["dual"]
        assert row["duals"] == 2
        most = max(c["votes"] for c in row["candidates"])
        assert next(c["votes"] for c in row["candidates"] if c["answer"] == answers["majority"]) == most
        assert (row["question"], row["gold"], row["tokens"]["n"]) == (problem.text, problem.gold, 4)
    assert sum(c["votes"] for row in answer_rows for c in row["candidates"]) == readable["samples"]
    metrics = summary(out)
    tokens = {m["key"]: m["tokens"] for m in metrics["methods"]}
    samples = spent["samples"]
    equal = tokens.pop("equal_cost")
    assert samples <= equal <= tokens["more_votes"]
    assert tokens == {"greedy": spent["greedy"], "mean": round(samples / 4), "majority": samples} | {
        "dual": samples + spent["duals"],
        "more_votes": samples + spent["more"],
        "pass": samples,
    }
    assert min(spent.values()) > 0 and len({row["score"] for row in answer_rows}) > 1
    changed = sum(row["answer"] != row["answers"]["majority"] for row in answer_rows)
    assert metrics["other_than_majority"] == changed > 0


def test_the_best_and_the_worst_are_shown(untrained, tmp_path, monkeypatch, capfd):
    answer_anything(monkeypatch)
    out = run(fake(solve, right=0.5), tmp_path / "run")
    shown = capfd.readouterr().out
    assert shown.count("recovered best") == shown.count("recovered worst") == 3
    answered = {row["problem"]: row for row in rows(out, ANSWERS)}
    titles = [line.split(" · ") for line in shown.splitlines() if line.startswith("recovered ")]
    best, worst = (
        [answered[id]["score"] for kind, id in titles if kind.endswith(end)] for end in ("best", "worst")
    )
    assert len({id for _, id in titles}) == 6 and min(best) >= max(worst)
    scores = sorted(row["score"] for row in answered.values())
    assert sorted(best) == scores[-3:] and sorted(worst) == scores[:3]
    assert f"{out / 'report.html'} shows the best and the worst of them" in shown
    page = Page(out / "report.html")
    page.check_is_closed()
    given_back = [
        dual["completion"] for id in (titles[0][1], titles[-1][1]) for dual in answered[id]["reconstructions"]
    ]
    assert given_back and all(text in page.text for text in given_back)
    assert (out / "report.html").read_bytes() == write_folder_page(out).read_bytes()


@pytest.mark.parametrize(("count", "ends"), [(0, (0, 0)), (1, (1, 0)), (4, (2, 2)), (9, (3, 3))])
def test_few_problems_are_shown_once(count, ends):
    scored = [replace(ROW, problem=str(n), score=n / 10) for n in range(count)]
    shown = best_and_worst([*scored, replace(ROW, score=None)])
    assert [title for title, _ in shown] == ["recovered best"] * ends[0] + ["recovered worst"] * ends[1]
    assert len({row.problem for _, row in shown}) == len(shown)


def test_tokens_are_those_of_the_problem_itself(tmp_path):
    """Two problems of one batch: the one whose answers are all alike asks fewer duals."""
    for row in rows(run(fake(solve, right=0.5), tmp_path / "run"), ANSWERS):
        assert row["tokens"] == {
            "n": 4,
            "greedy": 5,
            "samples": 20,
            "duals": 2 * len(row["candidates"]) * len(said("").ids),  # two duals of each different answer
            "equal_cost": 20,  # there are no more samples to spend tokens on
            "more_votes": 0,
        }


@pytest.mark.slow
def test_more_votes_are_asked_for_and_counted(tmp_path):
    load = fake(solve, right=0.4, read=1.0)
    out = run(load, tmp_path / "run", "--vote_samples", "40", "--num_problems", "40")
    scores = {m["method"]: m["score"] for m in summary(out)["methods"]}
    # a right answer has 40 % of the votes and each of 36 wrong ones under 2 %: more votes find it
    assert scores["majority@40"] == 1 > scores["majority@4"]
    assert [row["tokens"]["more_votes"] for row in rows(out, ANSWERS)] == [36 * 5] * 40
    for row in rows(out, ANSWERS):  # a vote that costs as much: whole samples of five tokens
        assert row["tokens"]["equal_cost"] == -(-(20 + row["tokens"]["duals"]) // 5) * 5


# --- what it answers ---


@pytest.mark.parametrize("by", ["dual", "product"])
def test_with_a_perfect_dual_a_right_answer_is_found_wherever_there_is_one(by, tmp_path):
    out = run(fake(solve, right=0.3), tmp_path / "run", "--num_problems", "60", "--rank_by", by)
    score = {method["method"]: method["score"] for method in summary(out)["methods"]}
    assert tuple(score) == METHODS
    assert score["dual rerank@4"] == score["pass@4"] == pytest.approx(1 - 0.7**4, abs=0.15)
    assert score["majority@4"] < score["dual rerank@4"] - 0.1
    quality = [row["quality"] for row in rows(out, ANSWERS)]
    assert score["mean@4"] == pytest.approx(sum(q["mean"] for q in quality) / 60)
    for row in rows(out, ANSWERS):
        right = sum(c["votes"] for c in row["candidates"] if c["answer"] == row["gold"])
        assert row["quality"]["mean"] == right / 4 and row["quality"]["dual"] == row["quality"]["pass"]
    gain = summary(out)["dual_minus"]["majority@4"]
    assert gain["mean"] == pytest.approx(score["dual rerank@4"] - score["majority@4"]) and gain["low"] > 0


@pytest.mark.parametrize("by", ["dual", "product"])
def test_the_order_is_the_one_that_was_asked_for(by, tmp_path, monkeypatch):
    """The dual recovers by chance, here one operand, there both."""
    load = fake(lambda prompts: [[said("".join(p))] for p in prompts], right=0.5)
    monkeypatch.setattr(
        Arithmetic, "distance", lambda task, dual, text: float(random.Random(text).random() < 0.5)
    )
    answer_rows = rows(run(load, tmp_path / "run", "--num_generations", "12", "--rank_by", by), ANSWERS)
    orders = {"dual": lambda c: c["backward_rate"], "product": lambda c: c["backward_rate"] * c["votes"]}
    values = {
        name: [[worth(c) for c in row["candidates"]] for row in answer_rows] for name, worth in orders.items()
    }
    (other,) = set(orders) - {by}
    assert all(worths == sorted(worths, reverse=True) for worths in values[by])
    assert not all(worths == sorted(worths, reverse=True) for worths in values[other])


def test_with_a_dual_that_knows_nothing_the_majority_answers(tmp_path):
    out = run(fake(constant("no")), tmp_path / "run", "--num_problems", "30")
    assert summary(out)["other_than_majority"] == 0
    assert all(row["answer"] == row["answers"]["majority"] for row in rows(out, ANSWERS))


def test_where_nothing_can_be_read_there_is_no_answer(tmp_path, capfd):
    out = run(fake(solve, right=0.0, read=0.0), tmp_path / "run")
    for row in rows(out, ANSWERS):
        assert (row["answer"], row["score"], row["votes"], row["candidates"]) == (None, None, 0, [])
        assert row["completion"] == "no idea" and set(row["quality"].values()) == {0}
    assert summary(out)["unanswered"] == 10
    assert "10 problems have no answer" in "".join(capfd.readouterr())


QUESTIONS = ["Ann has 5 pens and buys 7 more. How many?", "Who is she?", "Bob ate 3 of 12 eggs. How many?"]


def test_prompts_without_right_answers_or_numbers_are_answered_too(tmp_path, monkeypatch, capfd):
    unread_answers(monkeypatch)
    file = write_jsonl(tmp_path / "questions.jsonl", *({"question": q} for q in QUESTIONS))
    load = fake(constant("\\boxed{0}"), right=1.0)
    out = run(load, tmp_path / "run", "--task", "word_problems", "--dataset", file)
    assert [row["question"] for row in rows(out, ANSWERS)] == QUESTIONS
    assert [row["duals"] for row in rows(out, ANSWERS)] == [2, 0, 2]
    assert {row["answer"] for row in rows(out, ANSWERS)} == {"0000"}
    assert {row["quality"] for row in rows(out, ANSWERS)} == {None}
    metrics = summary(out)
    assert (metrics["with_gold"], metrics["without_dual"], metrics["dual_minus"]) == (0, 1, {})
    assert [m["key"] for m in metrics["methods"]] == ["greedy", "majority", "dual"]
    shown = "".join(capfd.readouterr())
    assert "score of" not in shown and "1 problems have no dual" in shown


@pytest.mark.slow
def test_an_eval_dataset_is_what_is_answered(tmp_path, capfd):
    load = fake(constant("?"), right=1.0)
    data = write_jsonl(tmp_path / "data.jsonl", *({"question": q} for q in QUESTIONS))
    lines = [{"question": f"Is {n} odd?", "answer": f"{n}"} for n in range(20, 80)]
    common = ["--task", "word_problems", "--dataset", data, "--eval_dataset"]
    out = run(load, tmp_path / "run", *common, write_jsonl(tmp_path / "e.jsonl", *lines))
    assert len(rows(out, ANSWERS)) == summary(out)["with_gold"] == 10
    out = run(load, tmp_path / "all", *common, str(tmp_path / "e.jsonl"), "--num_problems", "0")
    assert {row["question"] for row in rows(out, ANSWERS)} == {line["question"] for line in lines}
    blank = write_jsonl(tmp_path / "blank.jsonl", {"question": "Is 5 odd?", "answer": ""})
    line = refused(capfd, load, tmp_path / "none", *common, blank)
    assert "eval_dataset: expected problems with a right answer, got none" in line


# --- again, on from where it stopped, or not at all ---


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(untrained, tmp_path, monkeypatch):
    monkeypatch.setattr(generated, "TRAIN_SIZE", 100)
    answer_anything(monkeypatch)
    sampled = Counter()

    def count(is_primal, n, groups):
        sampled["problems"] += len(groups) if is_primal and n > 1 else 0

    load, model = watched(count), ("--model_name_or_path", str(untrained))
    complete = run(load, tmp_path / "run", *model)  # batches of 4, 4 and 2 problems
    data, metrics = (complete / ANSWERS).read_bytes(), summary(complete)
    other = run(load, tmp_path / "other", *model, "--seed", "1")
    assert (other / ANSWERS).read_bytes() != data
    lines = data.splitlines(keepends=True)
    # A kill at every place: tests/reliability/test_kill.py.
    cuts = {
        "a batch and a half": (b"".join(lines[:6]), 6),
        "a line and a half": (b"".join(lines[:8]) + lines[8][:40], 2),
        "all": (data, 0),
    }
    for name, (content, missing) in cuts.items():
        sampled.clear()
        leave(complete / ANSWERS, content, whole_batches(content, 4, 10))
        (complete / "summary.json").unlink()
        run(load, complete, *model)
        assert (complete / ANSWERS).read_bytes() == data, name
        assert sampled["problems"] == missing, name
        again = summary(complete)
        assert {**again, "signature": ""} == {**metrics, "signature": ""}, name


def refused(capfd, load, out: Path, *options: str) -> str:
    """The one line that a run which cannot be gives."""
    capfd.readouterr()
    run(load, out, *options, code=2)
    line = capfd.readouterr().err
    assert line.startswith("error: ") and line.count("\n") == 1
    return line


def test_rows_of_other_problems_are_refused(tmp_path, capfd):
    out = run(fake(solve), tmp_path / "run")
    lines = (out / ANSWERS).read_bytes().splitlines(keepends=True)
    for content in (b"".join(reversed(lines)), b'{"problem": "x"}\n' * 10):
        leave(out / ANSWERS, content, content)
        assert "expected the problems of the data set, got others" in refused(capfd, fake(solve), out)
        assert (out / ANSWERS).read_bytes() == content


@pytest.mark.slow
def test_the_seed_decides_what_is_sampled(tmp_path, monkeypatch):
    unread_answers(monkeypatch)
    lines = [{"question": f"Is {n} odd?", "answer": f"{n}"} for n in range(1000, 1010)]
    data = ["--task", "word_problems", "--dataset", write_jsonl(tmp_path / "data.jsonl", *lines)]
    first, same, other = (
        (run(fake(constant("?")), tmp_path / name, *data, "--seed", name[-1]) / ANSWERS).read_bytes()
        for name in ("run-1", "again-1", "run-2")
    )
    assert first == same != other


def test_other_settings_are_refused_in_one_line_unless_it_is_overwritten(tmp_path, capfd):
    load = fake(solve)
    out = run(load, tmp_path / "run")
    before = (out / ANSWERS).read_bytes()
    line = refused(capfd, load, out, "--temperature", "0.5")
    assert "temperature is 0.5, the run was started with 1" in line
    assert "num_problems" in refused(capfd, load, out, "--num_problems", "11")
    assert (out / ANSWERS).read_bytes() == before
    run(load, out, "--num_problems", "3", "--overwrite_output_dir")
    assert (out / ANSWERS).read_bytes().splitlines() == before.splitlines()[:3]
    assert summary(out)["problems"] == 3


def test_the_folder_of_another_program_is_refused(tmp_path, capfd):
    out = start("audit", audit, fake(solve), tmp_path / "run", *SMALL.split())
    assert str(out) in refused(capfd, fake(solve), out)
    assert not (out / ANSWERS).exists()


@pytest.mark.parametrize("count", ["1", "4"])
def test_a_vote_of_no_more_than_the_samples_is_refused(count, tmp_path, capfd):
    line = refused(capfd, fake(solve), tmp_path / "run", "--vote_samples", count)
    assert line == f"error: vote_samples: expected 0 or more than num_generations, 4, got {count}\n"
    assert not (tmp_path / "run").exists()


def test_the_folder_is_named_before_the_work_starts(tmp_path, monkeypatch, capfd):
    """Whoever gave no --output_dir and stops the program must know what to go on with."""
    monkeypatch.chdir(tmp_path)

    def stopped(prompts):
        raise KeyboardInterrupt

    assert run_program("rerank", partial(rerank, load=fake(stopped), teach=untaught), SMALL.split()) == 130
    shown = "".join(capfd.readouterr())
    (out,) = (tmp_path / "runs").iterdir()
    assert f"runs/{out.name} (the same command with this --output_dir goes on" in shown
    assert "stopped; the same command goes on, with its --output_dir" in shown


def test_one_problem_has_no_interval():
    estimate = Estimate(0.5, 0.25, 0.75)
    assert interval(estimate, 2, "") == "25.0 to 75.0" and interval(estimate, 2, "+") == "+25.0 to +75.0"
    assert interval(estimate, 1, "") == "no interval"
