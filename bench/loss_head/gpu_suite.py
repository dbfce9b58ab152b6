"""Everything that bench_loss_head.py measures on a GPU, the most important first, within a given time.

    PYTHONPATH=.:kernels python -m bench.loss_head.gpu_suite            nine minutes at most
    PYTHONPATH=.:kernels python -m bench.loss_head.gpu_suite --tiny     a rehearsal at tiny shapes, on a CPU too

Needs torch and Triton, no network and no installation. Where other libraries are looked for:
loss_head/peers.py. Results are written as they come, so that nothing is lost however it ends. A worker
process measures; where a variant takes it down or hangs, another goes on without that variant.
"""

import argparse
import faulthandler
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from bench.loss_head import results
from bench.loss_head.groups import Step, gpu_steps
from bench.loss_head.harness import Session
from bench.loss_head.report import markdown

TINY = [(128, 1024, 64), (256, 1000, 64), (128, 2048, 32), (64, 512, 32)]
SECONDS = 0.5  # of timing a group, beyond the fewest turns
HANGS = 100.0  # seconds without a new variant
LAST = 25.0  # seconds before the end after which nothing new is begun


def steps(tiny: bool) -> list[Step]:
    return gpu_steps(TINY) if tiny else gpu_steps()


def supervise(path: Path, command: list[str], every: list[Step], end: float) -> None:
    """Runs workers, `command` and what each needs to know, until one gets through or the time is up."""
    first, lost = 0, {}
    while first < len(every) and time.monotonic() < end - LAST:
        left = end - time.monotonic()
        what = json.dumps({"first": first, "lost": lost, "seconds": left - LAST})
        try:
            if subprocess.run([*command, what], timeout=left).returncode == 0:
                return
        except subprocess.TimeoutExpired:
            return
        now = path.with_suffix(".now")
        first, variant = json.loads(now.read_text()) if now.is_file() else (first, "")
        known = lost.setdefault(every[first].op, {})
        if not variant or variant in known:  # the inputs, or what we could not avoid
            first += 1
        known[variant] = "took its process down, or hung"


def work(
    path: Path, every: list[Step], device: torch.device, first: int, lost: dict[str, Any], seconds: float
) -> None:
    """Measures every[first:], within `seconds`; lost: by op and variant, why it is not tried."""
    content, now = json.loads(path.read_text()), path.with_suffix(".now")
    end = time.monotonic() + seconds
    content["rows"] = [row for row in content["rows"] if row["step"] < first]
    for i, step in enumerate(every[first:], first):
        content["left_out"] = [s.name for s in every[i:]]
        if time.monotonic() > end:
            break

        def begins(variant: str, i: int = i) -> None:
            faulthandler.dump_traceback_later(HANGS, exit=True)
            now.write_text(json.dumps([i, variant]))

        begins("")
        started = time.monotonic()
        for rows in step.rows(Session(device, SECONDS, end, lost.get(step.op, {}), begins)):
            content["rows"] += [row | {"step": i} for row in rows]
            results.write(path, content)
        content["left_out"] = [s.name for s in every[i + 1 :]]
        print(f"{time.monotonic() - started:6.1f} s  {step.name}", flush=True)
    faulthandler.cancel_dump_traceback_later()
    results.write(path, content)
    now.unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=9.0, help="ends by then (default 9)")
    parser.add_argument("--out", type=Path, default=results.RESULTS, help="folder (default bench/results)")
    parser.add_argument("--revision", help="of the source, where it is not in a checkout")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("what", nargs="?", help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type != "cuda" and not options.tiny:
        raise SystemExit(
            "no GPU here: --tiny rehearses on a CPU, `pytest --benchmark-only` times the torch path"
        )
    if options.worker:
        return work(options.worker, steps(options.tiny), device, **json.loads(options.what))
    end = time.monotonic() + 60 * options.minutes
    chosen = f" --minutes {options.minutes:g}" + " --tiny" * options.tiny
    content = results.begun(f"python -m bench.loss_head.gpu_suite{chosen}", device, options.revision)
    path = options.out / results.file_name(content["signature"])
    results.write(path, content)
    command = [
        sys.executable,
        "-m",
        "bench.loss_head.gpu_suite",
        "--worker",
        str(path),
        *["--tiny"] * options.tiny,
    ]
    supervise(path, command, steps(options.tiny), end)
    print(f"\n{markdown(json.loads(path.read_text()))}\n\nwritten: {path}")


if __name__ == "__main__":
    main()
