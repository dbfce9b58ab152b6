"""Tables, claims and pictures of the evidence are computed from runs, also where a claim does not hold."""

import json
from statistics import fmean

import pytest

from bench.evidence import grid, report, tables
from bench.evidence.claims import claims
from bench.evidence.records import (
    AnswerMethod,
    Evidence,
    RerankResult,
    TeachingContinued,
    TrainingResult,
    result_from_json,
)
from bench.evidence.run import collect, perform, result_file
from dupo.config.layers import assemble
from dupo.evaluation.intervals import Estimate
from tests.helpers.project import ROOT
from tests.helpers.worlds import save_tiny

RATES = ("", " / 3", " / 10")


def trained(task, label, rate, seed, values, before=0.5, copies=(0.1, 0.0)):
    reward, _, variation = label.partition(", ")
    evals = [
        (15 * i, {"accuracy": before + v, "copies": copies[min(i, 1)]}) for i, v in enumerate([0.0, *values])
    ]
    return TrainingResult(grid.Run(task, reward, seed, rate, variation), 100.0, evals, 0.9, {"reward": 0.9})


def runs(dual=0.36, control=-0.1):
    results = []
    for task in ("arithmetic", "conlang"):
        for seed in range(3):
            step = 0.01 * seed
            results += [
                trained(task, "dual", "", seed, [0.2, dual + step]),
                trained(task, "gold", "", seed, [0.3, 0.4 + step]),
            ]
            results += [trained(task, "dual", " / 3", seed, [0.1, 0.2])]
            controls = ("random", "shuffled", "format_only")
            results += [trained(task, label, rate, seed, [0.01, control]) for label in controls
                        for rate in RATES]  # fmt: skip
            results += [
                trained(task, "majority", rate, seed, [-0.1, -0.4 if rate == "" else -0.02]) for rate in RATES
            ]
    return [*results, trained("conlang", "dual, gates off", "", 0, [-0.1, -0.5], copies=(0.1, 0.97))]


def reranked(gain, majority_tokens=770):
    methods = [
        AnswerMethod(key, name, n, n / 10, s, s - 0.03, s + 0.03)
        for key, name, n, s in (
            ("dual", "dual rerank@8", 760, 0.8),
            ("equal_cost", "majority, equal tokens", majority_tokens, 0.8 - gain),
        )
    ]
    minus = {"majority, equal tokens": Estimate(gain, gain - 0.04, gain + 0.04)}
    return RerankResult(grid.Run("arithmetic", "", 0, program="rerank"), None, methods, minus)


def evidence_of(results, continued=()):
    return Evidence("COMMAND", "abc1234", list(results), list(continued))


def test_an_interval_is_students():
    assert tables.mean_interval([0.1]) == "+10.0"
    # mean 2, standard deviation 1: half width 4.30 / sqrt(3) = 2.48
    assert tables.mean_interval([0.01, 0.02, 0.03]) == "+2.0 [-0.5, +4.5]"


def test_every_reward_has_every_rate_and_its_best_is_marked():
    table = tables.gains(evidence_of(runs()), "arithmetic").splitlines()
    assert len({line.count("|") for line in table}) == 1
    assert sum(line.startswith("| majority |") for line in table) == 3
    (best,) = (line for line in table if line.startswith("| majority |") and "**" in line)
    assert best.split("|")[2].strip() == "1e-04"
    assert "| dual | 3e-04 | none | 3 | **+37.0 [+34.5, +39.5]** | +37.0 [+34.5, +39.5] | 0.900 |" in table
    assert "| gold | 3e-04 | all | 3 |" in "\n".join(table)
    continued = [TeachingContinued("arithmetic", 0, [(0.0, 0.5), (30.0, 0.7), (60.0, 0.6)], 3000)]
    last = tables.gains(evidence_of(runs(), continued), "arithmetic").splitlines()[-1]
    assert last == "| teaching continued for as long | 1e-03 | 3,000 new ones | 1 | +10.0 | +20.0 | |"


def test_claims_hold_or_do_not():
    said = claims(evidence_of([*runs(), reranked(0.2)]))
    assert len(said) == 2 * (1 + 3 * 3) + 1 and all(ok for _, ok in said)
    assert said[0][0].startswith("arithmetic: dual +37.0 points, 90% of gold's +41.0 (each at its best rate")
    assert said[1][0] == "arithmetic: random at 3e-04 -10.0 points (at most +4.1, a tenth of gold's)"
    assert "with no fewer tokens: +20.0 points" in "".join(text for text, _ in said)
    cheap = reranked(0.2, majority_tokens=700)  # less than the dual rerank generated
    assert [ok for _, ok in claims(evidence_of([*runs(), cheap]))].count(False) == 1
    broken = claims(evidence_of([*runs(dual=0.3, control=0.05), reranked(0.1)]))
    assert [ok for _, ok in broken].count(True) == 0
    assert fmean([0.3, 0.31, 0.32]) / fmean([0.4, 0.41, 0.42]) < 0.85
    one_seed = [r for r in runs() if (r.run.label, r.run.seed) not in (("gold", 0), ("gold", 1))]
    assert claims(evidence_of(one_seed))[0].text.startswith(
        "arithmetic: dual +38.0 points, 90% of gold's +42.0"
    )


def test_the_page_says_what_does_not_hold():
    page = report.document(evidence_of([*runs(dual=0.3), reranked(0.1)]), "FILE.json")
    assert "**does not hold**: arithmetic: dual +31.0 points, 76% of gold's" in page and "`COMMAND`" in page
    assert "17 of 21 hold" not in page and "18 of 21 hold" in page
    assert "| gates off | 1 | -80.0 |" in page
    assert "| off | 0 | 50.0 -> 0.0 | 10.0 -> 97.0 | 0.90 |" in page
    assert "| on | 0 | 50.0 -> 80.0 | 10.0 -> 0.0 | 0.90 |" in page
    assert "| dual rerank minus majority, equal tokens | | **+10.0** [+6.0, +14.0] |" in page
    short = tables.short_table(evidence_of(runs()))
    assert "| **dual** | none | +37.0 [+34.5, +39.5] at 3e-04 | +37.0 [+34.5, +39.5] at 3e-04 |" in short
    assert "| majority | none | -2.0 [-2.0, -2.0] at 1e-04 |" in short


def test_the_picture_shows_each_reward_at_its_best_rate():
    svg = report.picture(evidence_of(runs()), "conlang")
    assert all(name in svg for name in (">dual<", ">gold<", ">majority, lr 1e-04<", ">dual, gates off<"))


def test_the_grid_is_what_the_page_promises():
    def all_runs(full, seeds):
        selected = grid.runs_on_selected_duals(full, seeds)
        return [*grid.teaching_runs(seeds), *grid.grid(full, seeds), *selected]

    core, everything = all_runs(False, 3), all_runs(True, 5)
    assert len({run.name for run in everything}) == len(everything) and set(core) < set(everything)
    training = [run for run in core if run.program == "train"]
    assert len(training) == 3 * (6 * 3 + 6 + 1)
    training = [run for run in everything if run.program == "train"]
    assert len(training) == 5 * (2 * (9 * 3 + 2) + 2)
    assert {run.label for run in everything} > {"soft_vote", "self_certainty", "entropy"}
    assert {"": 3e-4, " / 3": pytest.approx(1e-4), " / 10": pytest.approx(3e-5)} == grid.RATES


def test_every_run_of_a_seed_starts_from_its_taught_model(tmp_path):
    for run in [*grid.grid(True, 2), *grid.runs_on_selected_duals(True, 2)]:
        options = grid.options_of(run, tmp_path)
        start = str(tmp_path / f"{run.task}-train-dual-{run.seed}" / "checkpoint-0")
        assert options["model_name_or_path"] == start
        assert options["seed"] == run.seed
    for run in grid.teaching_runs(2):
        assert "model_name_or_path" not in grid.options_of(run, tmp_path)


def test_every_option_of_the_grid_exists(tmp_path):
    for run in [*grid.teaching_runs(1), *grid.grid(True, 1), *grid.runs_on_selected_duals(True, 1)]:
        options = grid.options_of(run, tmp_path)
        assert options.items() <= assemble(options, run.program).flat().items()


def test_the_cost_is_that_of_whole_seeds():
    def timed(seed, seconds):
        everything = [*grid.teaching_runs(seed + 1), *grid.grid(True, seed + 1)]
        return [TrainingResult(r, seconds, [], None) for r in everything if r.seed == seed]

    a_seed = len([*grid.teaching_runs(1), *grid.grid(False, 1)])
    assert a_seed == 2 + 17 + 5 + 1 + 2 * 2
    said = report.cost(evidence_of([*timed(0, 60.0), *timed(1, None), *timed(2, 120.0)]))
    assert (
        f"takes {1.5 * a_seed:.0f} minutes of one core (seeds timed, a run on each of two cores: 0, 2)"
        in said
    )
    assert f"take {3 * 1.5 * a_seed / 2:.0f} minutes on two" in said
    assert report.cost(evidence_of(timed(0, 60.0)[1:])) == ""


def test_the_pages_are_those_of_the_newest_result_file():
    """The file holds old names of keys as well."""
    (file,) = (ROOT / "bench/results").glob("evidence_*.json")
    evidence = Evidence.from_json(json.loads(file.read_text()))
    assert report.document(evidence, file.name) == (ROOT / "docs/evidence.md").read_text()
    assert tables.short_table(evidence) in (ROOT / "README.md").read_text()


def test_a_short_run_is_performed_once_and_reads_back(tmp_path):
    teacher = grid.teaching_run("arithmetic", 0)
    save_tiny(tmp_path / teacher.name / "checkpoint-0")
    sizes = (("max_steps", 1), ("generation_batch_size", 8), ("eval_size", 8), ("num_problems", 8))
    short = grid.Run("arithmetic", "gold", 0, " / 3", options=sizes)
    perform(short, tmp_path)
    row = json.loads(json.dumps(collect(short, tmp_path)))
    assert str(tmp_path) not in json.dumps(row)
    result = result_from_json(row)
    assert isinstance(result, TrainingResult)
    assert (result.run.label, result.run.rate, result.run.name) == ("gold", " / 3", short.name)
    assert [step for step, _ in result.evals] == [0, 1] and "reward" in result.last_metrics
    summary = result_file(short, tmp_path)
    written = summary.stat().st_mtime_ns
    perform(short, tmp_path)
    assert summary.stat().st_mtime_ns == written
