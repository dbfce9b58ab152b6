"""The default run (`python -m dupo.train`) of two checkouts: time, memory and accuracy side by side.

    python -m bench.default_run OLD NEW                     three runs of each checkout, alternately
    python -m bench.default_run OLD NEW --max_steps 2       a rehearsal

OLD and NEW are folders with the source of dupo, the C++ extension built in each. Writes
bench/results/default_run_cpu_<date>_<sha of NEW>.json.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.peak_memory import peak_bytes
from bench.result_files import RESULTS, result_path, signature, write
from dupo.storage.signature import git_revision

COMPARED = ("wall_seconds", "cpu_seconds", "peak_bytes")


@dataclass(frozen=True)
class Measured:
    """One run: seconds of the clock, seconds of user CPU time, resident bytes at the peak, final accuracy."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    accuracy: float


def measure(checkout: Path, options: list[str]) -> Measured:
    """Runs the checkout in a process of its own; `options` go to dupo.train.

    Raises:
        SystemExit: the run failed.
    """
    # A path that an environment brings would stand in front of the checkout.
    environment = os.environ | {"PYTHONPATH": f"{checkout}{os.pathsep}{checkout / 'kernels'}"}
    # A fresh folder: a run that exists already would be refused.
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "dupo.train", "--output_dir", f"{folder}/run", *options]
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=checkout, env=environment, stdout=subprocess.DEVNULL)
        # wait4 tells what this child used; getrusage would tell the largest of all children so far. Linux
        # counts the size of this process when it starts the child, too: so no torch is imported here.
        _, status, usage = os.wait4(process.pid, 0)
        wall_seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{checkout}: the run ended with exit code {process.returncode}")
        summary = json.loads(Path(folder, "run", "summary.json").read_text())
    return Measured(wall_seconds, usage.ru_utime, peak_bytes(usage), summary["eval/accuracy_after"])


def compare(old: list[Measured], new: list[Measured]) -> dict[str, Any]:
    """The medians of both checkouts and their ratio, new over old."""
    medians = [{name: median(getattr(run, name) for run in runs) for name in COMPARED} for runs in (old, new)]
    ratio = {name: medians[1][name] / medians[0][name] for name in COMPARED}
    return {"median": {"old": medians[0], "new": medians[1]}, "ratio": ratio}


def main() -> None:
    """Runs both checkouts in turn, and writes and prints the result."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each checkout")
    parser.add_argument("--max_steps", type=int, help="of a rehearsal (default: those of the default run)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder (default bench/results)")
    options = parser.parse_args()
    train_options = ["--max_steps", str(options.max_steps)] if options.max_steps else []
    checkouts = {"old": options.old.resolve(), "new": options.new.resolve()}
    runs: dict[str, list[Measured]] = {name: [] for name in checkouts}
    # In turn, so that other work on the machine meets both checkouts.
    for _ in range(options.repeats):
        for name, checkout in checkouts.items():
            runs[name].append(measure(checkout, train_options))
            print(name, runs[name][-1], flush=True)
    git = {name: git_revision(checkout / "pyproject.toml") for name, checkout in checkouts.items()}
    command = " ".join(["python -m bench.default_run OLD NEW", *train_options])
    made_by = signature(command, "torch", "transformers")
    content = {"signature": made_by | {"git": git["new"], "git_old": git["old"]}}
    content |= compare(runs["old"], runs["new"])
    content["runs"] = {name: [asdict(run) for run in measured] for name, measured in runs.items()}
    path = result_path("default_run", content["signature"], options.out)
    write(path, content)
    print(json.dumps(content["ratio"], indent=1), f"written: {path}", sep="\n")


if __name__ == "__main__":
    main()
