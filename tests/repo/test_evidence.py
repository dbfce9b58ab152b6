"""Tables, claims and pictures of the evidence are computed from runs, also where a claim does not hold."""

from statistics import fmean

import pytest

from bench.evidence import report as evidence_report
from bench.evidence import run as evidence

RATES = ("", " / 3", " / 10")


def row(task, arm, rate, seed, values, before=0.5, copies=(0.1, 0.0)):
    curve = [(15 * i, before + v) for i, v in enumerate([0.0, *values])]
    evals = [
        (step, {"accuracy": a, "copies": c})
        for (step, a), c in zip((curve[0], curve[-1]), copies, strict=True)
    ]
    found = dict(
        before=before, change=values[-1], peak=max(0.0, *values), reward_auc=0.9, seconds=100.0, curve=curve
    )
    return dict(
        task=task, arm=arm, rate=rate, seed=seed, program="train", evals=evals, last={"reward": 0.9}, **found
    )


def runs(dual=0.36, control=-0.1):
    rows = []
    for task in ("arithmetic", "conlang"):
        for seed in range(3):
            step = 0.01 * seed
            rows += [
                row(task, "dual", "", seed, [0.2, dual + step]),
                row(task, "gold", "", seed, [0.3, 0.4 + step]),
            ]
            rows += [row(task, "dual", " / 3", seed, [0.1, 0.2])]
            controls = ("random", "shuffled", "format_only")
            rows += [row(task, arm, rate, seed, [0.01, control]) for arm in controls
                     for rate in RATES]  # fmt: skip
            rows += [
                row(task, "majority", rate, seed, [-0.1, -0.4 if rate == "" else -0.02]) for rate in RATES
            ]
    rows.append(row("conlang", "dual, gates off", "", 0, [-0.1, -0.5], copies=(0.1, 0.97)))
    return rows


def reranked(gain):
    each = (("dual", "dual rerank@8", 760, 0.8), ("equal_cost", "majority, equal tokens", 770, 0.8 - gain))
    methods = [
        dict(key=key, method=name, tokens=n, tokens_per_problem=n / 10, score=s, low=s - 0.03, high=s + 0.03)
        for key, name, n, s in each
    ]
    minus = {"majority, equal tokens": dict(mean=gain, low=gain - 0.04, high=gain + 0.04)}
    found = dict(methods=methods, dual_minus=minus)
    return dict(task="arithmetic", arm="", rate="", seed=0, program="rerank", summary=found)


def test_an_interval_is_students():
    assert evidence_report.mean_interval([0.1]) == "+10.0"
    # mean 2, standard deviation 1: half width 4.30 / sqrt(3) = 2.48
    assert evidence_report.mean_interval([0.01, 0.02, 0.03]) == "+2.0 [-0.5, +4.5]"


def test_every_arm_has_every_rate_and_its_best_is_marked():
    table = evidence_report.gains_table(runs(), [], "arithmetic").splitlines()
    assert len({line.count("|") for line in table}) == 1
    assert sum(line.startswith("| majority |") for line in table) == 3
    (best,) = (line for line in table if line.startswith("| majority |") and "**" in line)
    assert best.split("|")[2].strip() == "1e-04"
    assert "| dual | 3e-04 | none | 3 | **+37.0 [+34.5, +39.5]** | +37.0 [+34.5, +39.5] | 0.900 |" in table
    assert "| gold | 3e-04 | all | 3 |" in "\n".join(table)
    taught = [{"task": "arithmetic", "curve": [[0.0, 0.5], [30.0, 0.7], [60.0, 0.6]], "labels": 3000}]
    last = evidence_report.gains_table(runs(), taught, "arithmetic").splitlines()[-1]
    assert last == "| warm-up continued for as long | 1e-03 | 3,000 new ones | 1 | +10.0 | +20.0 | |"


def test_claims_hold_or_do_not():
    said = evidence_report.claims([*runs(), reranked(0.2)])
    assert len(said) == 2 * (1 + 3 * 3) + 1 and all(ok for _, ok in said)
    assert said[0][0].startswith("arithmetic: dual +37.0 points, 90% of gold's +41.0 (each at its best rate")
    assert said[1][0] == "arithmetic: random at 3e-04 -10.0 points (at most +4.1, a tenth of gold's)"
    assert "with no fewer tokens: +20.0 points" in "".join(text for text, _ in said)
    cheap = reranked(0.2)
    cheap["summary"]["methods"][1]["tokens"] = 700  # less than the dual rerank generated
    assert [ok for _, ok in evidence_report.claims([*runs(), cheap])].count(False) == 1
    broken = evidence_report.claims([*runs(dual=0.3, control=0.05), reranked(0.1)])
    assert [ok for _, ok in broken].count(True) == 0
    assert fmean([0.3, 0.31, 0.32]) / fmean([0.4, 0.41, 0.42]) < 0.85
    one_seed = [r for r in runs() if (r["arm"], r["seed"]) not in (("gold", 0), ("gold", 1))]
    assert evidence_report.claims(one_seed)[0][0].startswith(
        "arithmetic: dual +38.0 points, 90% of gold's +42.0"
    )


def test_the_page_says_what_does_not_hold():
    page = evidence_report.document([*runs(dual=0.3), reranked(0.1)], [], "COMMAND", "FILE.json")
    assert "**does not hold**: arithmetic: dual +31.0 points, 76% of gold's" in page and "`COMMAND`" in page
    assert "17 of 21 hold" not in page and "18 of 21 hold" in page
    assert "| gates off | 1 | -80.0 |" in page
    assert "| off | 0 | 50.0 -> 0.0 | 10.0 -> 97.0 | 0.90 |" in page
    assert "| on | 0 | 50.0 -> 80.0 | 10.0 -> 0.0 | 0.90 |" in page
    assert "| dual rerank minus majority, equal tokens | | **+10.0** [+6.0, +14.0] |" in page
    short = evidence_report.short_table(runs())
    assert "| **dual** | none | +37.0 [+34.5, +39.5] at 3e-04 | +37.0 [+34.5, +39.5] at 3e-04 |" in short
    assert "| majority | none | -2.0 [-2.0, -2.0] at 1e-04 |" in short


def test_the_picture_shows_each_arm_at_its_best_rate():
    svg = evidence_report.picture(runs(), "conlang")
    assert all(name in svg for name in (">dual<", ">gold<", ">majority, lr 1e-04<", ">dual, gates off<"))


def test_the_grid_is_what_the_page_promises():
    def grid(full, seeds):
        return [*evidence.warm_ups(seeds), *evidence.grid(full, seeds), *evidence.after(full, seeds)]

    core, everything = grid(False, 3), grid(True, 5)
    assert len({run.name for run in everything}) == len(everything) and set(core) < set(everything)
    training = [run for run in core if run.program == "train"]
    assert len(training) == 3 * (6 * 3 + 6 + 1)
    training = [run for run in everything if run.program == "train"]
    assert len(training) == 5 * (2 * (9 * 3 + 2) + 2)
    assert {run.arm for run in everything} > {"soft_vote", "self_certainty", "entropy"}
    assert {"": 3e-4, " / 3": pytest.approx(1e-4), " / 10": pytest.approx(3e-5)} == evidence.RATES


def test_every_run_of_a_seed_starts_from_its_warm_up(tmp_path):
    for run in [*evidence.grid(True, 2), *evidence.after(True, 2)]:
        words = evidence.options_of(run, tmp_path)
        start = words[words.index("--model_name_or_path") + 1]
        assert start == str(tmp_path / f"{run.task}-train-dual-{run.seed}" / "checkpoint-0")
        assert words[words.index("--seed") + 1] == str(run.seed)
    for run in evidence.warm_ups(2):
        assert "--model_name_or_path" not in evidence.options_of(run, tmp_path)


def test_the_cost_is_that_of_whole_seeds():
    def timed(seed, took):
        everything = [*evidence.warm_ups(seed + 1), *evidence.grid(True, seed + 1)]
        return [{"name": r.name, "took": took, "seed": seed} for r in everything if r.seed == seed]

    a_seed = len([*evidence.warm_ups(1), *evidence.grid(False, 1)])
    assert a_seed == 2 + 17 + 5 + 1 + 2 * 2
    said = evidence_report.cost([*timed(0, 60.0), *timed(1, None), *timed(2, 120.0)])
    assert (
        f"takes {1.5 * a_seed:.0f} minutes of one core (seeds timed, a run on each of two cores: 0, 2)"
        in said
    )
    assert f"take {3 * 1.5 * a_seed / 2:.0f} minutes on two" in said
    assert evidence_report.cost(timed(0, 60.0)[1:]) == ""
