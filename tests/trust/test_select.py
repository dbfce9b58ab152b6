"""The selection as a program: what it keeps, what training does with that, and that it goes on."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from dupo.config.command_line import parse
from dupo.engines.load import load_engine
from dupo.run.rows import LoadEngine
from dupo.tasks import make_task
from dupo.tasks.arithmetic import reversed_digits
from dupo.tasks.word_problems import WordProblems
from dupo.train import main as train
from dupo.trust.dual_filter import KEPT, VACUOUS
from dupo.trust.select import select
from tests.helpers.left_rows import leave, whole_batches
from tests.helpers.worlds import rows, said, save_tiny, solver, summary
from tests.trust.fakes import fake, start, write_jsonl


@pytest.fixture(scope="module")
def untrained(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model") / "untrained")


def often_right(golds, n: int, seed: int) -> list[list[str]]:
    """Answers that are right four times in ten, else random numbers."""
    rng = random.Random(seed)
    return [
        [gold if rng.random() < 0.4 else reversed_digits(rng.randrange(9999), 4) for _ in range(n)]
        for gold in golds
    ]


SOLVED = fake(solver, answers=often_right)
UNANIMOUS = fake(solver, answers=lambda golds, n, seed: [[gold] * n for gold in golds])


def run(load: LoadEngine, out: Path, *options: str, code: int = 0) -> Path:
    return start("select", select, load, out, "--num_problems", "40", *options, code=code)


def test_the_program_keeps_what_can_be_trusted_and_training_uses_it(tmp_path, capsys):
    out = run(SOLVED, tmp_path / "duals")
    shown = capsys.readouterr().out
    metrics = summary(out)
    first, second = metrics["passes"]
    assert (first["pool_size"], second["pool_size"]) == (32, 8)
    assert first["problems"] == 40 and first["duals"] == 80
    assert sum(first["outcomes"].values()) == 80 and first["leak/no_answer"] == 0
    assert first["outcomes"][KEPT] > 60  # the right answer is among 32 but by accident
    assert second["duals"] == first["outcomes"][KEPT] + first["outcomes"].get(VACUOUS, 0)
    kept = rows(out, "kept.jsonl")
    assert len(kept) == metrics["kept_duals"] == second["outcomes"][KEPT] + second["outcomes"].get(VACUOUS, 0)
    assert f"kept: {len(kept):,} duals" in shown and "pass 1: pool of 32" in shown
    task = make_task(parse(["--selected_duals", str(out)]).task, 0)
    assert {p.text for p in task.train} == {row["text"] for row in kept}
    asked = [d for p in task.train for d in task.duals(p)]
    assert sorted((d.known, d.unknown) for d in asked) == sorted((r["known"], r["unknown"]) for r in kept)
    assert len(task.duals(task.held_out[0])) == 2  # what is measured does not depend on the selection
    assert task.duals(replace(task.held_out[0], text="#111+222=")) == []  # and nothing else has any
    single = make_task(parse(["--selected_duals", str(out), "--duals_per_prompt", "1"]).task, 0)
    assert {len(single.duals(p)) for p in single.train} == {1}


def test_a_text_that_comes_again_gives_its_duals_once(tmp_path, monkeypatch):
    lines = [{"question": "Tina has 12 apples and 30 pears. How many in all?"}] * 3
    lines += [{"question": f"Bob walks {n} miles a day. How far in {n + 3} days?"} for n in (14, 15)]
    file = write_jsonl(tmp_path / "data.jsonl", *lines)
    data = ["--task", "word_problems", "--dataset", file]
    task = make_task(parse(data).task, 0)
    hidden = {dual.known: dual.unknown for problem in task.problems for dual in task.duals(problem)}

    def ask(prompts):
        """Recovers every hidden number from the answer 0000, and from nothing else."""
        texts = [next(hidden[known] for known in hidden if known in "".join(prompt)) for prompt in prompts]
        return [[said(t if p[1] == "0000" else "")] for p, t in zip(prompts, texts, strict=True)]

    monkeypatch.setattr(WordProblems, "answer", lambda task, problem, completion: completion)
    monkeypatch.setattr(
        WordProblems, "distance", lambda task, dual, completion: float(completion != dual.unknown)
    )
    out = run(fake(ask, right=1.0), tmp_path / "out", *data, "--eval_dataset", "not read")
    kept = rows(out, "kept.jsonl")
    assert len(kept) == len({(row["text"], row["unknown"]) for row in kept}) == 6
    assert summary(out)["kept_problems"] == 3


def test_a_batch_holds_several_problems_so_that_each_has_decoys_of_others(tmp_path):
    out = run(SOLVED, tmp_path / "out", "--generation_batch_size", "4", "--num_problems", "8")
    tried = [dual for row in rows(out, "pass-1.jsonl") for dual in row["duals"]]
    assert all(len(dual["decoys"]) >= 2 for dual in tried)


def test_duals_of_a_pool_with_one_answer_are_kept_unless_told_otherwise(tmp_path):
    options = ("--num_problems", "4", "--pool_sizes", "4")
    assert len(rows(run(UNANIMOUS, tmp_path / "kept", *options), "kept.jsonl")) == 8
    dropped = run(UNANIMOUS, tmp_path / "dropped", *options, "--no_keep_vacuous")
    assert rows(dropped, "kept.jsonl") == []


@pytest.mark.slow
@pytest.mark.full
def test_killed_anywhere_and_started_again_gives_the_same_bytes(tmp_path):
    options = ("--generation_batch_size", "128", "--num_problems", "14")
    complete = run(SOLVED, tmp_path / "complete", *options)
    data = (complete / "pass-1.jsonl").read_bytes()
    for k, size in enumerate((0, 10, len(data) // 2, len(data) - 1)):
        out = run(SOLVED, tmp_path / f"cut-{k}", *options)
        leave(out / "pass-1.jsonl", data[:size], whole_batches(data[:size], 4, 14))
        for name in ("pass-2.jsonl", "kept.jsonl", "summary.json"):
            (out / name).unlink()
        leave(out / "pass-2.jsonl", b"", b"")
        run(SOLVED, out, *options)
        for name in ("pass-1.jsonl", "pass-2.jsonl", "kept.jsonl", "summary.json"):
            assert (out / name).read_bytes() == (complete / name).read_bytes(), (size, name)


def test_what_cannot_go_on_is_refused(tmp_path, capsys):
    out = run(SOLVED, tmp_path / "duals", "--pool_sizes", "4")
    run(SOLVED, out, "--pool_sizes", "8", code=2)
    assert "holds other work (pool_sizes is 8, the run was started with 4)" in capsys.readouterr().err
    run(SOLVED, out, "--pool_sizes", "8", "--overwrite_output_dir")
    assert len(summary(out)["passes"]) == 1
    before = {file: file.read_bytes() for file in out.iterdir() if file.is_file()}
    assert train(["--output_dir", str(out), "--overwrite_output_dir"]) == 2  # not a training run's folder
    assert "holds work of dupo.select: it is never overwritten" in capsys.readouterr().err
    assert before == {file: file.read_bytes() for file in out.iterdir() if file.is_file()}
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("mine")
    run(SOLVED, tmp_path / "other", code=2)
    assert (tmp_path / "other/file").read_text() == "mine"


@pytest.mark.slow
def test_an_untrained_model_keeps_nothing_and_says_so(untrained, tmp_path, capsys):
    run(load_engine, tmp_path / "none", "--model_name_or_path", str(untrained), "--pool_sizes", "4,2")
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
