"""Does the dual reward teach anything, or would any reward do? Both built-in tasks, all arms, several seeds.

    python -m bench.evidence.run          core arms, three seeds, the second task at one learning rate
    python -m bench.evidence.run --full   all arms and rates, five seeds, who answers the duals, selected
                                             duals, and what as much time with labels would have bought

Every seed of a task has one warm-up; all its arms start from those weights. What is there already is not run
again, so the script can be stopped and started. Writes bench/results/evidence_<device>_<date>_<sha>.json,
docs/evidence.md with its pictures, and the table between the markers of README.md (`evidence_report`).
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dupo.config.options import TASK_DEFAULTS

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # run as a script, and in the processes that it starts

TASKS = ("arithmetic", "conlang")
RATE = TASK_DEFAULTS["arithmetic"]["learning_rate"]
RATES = {"": RATE, " / 3": RATE / 3, " / 10": RATE / 10}
CORE_ARMS = ("dual", "gold", "majority", "random", "shuffled", "format_only")
MORE_ARMS = ("soft_vote", "self_certainty", "entropy")
EVAL_STEPS = "15"


@dataclass(frozen=True)
class Run:
    """One run of a program: what it is compared as, and the options that make it what it is.

    Attributes:
        arm: the row of the table; a reward, perhaps with a variation: "dual, policy".
        rate: key of `RATES`.
        options: of the program, beside those that every run of it gets.
    """

    task: str
    arm: str
    seed: int
    rate: str = ""
    options: tuple[str, ...] = ()
    program: str = "train"

    @property
    def name(self) -> str:
        words = (self.task, self.program, self.arm, self.rate.replace(" / ", "div"), str(self.seed))
        return "-".join(word.replace(", ", "_").replace(" ", "_") for word in words if word)


def warm_ups(seeds: int) -> list[Run]:
    """The dual arm at the default rate: its runs come first, because they make the warm-ups of all others."""
    return [Run(task, "dual", seed) for seed in range(seeds) for task in TASKS]


def grid(full: bool, seeds: int) -> list[Run]:
    """Everything that needs only the warm-ups, seed by seed, so that a run cut short has whole seeds."""
    runs = []
    for seed in range(seeds):
        for task in TASKS:
            rates = RATES if full or task == "arithmetic" else ("",)
            pairs = [(arm, rate) for arm in (CORE_ARMS + MORE_ARMS * full) for rate in rates]
            runs += [Run(task, arm, seed, rate) for arm, rate in pairs if (arm, rate) != ("dual", "")]
            runs.append(Run(task, "", seed, "", ("--vote_samples", "32", "--num_problems", "1000"), "rerank"))
            runs.append(Run(task, "", seed, "", ("--num_problems", "500"), "audit"))
        runs.append(Run("conlang", "dual, gates off", seed, "", ("--gates", "off")))
        if full:
            who = [(task, model) for task in TASKS for model in ("policy", "ema")]
            runs += [Run(task, f"dual, {model}", seed, "", ("--dual_model", model)) for task, model in who]
            select = ("--pool_sizes", "8", "--num_problems", "20000")
            runs.append(Run("arithmetic", "", seed, "", select, "select"))
    return runs


def after(full: bool, seeds: int) -> list[Run]:
    """What needs the results of the grid: training on selected duals."""
    return [Run("arithmetic", "dual, selected", seed) for seed in range(seeds * full)]


def options_of(run: Run, folder: Path) -> list[str]:
    """The command line of a run, without the program."""
    command = ["--task", run.task, "--seed", str(run.seed), "--num_threads", "1", *run.options]
    if run.program == "train":
        command += ["--overwrite_output_dir", "--learning_rate", repr(RATES[run.rate])]
        command += ["--eval_steps", EVAL_STEPS, "--save_steps", "1000", "--reward", run.arm.split(",")[0]]
    if run not in warm_ups(run.seed + 1):
        start = folder / Run(run.task, "dual", run.seed).name / "checkpoint-0"
        command += ["--model_name_or_path", str(start)]
    if run.arm == "dual, selected":
        selection = folder / Run("arithmetic", "", run.seed, program="select").name
        command += ["--selected_duals", str(selection)]
    return command


def do(run: Run, folder: Path) -> None:
    """One run, unless its result is there. What it prints goes to a file beside its folder."""
    out = folder / run.name
    if (out / RESULT[run.program]).is_file():
        return
    started = time.monotonic()
    with (folder / f"{run.name}.txt").open("w") as log, contextlib.redirect_stdout(log):
        program = __import__(f"dupo.{run.program}", fromlist=["main"])
        code = program.main([*options_of(run, folder), "--output_dir", str(out)])
    if code:
        raise SystemExit(f"{run.name} failed with exit code {code}: see {folder / run.name}.txt")
    took = time.monotonic() - started
    (folder / f"{run.name}.seconds").write_text(f"{took:.1f}")
    print(f"{run.name:44} {took:5.0f} s", flush=True)


RESULT = {"train": "summary.json", "rerank": "summary.json", "select": "summary.json", "audit": "audit.json"}


def supervised(task: str, seed: int, folder: Path) -> None:
    """The warm-up continued for as many seconds as the dual arm took: what labels would have bought."""
    import torch

    from dupo.config.command_line import parse
    from dupo.engines.builtin import Sampler
    from dupo.evaluation.held_out import accuracy
    from dupo.methods.sft import WarmUp
    from dupo.models import load as policy
    from dupo.tasks import make_task
    from dupo.text.tokenizer import load_tokenizer

    out, dual = folder / f"{task}-supervised-{seed}.json", folder / Run(task, "dual", seed).name
    if out.is_file():
        return
    torch.set_num_threads(1)
    config = parse(["--task", task, "--seed", str(seed)])
    tokenizer, made = load_tokenizer(config), make_task(config)
    model = policy.load_model(config, policy.model_config(config, tokenizer), torch.device("cpu"))
    warm = WarmUp(model, tokenizer, config, made)
    warm.run(lambda *_: None, lambda: False)
    timings = [json.loads(line)["seconds"] for line in (dual / "timings.jsonl").read_text().splitlines()]
    budget = timings[-1] - timings[0]
    sampler = Sampler(warm.average, tokenizer, config)
    curve, spent, labels = [[0.0, accuracy(sampler, made)["accuracy"]]], 0.0, warm.labels
    while spent < budget:
        started = time.monotonic()
        for _ in range(25):
            warm.step()
        spent += time.monotonic() - started
        curve.append([spent, accuracy(sampler, made)["accuracy"]])
    result = {"task": task, "seed": seed, "budget": budget, "curve": curve, "labels": warm.labels - labels}
    out.write_text(json.dumps(result))
    print(f"{out.stem:44}", flush=True)


def collect(run: Run, folder: Path) -> dict[str, Any]:
    """What the report needs of one run."""
    file = folder / run.name / RESULT[run.program]
    summary = json.loads(file.read_text().replace(f"{folder}/", ""))  # no path of this machine
    took = folder / f"{run.name}.seconds"
    seconds = float(took.read_text()) if took.is_file() else None
    row = asdict(run) | {"name": run.name, "took": seconds}
    if run.program != "train":
        return row | {"summary": summary}
    curve = [(step, found["accuracy"]) for step, found in summary["evals"]]
    last = json.loads((folder / run.name / "metrics.jsonl").read_text().splitlines()[-1])
    kept = (
        "reward",
        "completions/none_rate",
        "completions/refused/copy",
        "dual/reconstruct_rate",
        "eval/copies",
    )
    return row | {
        "before": curve[0][1],
        "change": curve[-1][1] - curve[0][1],
        "peak": max(value for _, value in curve) - curve[0][1],
        "reward_auc": summary["reward_auc"],
        "curve": curve,
        "evals": summary["evals"],
        "last": {key: last[key] for key in kept if key in last},
        "signature": summary["signature"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--full", action="store_true", help="all arms; five seeds unless --seeds says otherwise"
    )
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "evidence")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="runs at once, one thread each"
    )
    parser.add_argument(
        "--report_only", action="store_true", help="write the report of the runs that are there"
    )
    options = parser.parse_args()
    seeds = options.seeds or (5 if options.full else 3)
    options.folder.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    first, rest, last = warm_ups(seeds), grid(options.full, seeds), after(options.full, seeds)
    pairs = [(task, seed) for seed in range(seeds * options.full) for task in TASKS]
    if not options.report_only:
        # Processes that stay, so that torch and transformers are imported once in each.
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.workers, mp_context=spawn) as pool:
            for stage in (first, rest, last):
                for job in [pool.submit(do, run, options.folder) for run in stage]:
                    job.result()
            for job in [pool.submit(supervised, *pair, options.folder) for pair in pairs]:
                job.result()
    from bench.evidence.report import publish

    there = [
        run for run in (*first, *rest, *last) if (options.folder / run.name / RESULT[run.program]).is_file()
    ]
    rows = [collect(run, options.folder) for run in there]
    files = [options.folder / f"{task}-supervised-{seed}.json" for task, seed in pairs]
    taught = [json.loads(file.read_text()) for file in files if file.is_file()]
    command = "python -m bench.evidence.run" + " --full" * options.full
    command += f" --seeds {seeds}" if options.seeds else ""
    publish(rows, taught, command)


if __name__ == "__main__":
    main()
