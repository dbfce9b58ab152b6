"""Everything that bench_loss_head.py measures on a GPU, the most important first, within a time limit.

    PYTHONPATH=.:kernels python -m bench.loss_head.gpu_suite           nine minutes at most
    PYTHONPATH=.:kernels python -m bench.loss_head.gpu_suite --tiny    rehearses at tiny shapes, on a CPU too

Needs torch and Triton, no network and no installation. peers.py says where other libraries are looked for.
Results are written as they come, so a suite that is cut short loses nothing. A worker process measures. Where
a variant takes the worker down or hangs, the next worker goes on without that variant.
"""

import argparse
import faulthandler
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from bench.loss_head.harness import Timer
from bench.loss_head.report import markdown
from bench.loss_head.results import Results
from bench.loss_head.steps import Step, gpu_steps
from bench.result_files import RESULTS, result_path

PROGRAM = "bench.loss_head.gpu_suite"
TINY = [(128, 1024, 64), (256, 1000, 64), (128, 2048, 32), (64, 512, 32)]
TIMING_SECONDS = 0.5  # of one comparison, after the fewest turns
HANG_SECONDS = 100.0  # without a new variant
CLOSING_SECONDS = 25.0  # before the end, when nothing new is begun


def steps(tiny: bool) -> list[Step]:
    """The steps of the suite."""
    return gpu_steps(TINY) if tiny else gpu_steps()


def supervise(path: Path, command: list[str], steps: list[Step], end: float) -> None:
    """Runs workers until one gets through or the time is up.

    Args:
        path: the result file; the file beside it, ending in .now, holds the step and variant being measured.
        command: starts a worker, but for the last argument: what `work` needs to know, as JSON.
        end: time.monotonic() when the suite is over.
    """
    first, skipped = 0, dict[str, dict[str, str]]()
    while first < len(steps) and time.monotonic() < end - CLOSING_SECONDS:
        seconds = end - time.monotonic()
        task = json.dumps({"first": first, "skipped": skipped, "seconds": seconds - CLOSING_SECONDS})
        try:
            if subprocess.run([*command, task], timeout=seconds).returncode == 0:
                return
        except subprocess.TimeoutExpired:
            return
        now = path.with_suffix(".now")
        first, variant = json.loads(now.read_text()) if now.is_file() else (first, "")
        of_op = skipped.setdefault(steps[first].op, {})
        # No variant: making the inputs ended the worker. A variant again: skipping it did not help.
        if not variant or variant in of_op:
            first += 1
        of_op[variant] = "took its process down, or hung"


def work(
    path: Path,
    steps: list[Step],
    device: torch.device,
    first: int,
    skipped: Mapping[str, Mapping[str, str]],
    seconds: float,
) -> None:
    """Measures steps[first:] and adds them to the result file.

    Args:
        skipped: op -> variant -> why the variant is not tried.
        seconds: after so long no step is begun.
    """
    results, now = Results.read(path), path.with_suffix(".now")
    end = time.monotonic() + seconds
    # Measurements of the step that the last worker did not finish are made again.
    results.measurements = [m for m in results.measurements if m.step is not None and m.step < first]
    for i, step in enumerate(steps[first:], first):
        # Kept right at every moment, as the supervisor may end this process at any moment.
        results.left_out = [s.name for s in steps[i:]]
        if time.monotonic() > end:
            break

        def on_variant(variant: str, i: int = i) -> None:
            # A kernel that hangs never returns to Python, so a watchdog thread ends the process.
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
            # Written before the variant runs: a process that dies can say nothing afterwards.
            now.write_text(json.dumps([i, variant]))

        on_variant("")
        started = time.monotonic()
        timer = Timer(device, TIMING_SECONDS, end, skipped.get(step.op, {}), on_variant)
        for measurements in step.run(timer):
            # The next worker tells by the step which measurements are complete.
            for measurement in measurements:
                measurement.step = i
            results.measurements += measurements
            results.write(path)
        results.left_out = [s.name for s in steps[i + 1 :]]
        print(f"{time.monotonic() - started:6.1f} s  {step.name}", flush=True)
    faulthandler.cancel_dump_traceback_later()
    results.write(path)
    now.unlink(missing_ok=True)


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=9.0, help="longest time (default 9)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder (default bench/results)")
    parser.add_argument("--revision", help="of the source, where the source is no checkout")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("task", nargs="?", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Runs the suite, or the worker that `supervise` started."""
    options = parse()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type != "cuda" and not options.tiny:
        raise SystemExit(
            "no GPU here: --tiny rehearses on a CPU, `pytest --benchmark-only` times the torch path"
        )
    if options.worker:
        return work(options.worker, steps(options.tiny), device, **json.loads(options.task))
    # From here on: starting workers and making inputs count as well.
    end = time.monotonic() + 60 * options.minutes
    chosen = f" --minutes {options.minutes:g}" + " --tiny" * options.tiny
    results = Results.begin(f"python -m {PROGRAM}{chosen}", device, options.revision)
    path = result_path("loss_head", results.signature, options.out)
    results.write(path)
    command = [sys.executable, "-m", PROGRAM, "--worker", str(path), *["--tiny"] * options.tiny]
    supervise(path, command, steps(options.tiny), end)
    print(f"\n{markdown(Results.read(path))}\n\nwritten: {path}")


if __name__ == "__main__":
    main()
