"""What the default run (`python -m dupo.train`) teaches, and what other rewards give in the same loop.

    python -m bench.default_rewards                            dual, gold and random, seeds 0 to 4
    python -m bench.default_rewards --seeds 1 --max_steps 2    a rehearsal, which writes nothing

All rewards of a seed start from the same taught weights. One run on each core. Writes
bench/results/default_rewards_cpu_<date>_<sha>.json, and dupo/views/references.json, which stands beside every
default run: the ceiling (all labels) and the floor (a coin).
"""

import json
import os
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.result_files import ROOT, result_path, signature, write
from dupo.storage.files import write_atomic
from dupo.views.references import REFERENCES

THEME, TASK = "default_rewards", "arithmetic"
FIRST, OTHERS = "dual", ("gold", "random")  # the first one leaves the taught weights of its seed


def perform(reward: str, seed: int, folder: Path, options: Sequence[str]) -> dict[str, Any]:
    """One run in a process of its own: its reward, seed, seconds and curve of held-out accuracy.

    Raises:
        CalledProcessError: the run failed.
    """
    name, start = f"{reward}-{seed}", []
    if reward != FIRST:
        start = ["--model_name_or_path", str(folder / f"{FIRST}-{seed}" / "checkpoint-0")]
    command = [sys.executable, "-m", "dupo.train", "--reward", reward, "--seed", str(seed), *start]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'kernels'}"}
    subprocess.run(
        [*command, "--output_dir", str(folder / name), *options],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    summary = json.loads((folder / name / "summary.json").read_text(encoding="utf-8"))
    curve = [[step, metrics["accuracy"]] for step, metrics in summary["evals"]]
    print(f"{name:10} {100 * (curve[-1][1] - curve[0][1]):+6.1f} points", flush=True)
    return {"reward": reward, "seed": seed, "seconds": summary["seconds"], "curve": curve}


def reference_rows(runs: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """What references.json holds, from the runs of a result file: the mean curve of each other reward."""
    rows = []
    for reward in OTHERS:
        curves = [run["curve"] for run in runs if run["reward"] == reward]
        # Curves of one reward have equal steps; zip raises where a run was cut short.
        points = list(zip(*curves, strict=True))
        rows.append(
            {
                "reward": reward,
                "seeds": len(curves),
                "steps": [point[0][0] for point in points],
                "accuracies": [round(fmean(accuracy for _, accuracy in point), 4) for point in points],
            }
        )
    return {TASK: rows}


def main() -> None:
    """Performs all runs, then writes."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0, 1, ... of every reward")
    parser.add_argument("--max_steps", help="a rehearsal: fewer steps, and nothing is written")
    options = parser.parse_args()
    shorter = ["--max_steps", options.max_steps] if options.max_steps else []
    made_by = signature("python -m bench.default_rewards", "torch", "transformers")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = list[dict[str, Any]]()
        for rewards in ((FIRST,), OTHERS):
            jobs = [
                pool.submit(perform, reward, seed, Path(folder), shorter)
                for reward, seed in product(rewards, range(options.seeds))
            ]
            runs += [job.result() for job in jobs]
    changes = {
        reward: [run["curve"][-1][1] - run["curve"][0][1] for run in runs if run["reward"] == reward]
        for reward in (FIRST, *OTHERS)
    }
    for reward, values in changes.items():
        print(f"{reward}: {100 * fmean(values):+.1f} points, mean of {len(values)} seeds")
    if shorter:
        return
    path = result_path(THEME, made_by)
    write(path, {"signature": made_by, "runs": runs})
    rows = json.dumps(reference_rows(runs), indent=1) + "\n"
    write_atomic(REFERENCES, rows.encode())
    print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
