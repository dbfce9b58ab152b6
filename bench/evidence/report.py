"""Tables, claims and pictures from the runs of `evidence.py`: docs/evidence.md and the README's table.

Changes are points of held-out accuracy from the start of the same seed. Intervals are 95 % intervals of the
mean over seeds (Student's t); those of the reranker are bootstrap intervals over problems, of each seed.
"""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from bench.evidence.run import RATES, grid, warm_ups
from dupo.storage.signature import git_revision
from dupo.trust.answer_choice import EQUAL_COST
from dupo.views.chart import line_chart
from dupo.views.marks import Series

ROOT = Path(__file__).parents[2]
CONTROLS = ("random", "shuffled", "format_only")
MARKERS = ("<!-- evidence: made by bench.evidence.report -->", "<!-- end of evidence -->")
T_975 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}  # by seeds
TITLES = {
    "arithmetic": "Arithmetic (exact answers, each operand hidden in turn)",
    "conlang": "Made-up languages (back-translation, all of the source hidden)",
}
Row = dict[str, Any]


def mean_interval(values: Sequence[float]) -> str:
    """`+36.3 [30.1, 42.5]`, in points; one value alone has no interval."""
    points = [100 * value for value in values]
    if len(points) < 2:
        return f"{fmean(points):+.1f}"
    half = T_975[len(points)] * stdev(points) / len(points) ** 0.5
    return f"{fmean(points):+.1f} [{fmean(points) - half:+.1f}, {fmean(points) + half:+.1f}]"


def of(rows: Sequence[Row], task: str, arm: str, rate: str | None = None) -> list[Row]:
    """Training runs of an arm, at one rate or at all."""
    return [r for r in rows if (r["task"], r["arm"]) == (task, arm) and rate in (None, r["rate"])]


def best_rate(rows: Sequence[Row], task: str, arm: str) -> str:
    """The rate at which the arm ends highest, in the mean."""
    return max(
        (rate for rate in RATES if of(rows, task, arm, rate)),
        key=lambda rate: fmean(r["change"] for r in of(rows, task, arm, rate)),
    )


def arms(rows: Sequence[Row], task: str) -> list[str]:
    return list(dict.fromkeys(r["arm"] for r in rows if r["task"] == task and r["program"] == "train"))


def gains_table(rows: Sequence[Row], taught: Sequence[Row], task: str) -> str:
    """Every arm at every rate; the best rate of each in bold."""
    lines = [
        "| reward | learning rate | labels | seeds | final change | peak change | reward AUC |",
        "|---" * 7 + "|",
    ]
    for arm in arms(rows, task):
        best = best_rate(rows, task, arm)
        for rate in RATES:
            part = of(rows, task, arm, rate)
            if not part:
                continue
            change, peak = (mean_interval([r[key] for r in part]) for key in ("change", "peak"))
            auc = [r["reward_auc"] for r in part if r["reward_auc"] is not None]
            cells = [arm, f"{RATES[rate]:.0e}", "all" if arm == "gold" else "none", str(len(part))]
            cells += [f"**{change}**" if rate == best else change, peak, f"{fmean(auc):.3f}" if auc else ""]
            lines.append(f"| {' | '.join(cells)} |")
    if part := [t for t in taught if t["task"] == task]:
        curves = [[value for _, value in t["curve"]] for t in part]
        change = mean_interval([c[-1] - c[0] for c in curves])
        peak = mean_interval([max(c) - c[0] for c in curves])
        labels = f"{fmean(t['labels'] for t in part):,.0f} new ones"
        name = "warm-up continued for as long"
        lines.append(f"| {name} | 1e-03 | {labels} | {len(part)} | {change} | {peak} | |")
    return "\n".join(lines)


def variations(rows: Sequence[Row], task: str) -> str:
    """Other ways to do the dual arm, less the dual arm of the same seed, at the default rate."""
    dual = {r["seed"]: r["change"] for r in of(rows, task, "dual", "")}
    lines = ["| variation | seeds | final change, less that of `dual` |", "|---" * 3 + "|"]
    for arm in arms(rows, task):
        pairs = [r["change"] - dual[r["seed"]] for r in of(rows, task, arm, "") if r["seed"] in dual]
        if arm.startswith("dual, ") and pairs:
            lines.append(f"| {arm.removeprefix('dual, ')} | {len(pairs)} | {mean_interval(pairs)} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def rerank_table(rows: Sequence[Row], task: str) -> str:
    """Ways to answer without training, a column per seed."""
    part = [r for r in rows if r["task"] == task and r["program"] == "rerank"]
    if not part:
        return ""
    seeds = " | ".join(f"seed {r['seed']}" for r in part)
    lines = [f"| method | tokens a problem | {seeds} |"]
    lines.append("|---" * (2 + len(part)) + "|")
    for k, method in enumerate(part[0]["summary"]["methods"]):
        each = [r["summary"]["methods"][k] for r in part]
        cells = [f"{100 * m['score']:.1f} [{100 * m['low']:.1f}, {100 * m['high']:.1f}]" for m in each]
        tokens = f"{fmean(m['tokens_per_problem'] for m in each):,.1f}"
        lines.append(f"| {method['method']} | {tokens} | {' | '.join(cells)} |")
    for name in part[0]["summary"]["dual_minus"]:
        if name.startswith("majority"):
            gains = [r["summary"]["dual_minus"][name] for r in part]
            cells = [
                f"**{100 * g['mean']:+.1f}** [{100 * g['low']:+.1f}, {100 * g['high']:+.1f}]" for g in gains
            ]
            lines.append(f"| dual rerank minus {name} | | {' | '.join(cells)} |")
    return "\n".join(lines)


def audit_table(rows: Sequence[Row], task: str) -> str:
    """What the audit says of each warmed-up model."""
    part = [r for r in rows if r["task"] == task and r["program"] == "audit"]
    names = ("seed", "accuracy", "reward AUC", "agreement within problems", "signal, of gold's")
    names += ("dual on right / wrong answers", "leaks: no answer / decoy", "verdict")
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for r in part:
        f = r["summary"]["figures"]
        leaks = f"{f['leak/no_answer']:.1%} / {f['leak/decoy']:.1%}"
        cells = [
            str(r["seed"]),
            f"{f['accuracy']:.2f}",
            f"{f['reward_auc']:.3f}",
            f"{f['agreement']['mean']:.2f}",
        ]
        cells += [f"{f['signal']:.0%}", f"{f['dual_on_gold']:.2f} / {f['dual_on_wrong']:.2f}", leaks]
        lines.append(f"| {' | '.join([*cells, r['summary']['verdict']])} |")
    return "\n".join(lines) if part else ""


def paired(rows: Sequence[Row], task: str, arm: str, rate: str) -> tuple[float, float]:
    """Mean changes of an arm, and of gold at its best rate, over the seeds that both have."""
    both = ((arm, rate), ("gold", best_rate(rows, task, "gold")))
    one, other = ({r["seed"]: r["change"] for r in of(rows, task, *which)} for which in both)
    seeds = sorted(one.keys() & other.keys())
    return fmean(one[s] for s in seeds), fmean(other[s] for s in seeds)


def claims(rows: Sequence[Row]) -> list[tuple[str, bool]]:
    """What was promised of these runs, and whether it is so."""
    made = []
    for task in TITLES:
        if not of(rows, task, "dual", "") or not of(rows, task, "gold", ""):
            continue
        gain, gold = paired(rows, task, "dual", best_rate(rows, task, "dual"))
        text = f"{task}: dual {100 * gain:+.1f} points, {gain / gold:.0%} of gold's {100 * gold:+.1f}"
        made.append((f"{text} (each at its best rate; at least 85%)", gain >= 0.85 * gold))
        for arm in CONTROLS:
            for rate in RATES:
                if of(rows, task, arm, rate):
                    gain, gold = paired(rows, task, arm, rate)
                    text = f"{task}: {arm} at {RATES[rate]:.0e} {100 * gain:+.1f} points"
                    made.append((f"{text} (at most {10 * gold:+.1f}, a tenth of gold's)", gain <= 0.1 * gold))
        for r in rows:
            if r["program"] == "rerank" and r["task"] == task:
                gain = r["summary"]["dual_minus"][EQUAL_COST]["mean"]
                tokens = {m["key"]: m["tokens"] for m in r["summary"]["methods"]}
                text = f"{task}, seed {r['seed']}: dual rerank of 8 minus majority with no fewer tokens"
                fair = tokens["equal_cost"] >= tokens["dual"]
                made.append((f"{text}: {100 * gain:+.1f} points (at least 15)", fair and gain >= 0.15))
    return made


def exploit(rows: Sequence[Row]) -> str:
    """Copies of the source with gates off and on."""
    lines = [
        "| gates | seed | accuracy before -> after | copies before -> after | reward at the end |",
        "|---" * 5 + "|",
    ]
    for arm, name in (("dual, gates off", "off"), ("dual", "on")):
        for r in of(rows, "conlang", arm, ""):
            first, last = r["evals"][0][1], r["evals"][-1][1]
            accuracy, copies = (
                f"{100 * first[k]:.1f} -> {100 * last[k]:.1f}" for k in ("accuracy", "copies")
            )
            lines.append(f"| {name} | {r['seed']} | {accuracy} | {copies} | {r['last']['reward']:.2f} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def picture(rows: Sequence[Row], task: str) -> str:
    """Mean held-out accuracy over the steps, each arm at its best rate; the range of seeds for the dual."""
    series = []
    for arm in arms(rows, task):
        if arm.startswith("dual,") and arm != "dual, gates off":
            continue
        rate = best_rate(rows, task, arm)
        curves = [r["curve"] for r in of(rows, task, arm, rate)]
        by_step = list(zip(*([value for _, value in c] for c in curves), strict=True))
        band = ([min(v) for v in by_step], [max(v) for v in by_step]) if arm == "dual" else None
        name = arm if rate == "" else f"{arm}, lr {RATES[rate]:.0e}"
        steps, means = [step for step, _ in curves[0]], [fmean(v) for v in by_step]
        series.append(Series(name, steps, means, dashed=arm not in ("dual", "gold"), band=band))
    title = f"{task}: held-out accuracy while training, each reward at its best rate"
    names = {"x_label": "optimizer steps", "y_label": "accuracy (mean of the seeds)"}
    return line_chart(series, title=title, y_range=(0.0, 1.0), **names)


def cost(rows: Sequence[Row]) -> str:
    """How long the default command takes, from the seeds whose runs were all timed; empty without any."""
    took = {r["name"]: r["took"] for r in rows if r.get("took") is not None}
    seeds = 1 + max(r["seed"] for r in rows)
    default = [*warm_ups(seeds), *grid(False, seeds)]
    minutes = dict[int, float]()
    for seed in range(seeds):
        names = [run.name for run in default if run.seed == seed]
        if took.keys() >= set(names):
            minutes[seed] = sum(took[name] for name in names) / 60
    if not minutes:
        return ""
    mean, timed = fmean(minutes.values()), ", ".join(map(str, minutes))
    return (
        f"A seed of `python -m bench.evidence.run` takes {mean:.0f} minutes of one core (seeds timed, a run on "
        f"each of two cores: {timed}), so its three seeds take {1.5 * mean:.0f} minutes on two."
    )


def document(rows: Sequence[Row], taught: Sequence[Row], command: str, name: str) -> str:
    """docs/evidence.md."""
    said = claims(rows)
    kept = sum(ok for _, ok in said)
    parts = [
        "# Evidence",
        "<!-- made by bench.evidence.report; do not edit -->",
        f"Made by `{command}` on two CPU cores; every run, with its curve and signature: "
        f"[bench/results/{name}](../bench/results/{name}). Changes are points of held-out accuracy "
        "(greedy) from the start of the same seed, mean over seeds with the 95 % interval of that mean "
        "(Student's t; few seeds, so it is wide). All arms of a seed start from one supervised warm-up; "
        "after it no label is read but by `gold`. Each reward is shown at the default learning rate, a "
        "third and a tenth of it; its best is bold.",
        cost(rows),
        f"## What was promised: {kept} of {len(said)} hold",
        "\n".join(f"- {'holds' if ok else '**does not hold**'}: {text}" for text, ok in said),
    ]
    for task, title in TITLES.items():
        parts += [f"## {title}", f"![curves](evidence_{task}.svg)", gains_table(rows, taught, task)]
        if table := variations(rows, task):
            parts += [
                "### Variations of the dual arm",
                "`policy`, `ema`: the live or the average model answers the duals, not the frozen one; "
                "`selected`: training on the duals that `python -m dupo.select --pool_sizes 8` kept, not on "
                "all; `gates off`: every translation is an answer. Compared seed by seed.",
                table,
            ]
        if task == "conlang" and (table := exploit(rows)):
            parts += ["### The copy exploit, with gates off and on", table]
        if table := rerank_table(rows, task):
            parts += [
                "### Answers without training",
                "`python -m dupo.rerank --num_generations 8 --vote_samples 32`, the warmed-up models, 1,000 "
                "problems, duals answered greedily. Tokens: all that were generated, for the duals too.",
                table,
            ]
        if table := audit_table(rows, task):
            parts += ["### What the audit says before training", table]
    selections = [r["summary"] for r in rows if r["program"] == "select"]
    if selections:
        kept_duals = ", ".join(f"{s['kept_duals']:,} of {s['passes'][0]['duals']:,}" for s in selections)
        parts.append(f"Selected duals (`python -m dupo.select --pool_sizes 8`), by seed: {kept_duals} kept.")
    return "\n\n".join(part for part in parts if part) + "\n"


def short_table(rows: Sequence[Row]) -> str:
    """The README's table: each reward at its best rate, both tasks beside each other."""
    lines = [
        "| reward | labels | arithmetic, final change | made-up languages, final change |",
        "|---" * 4 + "|",
    ]
    for arm in arms(rows, "arithmetic"):
        cells = []
        for task in TITLES:
            rate = best_rate(rows, task, arm) if of(rows, task, arm) else None
            part = of(rows, task, arm, rate) if rate is not None else []
            cells.append(f"{mean_interval([r['change'] for r in part])} at {RATES[rate]:.0e}" if part else "")
        name, labels = (f"**{arm}**" if arm == "dual" else arm), "all" if arm == "gold" else "none"
        lines.append(f"| {name} | {labels} | {' | '.join(cells)} |")
    return "\n".join(lines)


def publish(rows: list[Row], taught: list[Row], command: str) -> None:
    """Writes the result file, docs/evidence.md, its pictures, and what is between README's markers."""
    sha = git_revision(Path(__file__))
    name = f"evidence_cpu_{date.today():%Y%m%d}_{sha.replace('+', '-')}.json"
    result = {"command": command, "git": sha, "runs": rows, "supervised": taught}
    (ROOT / "bench" / "results" / name).write_text(json.dumps(result, indent=1) + "\n")
    for task in TITLES:
        if arms(rows, task):
            (ROOT / "docs" / f"evidence_{task}.svg").write_text(picture(rows, task))
    (ROOT / "docs" / "evidence.md").write_text(document(rows, taught, command, name))
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text().partition(MARKERS[0])
    _, _, after = rest.partition(MARKERS[1])
    source = (
        f"Made by `{command}`; all arms, rates, seeds and intervals: [docs/evidence.md](docs/evidence.md)."
    )
    readme.write_text(f"{before}{MARKERS[0]}\n{short_table(rows)}\n\n{source}\n{MARKERS[1]}{after}")
    for text, ok in claims(rows):
        print("holds " if ok else "BROKEN", text)
