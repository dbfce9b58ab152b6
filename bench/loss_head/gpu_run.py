"""One part of what a GPU is measured for, within a time limit; bench/gpu_run.sh starts it.

    bench/gpu_run.sh [--tiny] OUT PART

gpu_parts.py has the steps. Results are written as they come: to OUT/part<PART>.json, and as tables to stdout.
A worker process measures. Where a variant takes the worker down or hangs, the next worker goes on without the
variant. Without a GPU (--tiny alone), steps that need a kernel run in a worker under Triton's interpreter.
"""

import argparse
import faulthandler
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from bench.loss_head.gpu_parts import AnyStep, parts
from bench.loss_head.harness import Timer, reason
from bench.loss_head.machine import clock_fact
from bench.loss_head.measurement import Fact, Measurement
from bench.loss_head.results import Results, tables

PART_SECONDS = 225.0  # of a part, the start of Python apart
TIMING_SECONDS = 0.3  # of one comparison, after the fewest turns
HANG_SECONDS = 60.0  # without a new variant
CLOSING_SECONDS = 10.0  # before the end, when nothing new is begun


class Program(NamedTuple):
    """A bench that comes in parts.

    Attributes:
        module: is started with `python -m`.
        script: is started by people.
        description: for --help.
        parts: says for a rehearsal (true) or not what the steps of each part are.
    """

    module: str
    script: str
    description: str
    parts: Callable[[bool], Mapping[int, Sequence[AnyStep]]]


PROGRAM = Program("bench.loss_head.gpu_run", "bench/gpu_run.sh", __doc__ or "", parts)


def supervise(path: Path, command: list[str], steps: Sequence[AnyStep], end: float, on_gpu: bool) -> None:
    """Runs workers until all steps are through or the time is up.

    Args:
        path: the result file; the file beside it, ending in .now, holds the step and variant being measured.
        command: starts a worker, but for the last argument: what `work` needs to know, as JSON.
        end: time.monotonic() when the part is over.
        on_gpu: no step needs the interpreter.
    """
    first, skipped = 0, dict[str, dict[str, str]]()
    while first < len(steps) and time.monotonic() < end - CLOSING_SECONDS:
        seconds = end - time.monotonic()
        interpreted = steps[first].interpreted and not on_gpu
        # Triton reads the variable once, so a worker interprets all of its steps or none.
        last = first + 1
        while last < len(steps) and (on_gpu or steps[last].interpreted == interpreted):
            last += 1
        task = {"first": first, "last": last, "skipped": skipped, "seconds": seconds - CLOSING_SECONDS}
        environment = os.environ | ({"TRITON_INTERPRET": "1"} if interpreted else {})
        try:
            done = subprocess.run([*command, json.dumps(task)], timeout=seconds, env=environment)
        except subprocess.TimeoutExpired:
            return
        if done.returncode == 0:
            first = last
            continue
        now = path.with_suffix(".now")
        first, variant = json.loads(now.read_text()) if now.is_file() else (first, "")
        of_step = skipped.setdefault(steps[first].name, {})
        died = f"took its process down, or hung for {HANG_SECONDS:.0f} s"
        # No variant: making the inputs ended the worker. A variant again: skipping it did not help.
        if not variant or variant in of_step:
            results = Results.read(path)
            results.facts.append(Fact(steps[first].name, "failed", reason=died, step=first))
            results.write(path)
            first += 1
        of_step[variant] = died


def work(
    path: Path,
    steps: Sequence[AnyStep],
    device: torch.device,
    first: int,
    last: int,
    skipped: Mapping[str, Mapping[str, str]],
    seconds: float,
) -> None:
    """Measures steps[first:last] and adds them to the result file.

    Args:
        skipped: name of a step -> variant -> why the variant is not tried.
        seconds: after so long no step is begun.
    """
    results, now = Results.read(path), path.with_suffix(".now")
    end = time.monotonic() + seconds
    # What the last worker said of the step that it did not finish is made again.
    results.measurements = [m for m in results.measurements if m.step is not None and m.step < first]
    results.facts = [fact for fact in results.facts if fact.step is not None and fact.step < first]

    def add(outcomes: Sequence[Measurement | Fact], i: int) -> None:
        # The next worker tells by the step what is complete.
        for outcome in outcomes:
            outcome.step = i
        timed = [outcome for outcome in outcomes if isinstance(outcome, Measurement)]
        told = [outcome for outcome in outcomes if isinstance(outcome, Fact)]
        results.measurements += timed
        results.facts += told
        results.write(path)
        print("\n".join([tables(timed), *(fact.text for fact in told)]).strip(), flush=True)

    for i, step in enumerate(steps[first:last], first):
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
        timer = Timer(device, TIMING_SECONDS, end, True, path.parent, skipped.get(step.name, {}), on_variant)
        for outcomes in _outcomes(step, timer):
            add(outcomes, i)
        results.left_out = [s.name for s in steps[i + 1 :]]
        print(f"{time.monotonic() - started:6.1f} s  {step.name}\n", flush=True)
    faulthandler.cancel_dump_traceback_later()
    results.write(path)
    now.unlink(missing_ok=True)


def _outcomes(step: AnyStep, timer: Timer) -> Iterator[Sequence[Measurement | Fact]]:
    """What a step says, between the clocks before and after it."""
    yield [clock_fact(step.name, timer.device, "before")]
    try:
        yield from step.run(timer)
    # Whatever it is, it belongs to this step: the others must still run.
    except Exception as error:
        yield [Fact(step.name, "failed", reason=reason(error))]
        # Raises if the device was taken along; the next worker then begins anew.
        timer.wait()
    yield [clock_fact(step.name, timer.device, "after")]


def parse(program: Program) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog=program.script,
        description=program.description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the results")
    numbers = list(program.parts(True))
    parser.add_argument(
        "part", type=int, choices=numbers, metavar="PART", help=" or ".join(map(str, numbers))
    )
    parser.add_argument("--tiny", action="store_true", help="tiny shapes")
    parser.add_argument(
        "--seconds", type=float, default=PART_SECONDS, help="longest time (default %(default)s)"
    )
    parser.add_argument("--revision", help="of the source, where the source is no checkout")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def main(program: Program = PROGRAM) -> None:
    """Runs the part, or the worker that `supervise` started."""
    options = parse(program)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type != "cuda" and not options.tiny:
        raise SystemExit(
            "no GPU here: --tiny rehearses on a CPU, `pytest --benchmark-only` times the torch path"
        )
    steps = program.parts(options.tiny)[options.part]
    path = options.out.absolute() / f"part{options.part}.json"
    if options.worker:
        return work(path, steps, device, **json.loads(options.worker))
    # From here on: starting workers and making inputs count as well.
    end = time.monotonic() + options.seconds
    words = [program.script, *["--tiny"] * options.tiny, "OUT", str(options.part)]
    results = Results.begin(" ".join(words), device, options.revision)
    results.left_out = [step.name for step in steps]
    results.write(path)
    command = [sys.executable, "-m", program.module, str(options.out), str(options.part)]
    supervise(path, [*command, *["--tiny"] * options.tiny, "--worker"], steps, end, device.type == "cuda")
    left_out = Results.read(path).left_out
    print(f"\nleft out for lack of time: {', '.join(left_out) or 'nothing'}\nwritten: {path}")


if __name__ == "__main__":
    main()
