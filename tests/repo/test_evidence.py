"""Tables, claims and pictures of the evidence are computed from runs, also where a claim does not hold."""

import json
import re
from statistics import fmean

import pytest

from bench import default_rewards
from bench.evidence import grid, picture, report, tables
from bench.evidence.claims import claims
from bench.evidence.records import (
    AnswerMethod,
    AuditResult,
    Evidence,
    RerankResult,
    TeachingContinued,
    TrainingResult,
    result_from_json,
)
from bench.evidence.run import Schedule, collect, collect_all, perform, result_file
from dupo.config.layers import assemble
from dupo.evaluation.intervals import Estimate
from dupo.storage.signature import git_revision
from dupo.views.references import REFERENCES
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


def document(*evidences):
    return report.document([report.Source(evidence, "FILE.json") for evidence in evidences])


def votes_runs(dual=0.5):
    """The task on which votes help: 32 votes are 20 points above greedy answers."""
    results = []
    for seed in range(3):
        changes = {"dual": dual, "gold": 0.5, "majority": 0.3, "majority, TTRL": 0.2, "random": 0.01}
        results += [
            trained("stories", label, "", seed, [0.1, change + 0.01 * seed], before=0.3)
            for label, change in changes.items()
        ]
        results.append(trained("stories", "majority, TTRL", " / 3", seed, [0.1, 0.4], before=0.3))
    methods = [
        AnswerMethod(key, name, 100, 10.0, score, score - 0.03, score + 0.03)
        for key, name, score in (("greedy", "greedy", 0.3), ("more_votes", "majority@32", 0.5))
    ]
    return [*results, RerankResult(grid.Run("stories", "", 0, program="rerank"), None, methods, {})]


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
    page = document(evidence_of([*runs(dual=0.3), reranked(0.1)]))
    assert "**does not hold**: arithmetic: dual +31.0 points, 76% of gold's" in page and "`COMMAND`" in page
    assert "17 of 21 hold" not in page and "18 of 21 hold" in page
    assert "| gates off | 1 | -80.0 |" in page
    assert "| off | 0 | 50.0 -> 0.0 | 10.0 -> 97.0 | 0.90 |" in page
    assert "| on | 0 | 50.0 -> 80.0 | 10.0 -> 0.0 | 0.90 |" in page
    assert "| dual rerank minus majority, equal tokens | | **+10.0** [+6.0, +14.0] |" in page
    short = tables.short_table([evidence_of(runs())])
    assert "| **dual** | none | +37.0 [+34.5, +39.5] at 3e-04 | +37.0 [+34.5, +39.5] at 3e-04 |" in short
    assert "| majority | none | -2.0 [-2.0, -2.0] at 1e-04 |" in short


def test_rivals_of_the_third_task_are_shown_at_their_best():
    evidence = evidence_of(votes_runs())
    said = claims(evidence)
    assert all(ok for _, ok in said)
    assert [text.partition(":")[0] for text, _ in said] == ["stories, seed 0", "stories", "stories"]
    assert "majority@32 of the taught model minus greedy: +20.0 points (at least 10)" in said[0].text
    assert [ok for _, ok in claims(evidence_of(votes_runs(dual=0.4)))] == [True, False, True]
    table = tables.dual_minus_rivals(evidence, "stories")
    assert "| majority | 3e-04 | 3 | +20.0 [+20.0, +20.0] |" in table
    # 51 less 40, as the rival is best at another rate, where all its seeds are equal.
    assert "| majority, TTRL | 1e-04 | 3 | +11.0 [+8.5, +13.5] |" in table and "| dual |" not in table
    page = document(evidence_of([*runs(), reranked(0.2)]), evidence)
    assert table in page and page.index("## Made-up languages") < page.index("## Word problems in English")
    assert page.count("`COMMAND` at abc1234") == 2


def test_the_table_of_the_readme_has_few_rows_and_no_empty_cell():
    with_kl = [trained("stories", "majority, KL", "", seed, [0.1, 0.25], before=0.3) for seed in range(2)]
    third = evidence_of([*votes_runs(), *with_kl])
    short = tables.short_table([evidence_of(runs()), third]).splitlines()
    columns = "arithmetic, 3 seeds | made-up languages, 3 seeds | word problems in English, 2 to 3 seeds"
    assert short[0] == f"| reward | labels | {columns} |"
    names = [line.split("|")[1].strip() for line in short[2:]]
    assert names == ["**dual**", "gold", "majority", "majority, KL", "random"]
    assert "| majority, KL | none | not run | not run | +25.0 [+25.0, +25.0] at 3e-04 |" in short
    assert "| majority | none | -2.0 [-2.0, -2.0] at 1e-04 |" in "\n".join(short)
    # A reward that no task ran has no row.
    assert "majority, KL" not in tables.short_table([evidence_of(runs()), evidence_of(votes_runs())])


@pytest.mark.slow
def test_curves_with_several_steps_a_rollout_end_where_the_others_end():
    svg = report.picture(evidence_of(votes_runs()), "stories")
    assert ">rollouts<" in svg and ">majority, TTRL, lr 1e-04<" in svg


@pytest.mark.slow
def test_the_picture_shows_each_reward_at_its_best_rate():
    svg = report.picture(evidence_of(runs()), "conlang")
    assert all(name in svg for name in (">dual<", ">gold<", ">majority, lr 1e-04<", ">dual, gates off<"))
    assert svg == report.picture(evidence_of(runs()), "conlang")  # to the byte
    # Every colour of the picture has its colour on a dark page.
    drawn = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", svg.partition("<style>@media")[0]))
    repainted = set(re.findall(r'\[style\*="fill: (#[0-9a-f]{6})"\]', svg))
    assert drawn and drawn <= repainted


def test_names_of_lines_stand_apart_and_near_their_lines():
    assert picture._apart([0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9])
    low, middle, high = picture._apart([0.5, 0.5, 0.5])
    assert (low + high) / 2 == pytest.approx(middle) == pytest.approx(0.5)
    assert high - middle == pytest.approx(picture.LEAST_GAP)
    assert min(picture._apart([0.0, 0.0, 0.01])) == 0


def test_no_two_lines_look_alike():
    with pytest.raises(ValueError, match="at most 10, got 11"):
        picture.draw([picture.Curve(str(n), [0], [0]) for n in range(11)], title="", x_label="", y_label="")
    assert len({light for light, _ in picture.COLOURS}) == len(picture.MARKERS) == 10


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


def test_the_third_task_has_its_rivals_at_every_rate():
    stages = grid.votes_grid(3)
    every = [run for stage in stages for run in stage]
    assert len({run.name for run in every}) == len(every)
    labels = {
        label: {(run.seed, run.rate) for run in every if run.program == "train" and run.label == label}
        for label in {run.label for run in every if run.program == "train"}
    }
    once, at_rates = {(s, "") for s in range(3)}, {(s, rate) for s in range(3) for rate in RATES}
    assert labels == {
        **dict.fromkeys(("dual", "dual, selected", "gold", "random"), once),
        **dict.fromkeys(("majority", "majority, TTRL", "majority, KL"), at_rates),
    }
    assert {run.seed for run in every if run.program == "rerank"} == {0, 1, 2}
    # Training on selected duals needs the selection.
    assert all(run.program != "select" for run in stages[2])
    assert all(run.variation != "selected" for run in stages[1])


def test_ttrl_has_the_settings_of_its_authors(tmp_path):
    """64 votes, the first 32 trained on, 8 problems a rollout, a step for each problem, beta 0.001."""
    (run,) = (r for r in grid.votes_grid(1)[1] if r.variation == "TTRL")
    config = assemble(grid.options_of(run, tmp_path), "train")
    rollout = config.rollout
    assert (rollout.num_generations, rollout.trained_of_group, config.optimizer.train_batch_size) == (
        64,
        32,
        32,
    )
    assert rollout.generation_batch_size // rollout.num_generations == 8
    assert (config.loss.beta, config.loss.kl, rollout.temperature) == (0.001, "k3", 1.0)
    assert (config.optimizer.lr_scheduler_type, config.optimizer.weight_decay) == ("cosine", 0.01)
    # As many rollouts, and so samples, as any other run; 3 % of the steps are warm-up.
    other = assemble({"task": "stories"})
    assert config.optimizer.max_steps == 8 * other.optimizer.max_steps
    assert rollout.generation_batch_size == other.rollout.generation_batch_size
    assert config.optimizer.warmup_steps == 0.03 * config.optimizer.max_steps


def test_every_run_of_a_seed_starts_from_its_taught_model(tmp_path):
    for run in [*grid.grid(True, 2), *grid.runs_on_selected_duals(True, 2)]:
        options = grid.options_of(run, tmp_path)
        start = str(tmp_path / f"{run.task}-train-dual-{run.seed}" / "checkpoint-0")
        assert options["model_name_or_path"] == start
        assert options["seed"] == run.seed
    taught, *later = grid.votes_grid(2)
    for run in [run for stage in later for run in stage]:
        start = str(tmp_path / f"stories-train-dual-{run.seed}" / "checkpoint-0")
        assert grid.options_of(run, tmp_path)["model_name_or_path"] == start
    for run in [*grid.teaching_runs(2), *taught]:
        assert "model_name_or_path" not in grid.options_of(run, tmp_path)


def test_every_option_of_the_grid_exists(tmp_path):
    votes = [run for stage in grid.votes_grid(1) for run in stage]
    for run in [*grid.teaching_runs(1), *grid.grid(True, 1), *grid.runs_on_selected_duals(True, 1), *votes]:
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


def test_the_pages_are_those_of_the_newest_result_files():
    """A file holds old names of keys as well."""
    sources = report.newest_sources()
    names = [source.file_name for source in sources]
    assert sorted(names) == sorted(file.name for file in (ROOT / "bench/results").glob("evidence_*.json"))
    assert report.document(sources) == (ROOT / "docs/evidence.md").read_text()
    assert tables.short_table([s.evidence for s in sources]) in (ROOT / "README.md").read_text()


def test_the_references_are_those_of_the_newest_result_file():
    [file] = (ROOT / "bench/results").glob(f"{default_rewards.THEME}_*.json")
    runs = json.loads(file.read_text())["runs"]
    references = json.loads(REFERENCES.read_text())
    assert references == default_rewards.reference_rows(runs)
    # By hand, of one reward: the mean of all seeds at the end.
    last = [run["curve"][-1] for run in runs if run["reward"] == "gold"]
    shown = next(row for row in references["arithmetic"] if row["reward"] == "gold")
    assert len(last) == shown["seeds"] == 5
    assert shown["steps"][-1] == 150
    assert shown["accuracies"][-1] == pytest.approx(sum(accuracy for _, accuracy in last) / 5, abs=1e-4)


def test_the_newest_file_of_each_theme_is_read(tmp_path):
    content = {"command": "C", "git": "g", "runs": [], "teaching_continued": []}
    names = [f"evidence_{rest}.json" for rest in ("cpu_1_a", "cpu_2_b", "votes_cpu_1_c", "votes_cpu_3_d")]
    for name in names:
        (tmp_path / name).write_text(json.dumps(content))
    assert [s.file_name for s in report.newest_sources(tmp_path)] == [names[1], names[3]]


@pytest.mark.slow
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
    # A report of later names the revision that ran.
    text = summary.read_text()
    assert f"git:{git_revision(ROOT / 'pyproject.toml')}|" in text
    for git, named in (("abc1234", "abc1234"), ("", git_revision(ROOT / "pyproject.toml"))):
        summary.write_text(re.sub(r"git:[^|]*\|", f"git:{git}|" if git else "", text))
        content = collect_all(Schedule([[short]], [], tmp_path), "C")
        assert content["signature"]["git"] == named and len(content["runs"]) == 1
    written = summary.stat().st_mtime_ns
    perform(short, tmp_path)
    assert summary.stat().st_mtime_ns == written


def audited(seed, **changes):
    names = "accuracy reward_auc signal dual_on_gold dual_on_wrong leak/no_answer leak/decoy"
    metrics = {**dict.fromkeys(names.split(), 0.5), "agreement": {"mean": 0.75}, **changes}
    run = grid.Run("arithmetic", "", seed, program="audit")
    return AuditResult(run, None, metrics, "train")


def test_audits_are_shown_with_what_was_measured_among_readable_answers():
    readable = {"readable_reward_auc": 0.625, "readable_agreement": {"mean": 0.875}, "readable_signal": 0.25}
    nothing = dict.fromkeys(("readable_reward_auc", "readable_agreement", "readable_signal", "dual_on_wrong"))
    results = [audited(0, **readable), audited(1, **nothing), audited(2)]
    header, _, *lines = tables.audits(evidence_of(results), "arithmetic").splitlines()
    assert "| reward AUC, readable answers | agreement within problems, readable answers |" in header
    same = "50.0% / 50.0% | train |"
    assert lines[0] == f"| 0 | 0.50 | 0.625 | 0.88 | 25% | 0.50 / 0.50 | {same}"
    assert lines[1] == f"| 1 | 0.50 | none | none | none | 0.50 / none | {same}"
    assert lines[2] == f"| 2 | 0.50 | none | none | none | 0.50 / 0.50 | {same}"
    older = evidence_of([audited(0), audited(1, reward_auc=None, agreement=None)])
    header, _, *lines = tables.audits(older, "arithmetic").splitlines()
    assert "| reward AUC | agreement within problems | signal" in header
    assert lines[0].startswith("| 0 | 0.50 | 0.500 | 0.75 |")
    assert lines[1].startswith("| 1 | 0.50 | none | none |")
