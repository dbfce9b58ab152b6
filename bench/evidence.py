"""Does the dual reward teach anything, or would any reward do? The built-in task, all arms, five seeds.

    python bench/evidence.py --quick     what the README shows, about half an hour on two cores
    python bench/evidence.py             the same, and who answers the dual: frozen, live, averaged model

Every seed has one warm-up; all its arms start from those weights. Runs that are there already are not run
again, so the script can be stopped and started. Writes bench/results/evidence_<device>_<date>_<sha>.json,
docs/learning_curve.svg, and the table between the markers of README.md.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from statistics import mean
from typing import Any

from dupo.chart import Series, line_chart
from dupo.config import TASK_DEFAULTS, Config
from dupo.log import git_revision

ROOT = Path(__file__).parents[1]
RATE = TASK_DEFAULTS["arithmetic"]["learning_rate"]
RATES = {"": RATE, " / 3": RATE / 3, " / 10": RATE / 10}
CONTROLS = ("random", "shuffled", "majority")
MARKERS = ("<!-- evidence: made by bench/evidence.py -->", "<!-- end of evidence -->")


@dataclass(frozen=True)
class Run:
    """One training run: an arm, a learning rate, a seed, other options."""

    arm: str
    seed: int
    rate: str = ""
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return "-".join(
            [self.arm.replace(" ", "_"), *filter(None, [self.rate.replace(" / ", "div")]), str(self.seed)]
        )


def grid(quick: bool, seeds: int) -> list[Run]:
    """Everything but the dual arm itself, whose runs come first because they make the warm-ups."""
    runs = [Run("gold", seed) for seed in range(seeds)]
    runs += [Run(arm, seed, rate) for arm in CONTROLS for rate in RATES for seed in range(seeds)]
    if not quick:
        for who in ("policy", "ema"):
            runs += [Run(f"dual by {who}", s, options=("--dual_model", who)) for s in range(seeds)]
    return runs


def train(run: Run, folder: Path) -> None:
    """`python -m dupo.train` in a process of its own, on one thread."""
    out = folder / run.name
    if (out / "summary.json").is_file():
        return
    command = [sys.executable, "-m", "dupo.train", "--seed", str(run.seed), "--output_dir", str(out)]
    command += ["--num_threads", "1", "--overwrite_output_dir", "--learning_rate", repr(RATES[run.rate])]
    command += ["--reward", run.arm.split()[0], *run.options]
    if run.arm != "dual":
        command += ["--model_name_or_path", str(folder / f"dual-{run.seed}" / "checkpoint-0")]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    print(f"{run.name:24} {time.monotonic() - started:5.0f} s", flush=True)


def continue_warm_up(seed: int, folder: Path) -> None:
    """The supervised warm-up, continued for as many seconds as RL took: what the labels would have bought."""
    out = folder / f"supervised-{seed}.json"
    if out.is_file():
        return
    code = f"import runpy, sys; runpy.run_path({str(Path(__file__))!r})['warm_up_curve'](*sys.argv[1:])"
    command = [sys.executable, "-c", code, str(seed), str(folder / f"dual-{seed}"), str(out)]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    print(f"supervised-{seed}", flush=True)


def warm_up_curve(seed: str, dual_run: str, out: str) -> None:
    """Repeats the warm-up of a seed, then goes on, and writes [seconds, held-out accuracy] pairs."""
    import torch

    from dupo import policy
    from dupo.config import parse
    from dupo.evaluate import accuracy
    from dupo.rollout import Sampler
    from dupo.tasks.arithmetic import Arithmetic
    from dupo.tokenizer import load_tokenizer
    from dupo.warmup import WarmUp

    torch.set_num_threads(1)
    config = parse(["--seed", seed])
    tokenizer, task = load_tokenizer(config), Arithmetic(config)
    model = policy.load_model(config, policy.model_config(config, tokenizer), torch.device("cpu"))
    warm = WarmUp(model, tokenizer, config, task)
    warm.run(lambda *_: None, lambda: False)
    timings = [
        json.loads(line)["seconds"] for line in (Path(dual_run) / "timings.jsonl").read_text().splitlines()
    ]
    budget = timings[-1] - timings[0]
    sampler = Sampler(warm.average, tokenizer, config)
    curve, spent, labels = [[0.0, accuracy(sampler, task)["accuracy"]]], 0.0, warm.labels
    while spent < budget:
        started = time.monotonic()
        for _ in range(25):
            warm.step()
        spent += time.monotonic() - started
        curve.append([spent, accuracy(sampler, task)["accuracy"]])
    Path(out).write_text(json.dumps({"budget": budget, "curve": curve, "labels": warm.labels - labels}))


def collect(runs: list[Run], folder: Path) -> list[dict[str, Any]]:
    """Per run: accuracy before, after, at its peak, the curve and what the summary says beside."""
    rows = []
    for run in runs:
        summary = json.loads((folder / run.name / "summary.json").read_text())
        curve = [(step, found["accuracy"]) for step, found in summary["evals"]]
        before = curve[0][1]
        rows.append(
            asdict(run)
            | {
                "before": before,
                "change": curve[-1][1] - before,
                "peak": max(value for _, value in curve) - before,
                "reward_auc": summary["reward_auc"],
                "seconds": summary["seconds"],
                "curve": curve,
                "signature": summary["signature"],
            }
        )
    return rows


def table(rows: list[dict[str, Any]], supervised: list[dict[str, Any]]) -> str:
    """The README's table, in points of held-out accuracy over the seeds."""
    columns = (
        "reward | learning rate | labels | start | peak gain (highest seed) | final change (lowest seed)"
    )
    lines = [f"| {columns} | reward AUC |", "|---" * 7 + "|"]

    def line(
        name: str, rate: float, labels: str, start: list[float], peak: list[float], change: list[float]
    ) -> str:
        peaks, changes = f"{mean(peak):+.1f} ({max(peak):+.1f})", f"{mean(change):+.1f} ({min(change):+.1f})"
        return f"| {name} | {rate:.0e} | {labels} | {mean(start):.1f} | {peaks} | {changes} |"

    for arm, rate in dict.fromkeys((r["arm"], r["rate"]) for r in rows):
        part = [r for r in rows if (r["arm"], r["rate"]) == (arm, rate)]
        points = [[100 * r[key] for r in part] for key in ("before", "peak", "change")]
        name, labels = f"**{arm}**" if arm == "dual" else arm, "all" if arm == "gold" else "none"
        auc = mean(r["reward_auc"] for r in part)
        lines.append(line(name, RATES[rate], labels, *points) + f" {auc:.2f} |")
    curves = [[100 * value for _, value in s["curve"]] for s in supervised]
    start = [c[0] for c in curves]
    peak, change = [max(c) - c[0] for c in curves], [c[-1] - c[0] for c in curves]
    labels = f"{mean(s['labels'] for s in supervised):,.0f} new ones"
    lines.append(line("warm-up continued for the same seconds", 1e-3, labels, start, peak, change) + " |")
    return "\n".join(lines)


def verdict(rows: list[dict[str, Any]]) -> str:
    """The claims of the README, computed, and which controls prove something."""

    def values(arm: str, key: str, rate: str = "") -> list[float]:
        return [100 * r[key] for r in rows if r["arm"] == arm and r["rate"] == rate]

    dual, gold = values("dual", "change"), values("gold", "change")
    share = 100 * mean(dual) / mean(gold)
    collapsed, standing = [], []
    for arm in CONTROLS:
        for rate in RATES:
            fell = mean(values(arm, "change", rate)) < -12
            (collapsed if fell else standing).append(f"{arm} at {RATES[rate]:.0e}")
    best = {arm: max(max(values(arm, "peak", rate)) for rate in RATES) for arm in CONTROLS}
    slowest = max(r["seconds"] for r in rows if r["arm"] == "dual")
    return (
        f"Without a label the dual arm gains {mean(dual):.1f} points in the mean over {len(dual)} seeds "
        f"(lowest {min(dual):.1f}), {share:.0f}% of what gold labels gain in the same loop. The highest that "
        f"any seed stood above its start, at any rate, is {best['random']:+.1f} points for random rewards, "
        f"{best['shuffled']:+.1f} for shuffled, {best['majority']:+.1f} for majority. Controls that fall by "
        f"more than 12 points prove only that a bad reward hurts: {', '.join(collapsed) or 'none'}. Those "
        f"that stay near the start show that the loop by itself teaches nothing: "
        f"{', '.join(standing) or 'none'}. The slowest dual run took {slowest:.0f} s on one thread, warm-up "
        f"included, with another run beside it."
    )


def picture(rows: list[dict[str, Any]], supervised: list[dict[str, Any]]) -> str:
    """Mean held-out accuracy over the steps, with the range of the seeds for the dual arm."""
    series = []
    for arm, rate in dict.fromkeys((r["arm"], r["rate"]) for r in rows):
        if arm in CONTROLS and rate == " / 3":
            continue
        curves = [r["curve"] for r in rows if (r["arm"], r["rate"]) == (arm, rate)]
        steps = [step for step, _ in curves[0]]
        by_step = list(zip(*([value for _, value in c] for c in curves), strict=True))
        band = ([min(v) for v in by_step], [max(v) for v in by_step]) if arm == "dual" else None
        name = arm if arm not in CONTROLS else f"{arm}, lr {RATES[rate]:.0e}"
        series.append(Series(name, steps, [mean(v) for v in by_step], dashed=rate != "", band=band))
    steps = TASK_DEFAULTS["arithmetic"]["max_steps"]
    marks = [steps * i / 10 for i in range(11)]
    each = [[value_at(s["curve"], x / steps * s["budget"]) for x in marks] for s in supervised]
    series.append(
        Series("warm-up continued (labels)", marks, [mean(v) for v in zip(*each, strict=True)], dashed=True)
    )
    return line_chart(
        series,
        title="Held-out accuracy while training (mean of the seeds)",
        x_label="optimizer steps",
        y_label="accuracy",
        y_range=(0.0, 1.0),
    )


def value_at(curve: list[list[float]], seconds: float) -> float:
    """The last value of a curve at or before a time."""
    return next(value for spent, value in reversed(curve) if spent <= seconds + 1e-9)


def publish(rows: list[dict[str, Any]], supervised: list[dict[str, Any]], command: str) -> None:
    sha = git_revision(Path(__file__))
    text = f"{table(rows, supervised)}\n\n{verdict(rows)}"
    name = f"evidence_cpu_{date.today():%Y%m%d}_{sha.replace('+', '-')}.json"
    result = {
        "command": command,
        "git": sha,
        "runs": rows,
        "supervised": supervised,
        "defaults": asdict(Config()),
    }
    for folder in (ROOT / "bench" / "results", ROOT / "docs"):
        folder.mkdir(exist_ok=True)
    (ROOT / "bench" / "results" / name).write_text(json.dumps(result, indent=1) + "\n")
    (ROOT / "docs" / "learning_curve.svg").write_text(picture(rows, supervised))
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text().partition(MARKERS[0])
    _, _, after = rest.partition(MARKERS[1])
    link = f"[bench/results/{name}](bench/results/{name})"
    source = f"Table and picture: `{command}`; every run: {link}."
    readme.write_text(f"{before}{MARKERS[0]}\n{text}\n\n{source}\n{MARKERS[1]}{after}")
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="only what the README shows")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "evidence")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="runs at once, one thread each"
    )
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    duals = [Run("dual", seed) for seed in range(options.seeds)]
    runs = grid(options.quick, options.seeds)
    with ThreadPoolExecutor(options.workers) as pool:
        jobs: list[Callable[[], None]] = [lambda r=r: train(r, options.folder) for r in duals]
        list(pool.map(lambda job: job(), jobs))
        jobs = [lambda s=s: continue_warm_up(s, options.folder) for s in range(options.seeds)]
        jobs += [lambda r=r: train(r, options.folder) for r in runs]
        list(pool.map(lambda job: job(), jobs))
    found = [options.folder / f"supervised-{s}.json" for s in range(options.seeds)]
    supervised = [json.loads(file.read_text()) for file in found]
    publish(
        collect([*duals, *runs], options.folder),
        supervised,
        " ".join(["python bench/evidence.py", *sys.argv[1:]]),
    )


if __name__ == "__main__":
    main()
