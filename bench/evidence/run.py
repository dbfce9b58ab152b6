"""Does the dual reward teach anything, or would any reward do? The built-in tasks, many rewards and seeds.

    python -m bench.evidence.run           core rewards, three seeds, the second task at one learning rate
    python -m bench.evidence.run --full    all rewards and rates, five seeds, who answers the duals, selected
                                           duals, and what as much time with labels would have bought
    python -m bench.evidence.run --votes   the third built-in task, on which votes help: the majority reward
                                           at its best, three seeds

Every seed of a task is taught once. All its runs start from the taught model. A run whose result exists is
not repeated, so the program can be stopped and started. Writes bench/results/evidence_cpu_<date>_<sha>.json
(evidence_votes_... for the third task), docs/evidence.md with its pictures, and the table between the markers
of README.md (`bench.evidence.report`).
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.evidence.grid import (
    TASKS,
    Run,
    grid,
    options_of,
    runs_on_selected_duals,
    teaching_run,
    teaching_runs,
    votes_grid,
)
from bench.evidence.report import THEME, VOTES_THEME, newest_sources, publish
from bench.result_files import ROOT, result_path, signature, write
from dupo.audit import audit
from dupo.config.layers import assemble
from dupo.methods.dupo import DuPO
from dupo.methods.teaching import EMA_DECAY, Teaching
from dupo.models.weights import update_average
from dupo.rerank import rerank
from dupo.select import select
from dupo.storage.files import read_rows
from dupo.storage.names import METRICS, SUMMARY, TIMINGS
from dupo.train import train

PROGRAMS = {"train": train, "rerank": rerank, "select": select, "audit": audit}
STEPS_PER_EVALUATION = 25  # of continued teaching

# Metrics of the last optimizer step that a result file keeps.
LAST_METRICS = (
    "reward",
    "completions/none_rate",
    "completions/refused/copy",
    "dual/reconstruct_rate",
    "eval/copies",
)


@dataclass(frozen=True)
class Schedule:
    """What one call of the program runs.

    Attributes:
        stages: runs that need the results of the stages before.
        continued: (task, seed) of which the teaching is continued.
        folder: holds the folders of all runs.
    """

    stages: list[list[Run]]
    continued: list[tuple[str, int]]
    folder: Path

    @classmethod
    def of(cls, full: bool, seeds: int, folder: Path) -> "Schedule":
        """All runs of a grid of the first two tasks."""
        stages = [teaching_runs(seeds), grid(full, seeds), runs_on_selected_duals(full, seeds)]
        continued = [(task, seed) for seed in range(seeds if full else 0) for task in TASKS]
        return cls(stages, continued, folder)

    @classmethod
    def of_votes(cls, seeds: int, folder: Path) -> "Schedule":
        """All runs of the task on which votes help."""
        return cls(votes_grid(seeds), [], folder)


def result_file(run: Run, folder: Path) -> Path:
    """The last file that a run writes."""
    return folder / run.name / ("audit.json" if run.program == "audit" else SUMMARY)


def continued_file(task: str, seed: int, folder: Path) -> Path:
    """The result of continued teaching."""
    return folder / f"{task}-teaching_continued-{seed}.json"


def perform(run: Run, folder: Path) -> None:
    """Runs a program unless its result exists. What the program prints goes to a file beside its folder."""
    if result_file(run, folder).is_file():
        return
    started = time.monotonic()
    # Runs of several processes would mix their lines on one terminal.
    log = folder / f"{run.name}.txt"
    with log.open("w") as file, contextlib.redirect_stdout(file):
        finished = PROGRAMS[run.program](assemble(options_of(run, folder), run.program))
    # A training run that Ctrl-C stopped returns nothing.
    if not finished:
        raise SystemExit(f"{run.name} was stopped: see {log}")
    seconds = time.monotonic() - started
    (folder / f"{run.name}.seconds").write_text(f"{seconds:.1f}")
    print(f"{run.name:44} {seconds:5.0f} s", flush=True)


def continue_teaching(task: str, seed: int, folder: Path) -> None:
    """Goes on teaching for as many seconds as DuPO trained: what labels would have bought."""
    file = continued_file(task, seed, folder)
    if file.is_file():
        return
    # As in the training run whose time is the budget.
    torch.set_num_threads(1)
    method = DuPO(assemble({"task": task, "seed": seed, "teach": True}))
    method.load()
    teaching = method.make_stage()
    assert isinstance(teaching, Teaching)
    # First the teaching that every run of this seed starts from.
    while not teaching.finished():
        teaching.step()

    def accuracy() -> float:
        teaching.finish()  # the evaluation is that of the moving average
        return method.evaluate()["accuracy"]

    # The first row is that of the first step: loading and teaching do not count.
    timings = read_rows(folder / teaching_run(task, seed).name / TIMINGS)
    budget = timings[-1]["seconds"] - timings[0]["seconds"]
    labels_before, spent = teaching.labels, 0.0
    curve = [(0.0, accuracy())]
    while spent < budget:
        started = time.monotonic()
        # Evaluations are not timed: they measure and teach nothing.
        for _ in range(STEPS_PER_EVALUATION):
            teach(teaching)
        spent += time.monotonic() - started
        curve.append((spent, accuracy()))
    result = {"task": task, "seed": seed, "budget": budget, "curve": curve}
    file.write_text(json.dumps(result | {"labels": teaching.labels - labels_before}))
    print(f"{file.stem:44}", flush=True)


def teach(teaching: Teaching) -> None:
    """One step of teaching without the checks that end teaching: checks would take a third of the time."""
    teaching.sft.update(teaching.sft.next_batch(teaching.steps), teaching.steps)
    update_average(teaching.average, teaching.sft.model, EMA_DECAY)
    teaching.steps += 1


def perform_all(schedule: Schedule, workers: int) -> None:
    """Performs the stages one after the other, the runs of a stage in `workers` processes."""
    # Spawned processes that stay, so that torch and transformers are imported once in each.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        for stage in schedule.stages:
            for job in [pool.submit(perform, run, schedule.folder) for run in stage]:
                job.result()
        # Last, because it needs the timings of the teaching runs and nothing needs its results.
        for job in [pool.submit(continue_teaching, *pair, schedule.folder) for pair in schedule.continued]:
            job.result()


def collect(run: Run, folder: Path) -> dict[str, Any]:
    """What a result file holds of one run; `bench.evidence.records` reads it."""
    # A model is named by its folder: the result file holds no path of this machine.
    summary = json.loads(result_file(run, folder).read_text().replace(f"{folder}/", ""))
    seconds = folder / f"{run.name}.seconds"
    row = {
        "task": run.task,
        "reward": run.label,
        "seed": run.seed,
        "rate": run.rate,
        "options": dict(run.options),
        "program": run.program,
        "name": run.name,
        "seconds": float(seconds.read_text()) if seconds.is_file() else None,
    }
    if run.program != "train":
        return row | {"summary": summary}
    # Metrics of all steps would make the result file many times as long.
    last = read_rows(folder / run.name / METRICS)[-1]
    return row | {
        "reward_auc": summary["reward_auc"],
        "evals": summary["evals"],
        "last": {name: last[name] for name in LAST_METRICS if name in last},
        "teaching_steps": summary.get("teaching_steps"),
        "teaching_labels": summary.get("teaching_labels"),
        "signature": summary["signature"],
    }


def collect_all(schedule: Schedule, command: str) -> dict[str, Any]:
    """The content of a result file: every run whose result exists."""
    # A grid that was cut short is reported as far as it goes.
    runs = [run for stage in schedule.stages for run in stage if result_file(run, schedule.folder).is_file()]
    files = [continued_file(*pair, schedule.folder) for pair in schedule.continued]
    rows = [collect(run, schedule.folder) for run in runs]
    # A report may be written later than its runs: the file names the revision that ran.
    lines = [row["signature"] for row in rows if "signature" in row]
    revisions = {field.removeprefix("git:") for line in lines for field in line.split("|") if "git:" in field}
    revision = revisions.pop() if len(revisions) == 1 else None
    return {
        "signature": signature(command, "torch", "triton", "transformers", revision=revision),
        "runs": rows,
        "teaching_continued": [json.loads(file.read_text()) for file in files if file.is_file()],
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Runs everything and writes the result file and the pages."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--full", action="store_true", help="everything; five seeds unless --seeds says more")
    which.add_argument("--votes", action="store_true", help="the task on which votes help")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "evidence")
    cores = os.cpu_count() or 1
    parser.add_argument("--workers", type=int, default=cores, help="runs at once, one thread each")
    parser.add_argument("--report_only", action="store_true", help="write the report of the runs that exist")
    options = parser.parse_args(argv)
    options.folder.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started
    seeds = options.seeds or (5 if options.full else 3)
    if options.votes:
        schedule, theme = Schedule.of_votes(seeds, options.folder), VOTES_THEME
    else:
        schedule, theme = Schedule.of(options.full, seeds, options.folder), THEME
    if not options.report_only:
        perform_all(schedule, options.workers)
    command = "python -m bench.evidence.run" + " --full" * options.full + " --votes" * options.votes
    command += f" --seeds {options.seeds}" if options.seeds else ""
    content = collect_all(schedule, command)
    write(result_path(theme, content["signature"]), content)
    publish(newest_sources())


if __name__ == "__main__":
    main()
