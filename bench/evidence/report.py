"""docs/evidence.md, its pictures and the table of README.md, from a result file. No number is made elsewhere.

python -m bench.evidence.report bench/results/evidence_....json            prints the page
python -m bench.evidence.report bench/results/evidence_....json --write    and publishes
"""

import argparse
import json
from pathlib import Path
from statistics import fmean

from bench.evidence import tables
from bench.evidence.claims import claims
from bench.evidence.grid import RATES, grid, teaching_runs
from bench.evidence.records import Evidence
from bench.result_files import ROOT
from dupo.views.chart import line_chart
from dupo.views.marks import Series

MARKERS = ("<!-- evidence: made by bench.evidence.report -->", "<!-- end of evidence -->")
TITLES = {
    "arithmetic": "Arithmetic (exact answers, each operand hidden in turn)",
    "conlang": "Made-up languages (back-translation, all of the source hidden)",
}


def picture(evidence: Evidence, task: str) -> str:
    """Mean held-out accuracy over the steps, each reward at its best rate. A band shows the seeds of dual."""
    series = []
    for label in evidence.labels(task):
        # The variations lie on the line of the dual, but for the run whose gates are off.
        if label.startswith("dual,") and label != "dual, gates off":
            continue
        rate = tables.best_rate(evidence, task, label)
        curves = [r.curve for r in evidence.training(task, label, rate)]
        # Curves of one label have equal steps; zip raises where a run was cut short.
        by_step = list(zip(*([accuracy for _, accuracy in curve] for curve in curves), strict=True))
        band = ([min(v) for v in by_step], [max(v) for v in by_step]) if label == "dual" else None
        name = label if rate == "" else f"{label}, lr {RATES[rate]:.0e}"
        steps, means = [step for step, _ in curves[0]], [fmean(v) for v in by_step]
        series.append(Series(name, steps, means, dashed=label not in ("dual", "gold"), band=band))
    title = f"{task}: held-out accuracy while training, each reward at its best rate"
    return line_chart(
        series,
        title=title,
        x_label="optimizer steps",
        y_label="accuracy (mean of the seeds)",
        y_range=(0.0, 1.0),
    )


def cost(evidence: Evidence) -> str:
    """How long the short grid takes, from the seeds whose runs were all timed; "" without such a seed."""
    seconds = {r.run.name: r.seconds for r in evidence.results if r.seconds is not None}
    num_seeds = 1 + max(r.run.seed for r in evidence.results)
    short = [*teaching_runs(num_seeds), *grid(False, num_seeds)]
    # A seed counts only if every run of the short grid was timed: a part would look too cheap.
    minutes = dict[int, float]()
    for seed in range(num_seeds):
        names = [run.name for run in short if run.seed == seed]
        if seconds.keys() >= set(names):
            minutes[seed] = sum(seconds[name] for name in names) / 60
    if not minutes:
        return ""
    # Three seeds on two cores take 1.5 times as long as one seed on one core.
    mean, timed = fmean(minutes.values()), ", ".join(map(str, minutes))
    return (
        f"A seed of `python -m bench.evidence.run` takes {mean:.0f} minutes of one core (seeds timed, a run "
        f"on each of two cores: {timed}), so its three seeds take {1.5 * mean:.0f} minutes on two."
    )


def document(evidence: Evidence, file_name: str) -> str:
    """docs/evidence.md; `file_name` is that of the result file."""
    promised = claims(evidence)
    num_holding = sum(claim.holds for claim in promised)
    sections = [
        "# Evidence",
        "<!-- made by bench.evidence.report; do not edit -->",
        f"Made by `{evidence.command}` at {evidence.git}, on two CPU cores; every run, with its curve and "
        f"signature: [bench/results/{file_name}](../bench/results/{file_name}). Changes are points of "
        "held-out accuracy (greedy) from the start of the same seed, mean over seeds with the 95 % interval "
        "of that mean (Student's t; few seeds, so it is wide). All runs of a seed start from one model that "
        "was taught with labels; after teaching no label is read but by `gold`. Each reward is shown at the "
        "default learning rate, a third and a tenth of it; its best is bold.",
        cost(evidence),
        f"## What was promised: {num_holding} of {len(promised)} hold",
        "\n".join(f"- {'holds' if c.holds else '**does not hold**'}: {c.text}" for c in promised),
    ]
    for task in TITLES:
        sections += task_sections(evidence, task)
    if selections := evidence.selections():
        shares = ", ".join(f"{s.num_kept:,} of {s.num_duals:,}" for s in selections)
        sections.append(f"Selected duals (`python -m dupo.select --pool_sizes 8`), by seed: {shares} kept.")
    return "\n\n".join(section for section in sections if section) + "\n"


def task_sections(evidence: Evidence, task: str) -> list[str]:
    """The sections of one task."""
    sections = [f"## {TITLES[task]}", f"![curves](evidence_{task}.svg)", tables.gains(evidence, task)]
    if table := tables.variations(evidence, task):
        sections += [
            "### Variations of the dual reward",
            "`policy`, `ema`: the live or the average model answers the duals, not the frozen one; "
            "`selected`: training on the duals that `python -m dupo.select --pool_sizes 8` kept, not on "
            "all; `gates off`: every translation is an answer. Compared seed by seed.",
            table,
        ]
    if task == "conlang" and (table := tables.copy_exploit(evidence)):
        sections += ["### The copy exploit, with gates off and on", table]
    if table := tables.answers_without_training(evidence, task):
        sections += [
            "### Answers without training",
            "`python -m dupo.rerank --num_generations 8 --vote_samples 32`, the taught models, 1,000 "
            "problems, duals answered greedily. Tokens: all that were generated, for the duals too.",
            table,
        ]
    if table := tables.audits(evidence, task):
        sections += ["### What the audit says before training", table]
    return sections


def publish(evidence: Evidence, file_name: str, root: Path = ROOT) -> None:
    """Writes docs/evidence.md, its pictures, and the section of README.md; prints the claims."""
    for task in TITLES:
        if evidence.labels(task):
            (root / "docs" / f"evidence_{task}.svg").write_text(picture(evidence, task), encoding="utf-8")
    (root / "docs" / "evidence.md").write_text(document(evidence, file_name), encoding="utf-8")
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    # Everything outside of the markers is written by hand and stays.
    before, after = text.split(MARKERS[0])[0], text.split(MARKERS[1])[1]
    source = (
        f"Made by `{evidence.command}` at {evidence.git}; all rewards, rates, seeds and intervals: "
        "[docs/evidence.md](docs/evidence.md)."
    )
    section = f"{MARKERS[0]}\n{tables.short_table(evidence)}\n\n{source}\n{MARKERS[1]}"
    readme.write_text(before + section + after, encoding="utf-8")
    for claim in claims(evidence):
        print("holds " if claim.holds else "BROKEN", claim.text)


def main() -> None:
    """Prints the page; `--write` publishes it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--write", action="store_true", help="write docs/evidence.* and README.md")
    options = parser.parse_args()
    evidence = Evidence.from_json(json.loads(options.file.read_text(encoding="utf-8")))
    print(document(evidence, options.file.name), end="")
    if options.write:
        publish(evidence, options.file.name)


if __name__ == "__main__":
    main()
