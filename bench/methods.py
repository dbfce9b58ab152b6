"""Which way to learn from duals teaches most? One start, one task, as many sampled completions for each.

    python -m bench.methods                              all methods and controls, seeds 0 to 2
    python -m bench.methods --seeds 1 --max_steps 4      a rehearsal, which writes nothing
    python -m bench.methods --write                      publishes the newest result

All runs of a seed start from the same taught weights. Methods that sample have as many steps and completions
as the default run. Methods that read a file have what the taught model gave in as many completions, with the
rewards of duals; `sft` has the right answers of all training problems instead. One run on each core.
"""

import json
import os
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, product
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch

from bench.loss_head.results import table
from bench.result_files import ROOT, between_markers, newest, result_path, signature, write
from dupo.config.command_line import parse
from dupo.methods.online_dpo import OnlineDPO
from dupo.storage.files import read_rows

THEME, PAGE = "methods", ROOT / "docs/howto/own_completions.md"
MARKERS = ("<!-- methods: made by bench.methods -->", "<!-- end of methods -->")
COLUMNS = ("method", "learns from", "before, %", "after, %", "peak, %")
FULL = 0.99  # a reward of 1: everything that was hidden came back
STEPS = ["--learning_rate", "4e-4", "--lr_scheduler_type", "linear", "--adam_beta2", "0.95"]
PAIRS, LABELS, GOLD = "pairs.jsonl", "labels.jsonl", "gold.jsonl"


class Way(NamedTuple):
    """A way to train.

    Attributes:
        what: it learns from.
        file: of data that it reads; None: it samples.
    """

    name: str
    what: str
    options: Sequence[str]
    file: str | None = None


OWN, OF_FIRST = "of own completions", "of completions of the first model"
_DPO = ("--method", "dpo", "--train_batch_size", "128", "--learning_rate", "2e-4")
_KTO = ("--method", "kto", "--train_batch_size", "256", "--learning_rate", "2e-4", "--beta", "1")
# Of the first model one completion in seven is good, and bad ones would outweigh them.
_KTO += ("--undesirable_weight", "0.1")
WAYS = (
    Way("dupo", f"duals {OWN}", ()),
    Way("online_dpo", f"pairs {OWN}, by duals", ("--method", "online_dpo")),
    Way("online_kto", f"labels {OWN}, by duals", ("--method", "online_kto")),
    Way("rft", f"the best {OWN}, by duals", ("--method", "rft")),
    Way("dpo", f"pairs {OF_FIRST}, by duals", (*_DPO, "--beta", "0.5"), PAIRS),
    Way("dpo, with sft", f"pairs {OF_FIRST}, by duals", (*_DPO, "--loss_type", "sigmoid,sft"), PAIRS),
    Way("kto", f"labels {OF_FIRST}, by duals", _KTO, LABELS),
    Way("sft", "right answers: the ceiling", ("--method", "sft", "--train_batch_size", "64"), GOLD),
    *(
        Way(f"{method}, {reward}", what, ("--method", method, "--reward", reward))
        for method in ("online_dpo", "rft")
        for reward, what in (("shuffled", "duals of other problems"), ("random", "coins"))
    ),
)


def make_files(start: Path, seed: int, folder: Path, max_steps: int | None) -> None:
    """Samples as many completions as a run does, from the first model, and writes what duals say of them."""
    words = ["--method", "online_dpo", "--model_name_or_path", str(start), "--seed", str(seed)]
    method = OnlineDPO(parse([*words, "--loss_type", "simpo"]))
    gold = [{"prompt": method.task.prompt(p), "completion": p.gold} for p in method.task.train]
    method.load()
    method.start()
    pairs, labels = list[dict[str, Any]](), list[dict[str, Any]]()
    for step in range(max_steps or method.config.optimizer.max_steps):
        (rollout, _, rewards), _ = method.sample_and_judge(step)
        for problem, group, row in zip(
            rollout.problems, rollout.completions, rewards.total_PG.tolist(), strict=True
        ):
            prompt, worth = method.task.prompt(problem), {c.text: r for c, r in zip(group, row, strict=True)}
            told = [(text, reward) for text, reward in worth.items() if text]
            labels += [{"prompt": prompt, "completion": t, "label": reward > FULL} for t, reward in told]
            pairs += [
                {"prompt": prompt, "chosen": max(two, key=value)[0], "rejected": min(two, key=value)[0]}
                for two in combinations(told, 2)
                if two[0][1] != two[1][1]
            ]
    for name, rows in ((PAIRS, pairs), (LABELS, labels), (GOLD, gold)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def value(told: tuple[str, float]) -> float:
    """The reward of a completion."""
    return told[1]


def perform(way: Way, seed: int, folder: Path, options: Sequence[str]) -> dict[str, Any]:
    """One run in a process of its own; its accuracies are those of greedy answers to held-out problems.

    Raises:
        CalledProcessError: the run failed.
    """
    out = folder / f"{way.name.replace(', ', '-')}-{seed}"
    words = [*way.options, "--seed", str(seed), "--output_dir", str(out), "--num_threads", "1"]
    if way.name != WAYS[0].name:
        words += ["--model_name_or_path", str(taught(seed, folder))]
    if way.file is not None:
        words += ["--dataset", str(folder / f"files-{seed}" / way.file), "--eval_size", "0"]
        # Options of the way come last, and win.
        words = [*STEPS, *words, "--save_steps", "20", "--save_total_limit", "1000", "--max_steps", "150"]
    run(*words, *options)
    rows = read_rows(out / "metrics.jsonl")
    seconds = json.loads((out / "summary.json").read_text(encoding="utf-8"))["seconds"]
    curve = [[step, metrics["accuracy"]] for step, metrics in evaluations(way, out, folder, seed)]
    print(f"{way.name:22} {seed} {100 * curve[0][1]:5.1f} {100 * curve[-1][1]:5.1f}", flush=True)
    tokens = rows[-1].get("num_tokens")
    return {"way": way.name, "seed": seed, "seconds": seconds, "tokens": tokens, "curve": curve}


def evaluations(way: Way, out: Path, folder: Path, seed: int) -> list[tuple[int, dict[str, float]]]:
    """Held-out metrics of a run by its steps; of a run on a file, of its checkpoints."""
    if way.file is None:
        summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
        return [(step, metrics) for step, metrics in summary["evals"]]
    steps = sorted(int(path.name.removeprefix("checkpoint-")) for path in out.glob("checkpoint-*"))
    models = [(0, taught(seed, folder)), *((step, out / f"checkpoint-{step}") for step in steps if step)]
    return [(step, accuracy(model, seed)) for step, model in models]


def accuracy(model: Path, seed: int) -> dict[str, float]:
    """Held-out metrics of a model, as a run of `dupo` measures them."""
    method = OnlineDPO(
        parse(["--method", "online_dpo", "--model_name_or_path", str(model), "--seed", str(seed)])
    )
    method.load()
    return method.evaluate()


def taught(seed: int, folder: Path) -> Path:
    """The model that all runs of a seed start from."""
    return folder / f"{WAYS[0].name}-{seed}" / "checkpoint-0"


def run(*words: str) -> None:
    """`python -m dupo.train`, without what it prints."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'kernels'}"}
    command = [sys.executable, "-m", "dupo.train", *words]
    subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)


def section(path: Path | None) -> str:
    """What stands between the markers of the page."""
    if path is None:
        return "Not measured yet."
    result = json.loads(path.read_text(encoding="utf-8"))
    lines = []
    for way in WAYS:
        runs = [row for row in result["runs"] if row["way"] == way.name]
        ends = [[100 * row["curve"][place][1] for row in runs] for place in (0, -1)]
        peaks = [100 * max(accuracy for _, accuracy in row["curve"]) for row in runs]
        least, most = min(ends[1]), max(ends[1])
        after = f"{fmean(ends[1]):.1f} ({least:.1f} to {most:.1f})"
        lines.append([way.name, way.what, f"{fmean(ends[0]):.1f}", after, f"{fmean(peaks):.1f}"])
    made_by, seeds = result["signature"], len({row["seed"] for row in result["runs"]})
    source = f"Means of {seeds} seeds. Made by `{made_by['command']}` at {made_by['git']}"
    machine = f"{made_by['device']}; torch {made_by['torch']}"
    link = f"[bench/results/{path.name}](../../bench/results/{path.name})"
    return f"{table(COLUMNS, lines)}\n\n{source} ({machine}): {link}."


def publish(page: str, path: Path | None) -> str:
    """The page with the table between the markers."""
    return between_markers(page, MARKERS, section(path))


def main(argv: Sequence[str] | None = None) -> None:
    """Performs all runs, then writes; or publishes."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ... of every way")
    parser.add_argument("--max_steps", type=int, help="a rehearsal: fewer steps, and nothing is written")
    parser.add_argument("--write", action="store_true", help="publish the newest result")
    options = parser.parse_args(argv)
    if options.write:
        PAGE.write_text(publish(PAGE.read_text(encoding="utf-8"), newest(THEME)), encoding="utf-8")
        return
    shorter = ["--max_steps", str(options.max_steps)] if options.max_steps else []
    made_by = signature("python -m bench.methods", "torch", "transformers")
    seeds, runs = range(options.seeds), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(os.cpu_count()) as pool:
        folder = Path(name)
        runs += pool.map(lambda seed: perform(WAYS[0], seed, folder, shorter), seeds)
        torch.set_num_threads(1)
        for seed in seeds:
            files = folder / f"files-{seed}"
            files.mkdir()
            make_files(taught(seed, folder), seed, files, options.max_steps)
        others = product(WAYS[1:], seeds)
        runs += pool.map(lambda job: perform(*job, folder, shorter), others)
    if not shorter:
        write(result_path(THEME, made_by), {"signature": made_by, "runs": runs})


if __name__ == "__main__":
    main()
