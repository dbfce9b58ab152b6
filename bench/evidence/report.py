"""docs/evidence.md, its pictures and the table of README.md, from result files.

No number is made elsewhere.

python -m bench.evidence.report            prints the page that the newest result files make
python -m bench.evidence.report --write    and publishes
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from bench.evidence import tables
from bench.evidence.claims import claims
from bench.evidence.grid import (
    EVAL_ROLLOUTS,
    KL,
    RATES,
    ROLLOUT,
    TTRL,
    TTRL_STEPS,
    VOTES_TASK,
    grid,
    teaching_runs,
    votes_grid,
)
from bench.evidence.picture import Curve, draw
from bench.evidence.records import Evidence
from bench.result_files import RESULTS, ROOT
from dupo.config.catalogue import TASKS as CATALOGUE

MARKERS = ("<!-- evidence: made by bench.evidence.report -->", "<!-- end of evidence -->")
TITLES = {
    "arithmetic": "Arithmetic (exact answers, each operand hidden in turn)",
    "conlang": "Made-up languages (back-translation, all of the source hidden)",
    "stories": "Word problems in English (each number of the text hidden in turn)",
}
GROUP: int = CATALOGUE[VOTES_TASK].defaults["dupo"]["num_generations"]
# Themes of the result files: the first two tasks, and the task on which votes help.
THEME, VOTES_THEME = "evidence", "evidence_votes"
VOTES_TEXT = (
    "The task is built so that votes help (`dupo/tasks/stories.py`): a greedy answer often comes at once and "
    "is wrong, sampled steps agree where they are right. Every run samples the same number of completions. "
    f"`majority`: the most common of {GROUP} answers. `majority, TTRL`: the settings of its authors (arXiv "
    "2504.16084): 64 votes, of which the first 32 are trained on, 8 problems and "
    f"{TTRL_STEPS} optimizer steps a rollout, a KL term of {TTRL['beta']}, a cosine schedule; the learning "
    f"rate is ours. `majority, KL`: `majority` with a KL term of {KL['beta']}. `dual, selected`: the filter "
    "of duals is on; `dual`: off, so that a third of the duals hides a number that does not enter."
)


class Source(NamedTuple):
    """A result file: what it holds, and its name."""

    evidence: Evidence
    file_name: str


def newest_sources(folder: Path = RESULTS) -> list[Source]:
    """The newest result file of each theme, where there is one."""
    sources = []
    for theme in (THEME, VOTES_THEME):
        # The date stands in the name, so the newest file sorts last.
        files = sorted(file for file in folder.glob(f"{theme}_[!v]*.json"))
        sources += [
            Source(Evidence.from_json(json.loads(file.read_text(encoding="utf-8"))), file.name)
            for file in files[-1:]
        ]
    return sources


def picture(evidence: Evidence, task: str) -> str:
    """Mean held-out accuracy by rollouts, each reward at its best rate; bands: all seeds of dual, gold."""
    curves = []
    for label in evidence.labels(task):
        # The variations lie on the line of the dual, but for the run whose gates are off.
        if label.startswith("dual,") and label != "dual, gates off":
            continue
        rate = tables.best_rate(evidence, task, label)
        runs = [r.curve for r in evidence.training(task, label, rate)]
        # Curves of one label have equal steps; zip raises where a run was cut short.
        by_step = list(zip(*([accuracy for _, accuracy in curve] for curve in runs), strict=True))
        has_band = label in ("dual", "gold")
        band = ([min(v) for v in by_step], [max(v) for v in by_step]) if has_band else None
        name = label if rate == "" else f"{label}, lr {RATES[rate]:.0e}"
        # Some runs take several optimizer steps a rollout, so curves are compared by their rollouts.
        steps, means = [step for step, _ in runs[0]], [fmean(v) for v in by_step]
        rollouts = [step * 10 * EVAL_ROLLOUTS[task] / steps[-1] for step in steps]
        curves.append(Curve(name, rollouts, means, band))
    title = f"{task}: held-out accuracy while training, each reward at its best rate"
    return draw(
        curves, title=title, x_label="rollouts", y_label="accuracy, mean of the seeds; bands: all seeds"
    )


def cost(evidence: Evidence) -> str:
    """How long the short grid takes, from the seeds whose runs were all timed; "" without such a seed."""
    seconds = {r.run.name: r.seconds for r in evidence.results if r.seconds is not None}
    num_seeds = 1 + max(r.run.seed for r in evidence.results)
    command, short = "python -m bench.evidence.run", [*teaching_runs(num_seeds), *grid(False, num_seeds)]
    if evidence.labels(VOTES_TASK):
        command, short = f"{command} --votes", [run for stage in votes_grid(num_seeds) for run in stage]
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
        f"A seed of `{command}` takes {mean:.0f} minutes of one core (seeds timed, a run "
        f"on each of two cores: {timed}), so its three seeds take {1.5 * mean:.0f} minutes on two."
    )


def document(sources: Sequence[Source]) -> str:
    """docs/evidence.md."""
    promised = [claim for source in sources for claim in claims(source.evidence)]
    num_holding = sum(claim.holds for claim in promised)
    three_rates = "learning rates " + ", ".join(f"{rate:.0e}" for rate in RATES.values())
    sections = [
        "# Evidence",
        "<!-- made by bench.evidence.report; do not edit -->",
        "\n".join(f"- {made_by(source)}" for source in sources),
        "Made on two CPU cores. The files hold every run with its curve and signature. Changes are points of "
        "held-out accuracy (greedy) from the start of the same seed, mean over seeds with the 95 % interval "
        "of that mean (Student's t; few seeds, so it is wide). All runs of a seed start from one model that "
        "was taught with labels; after teaching no label is read but by `gold`. Rewards are shown at "
        f"{three_rates}; the best rate of a reward is bold. A rollout has {ROLLOUT} completions.",
        *(cost(source.evidence) for source in sources),
        f"## What was promised: {num_holding} of {len(promised)} hold",
        "\n".join(f"- {'holds' if c.holds else '**does not hold**'}: {c.text}" for c in promised),
    ]
    for source in sources:
        for task in filter(source.evidence.labels, TITLES):
            sections += task_sections(source.evidence, task)
        if selections := source.evidence.selections():
            shares = ", ".join(f"{s.num_kept:,} of {s.num_duals:,}" for s in selections)
            sections.append(
                f"Selected duals (`python -m dupo.select --pool_sizes 8`), by seed: {shares} kept."
            )
    return "\n\n".join(section for section in sections if section) + "\n"


def made_by(source: Source) -> str:
    """Tasks, command and revision of a result file, with a link to the file."""
    evidence, file_name = source
    tasks = " and ".join(filter(evidence.labels, TITLES))
    link = f"[bench/results/{file_name}](../bench/results/{file_name})"
    return f"{tasks}: `{evidence.command}` at {evidence.git}, {link}"


def task_sections(evidence: Evidence, task: str) -> list[str]:
    """The sections of one task."""
    sections = [f"## {TITLES[task]}", f"![curves](evidence_{task}.svg)"]
    if task == VOTES_TASK:
        sections.append(VOTES_TEXT)
    sections.append(tables.gains(evidence, task))
    if task == VOTES_TASK and (table := tables.dual_minus_rivals(evidence, task)):
        sections += ["### Dual less its rivals", "Each rival at its best rate. Compared seed by seed.", table]
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


def publish(sources: Sequence[Source], root: Path = ROOT) -> None:
    """Writes docs/evidence.md, its pictures, and the section of README.md; prints the claims."""
    for evidence, _ in sources:
        for task in filter(evidence.labels, TITLES):
            (root / "docs" / f"evidence_{task}.svg").write_text(picture(evidence, task), encoding="utf-8")
    (root / "docs" / "evidence.md").write_text(document(sources), encoding="utf-8")
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    # Everything outside of the markers is written by hand and stays.
    before, after = text.split(MARKERS[0])[0], text.split(MARKERS[1])[1]
    commands = " and ".join(f"`{evidence.command}` at {evidence.git}" for evidence, _ in sources)
    source = (
        f"Made by {commands}; all rewards, rates, seeds and intervals: [docs/evidence.md](docs/evidence.md)."
    )
    table = tables.short_table([evidence for evidence, _ in sources])
    section = f"{MARKERS[0]}\n{table}\n\n{source}\n{MARKERS[1]}"
    readme.write_text(before + section + after, encoding="utf-8")
    for evidence, _ in sources:
        for claim in claims(evidence):
            print("holds " if claim.holds else "BROKEN", claim.text)


def main() -> None:
    """Prints the page; `--write` publishes it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write docs/evidence.* and README.md")
    options = parser.parse_args()
    sources = newest_sources()
    print(document(sources), end="")
    if options.write:
        publish(sources)


if __name__ == "__main__":
    main()
