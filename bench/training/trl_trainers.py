"""TRL's trainers with and without `dupo.integrations.trl.install()`: memory, time and metrics, on a CPU.

    .ci/peers DIRECTORY trl datasets && . DIRECTORY/variables
    export PYTHONPATH=$PYTHONPATH:$DUPO_PEER_TRL:$DUPO_PEER_DATASETS
    python -m bench.training.trl_trainers                 measures, and writes a file of bench/results
    python -m bench.training.trl_trainers --rehearsal     two trainers, small, once; writes nothing
    python -m bench.training.trl_trainers --write         publishes the newest file in docs/inside_trl.md

Three steps in float32 of a Qwen3 of two layers, 128 wide, with a vocabulary of 32,768; 8 rows a step. Every
run is a process of its own, stock and ours in turn, on one thread. Memory is what `train` adds at its peak;
time is CPU time of `train`, sampling included. Needs Linux.
"""

import importlib
import json
import os
import subprocess
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.loss_head.results import instructions, table
from bench.result_files import RESULTS, ROOT, between_markers, newest, result_path, signature, write
from bench.training.trl_runs import Measured, Size, run, worst

THEME = "trl_trainers"
PAGE = Path("docs/inside_trl.md")
MARKERS = ("<!-- trl trainers: made by bench.training.trl_trainers -->", "<!-- end of trl trainers -->")
KINDS = ("grpo", "rloo", "dpo", "kto", "sft", "cpo", "orpo", "online_dpo", "gkd")
SIZE, REPEATS = Size(vocabulary=32_768, hidden=128, completion=48, repeats=12), 5
SMALL_KINDS, SMALL = ("dpo", "gkd"), Size(vocabulary=4_096, repeats=4)
COLUMNS = (
    "trainer",
    "MiB, stock",
    "MiB, dupo",
    "memory / stock",
    "CPU seconds, stock",
    "time / stock",
    "metric",
)
RELATIVE, ABSOLUTE = 1e-4, 1e-7
# At this vocabulary sums of rounding exceed once what tests/peers/ allows at a small one: a metric that is a
# difference of near numbers. What is wrong is far beyond.
MOST_APART = 10


def cell(kind: str, size: Size, *, is_ours: bool) -> None:
    """Prints what one run took and logged, as JSON."""
    if is_ours:
        importlib.import_module("dupo.integrations.trl").install()
    print(json.dumps(run(kind, size)._asdict()))


def measured(kind: str, size: Size, *, is_ours: bool) -> Measured:
    """A run in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "bench.training.trl_trainers",
        "--cell",
        json.dumps([kind, size, is_ours]),
    ]
    quiet = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    # Memory that was freed goes back at once, so that the peak is that of what lives together.
    environment = os.environ | quiet | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{kind}: {done.stderr[-2000:]}")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def allowed(a: float, b: float) -> float:
    """How far apart a metric may be."""
    return RELATIVE * max(abs(a), abs(b)) + ABSOLUTE


def measure(kind: str, size: Size, repeats: int) -> dict[str, Any]:
    """Stock and ours in turn, as the result file holds them."""
    runs: dict[str, list[Measured]] = {"stock": [], "ours": []}
    for _ in range(repeats):
        for name, those in runs.items():
            those.append(measured(kind, size, is_ours=name == "ours"))
    apart, metric = worst(runs["stock"][0].rows, runs["ours"][0].rows, allowed)
    took = {name: [m._asdict() | {"rows": None} for m in those] for name, those in runs.items()}
    return {"kind": kind, "apart": apart, "metric": metric, **took}


def markdown(results: Sequence[Mapping[str, Any]]) -> str:
    """The table: medians, with the least and the most of the ratios."""
    lines = []
    for result in results:
        memory, seconds = (
            {name: [row[key] for row in result[name]] for name in ("stock", "ours")}
            for key in ("peak_bytes", "seconds")
        )
        cells = [result["kind"].upper()]
        cells += [f"{median(memory[name]) / 2**20:,.0f}" for name in ("stock", "ours")]
        shares = [ratios(**memory), ratios(**seconds)]
        cells += [shares[0], f"{median(seconds['stock']):.2f}", shares[1]]
        lines.append([*cells, f"{result['apart']:.2f} ({result['metric']})"])
    return table(COLUMNS, lines)


def ratios(stock: Sequence[float], ours: Sequence[float]) -> str:
    """Ours over theirs, run by run: the median, with the least and the most."""
    shares = [mine / theirs for theirs, mine in zip(stock, ours, strict=True)]
    return f"{median(shares):.2f} ({min(shares):.2f}-{max(shares):.2f})"


def section(path: Path | None) -> str:
    """What stands between the markers."""
    if path is None:
        return "Not measured yet."
    result = json.loads(path.read_text(encoding="utf-8"))
    made_by = result["signature"]
    source = (
        f"Made by `{made_by['command']}` at {made_by['git']} ({made_by['device']}, one thread, "
        f"{made_by['instructions']}; torch {made_by['torch']}, TRL {made_by['trl']}): "
        f"[bench/results/{path.name}](../bench/results/{path.name}). The last column is the metric that "
        "differs most, as a multiple of what is allowed (1e-4 of the larger value)."
    )
    return f"{markdown(result['trainers'])}\n\n{source}"


def publish(page: str, path: Path | None) -> str:
    """The page with the table between the markers."""
    return between_markers(page, MARKERS, section(path))


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and writes, or publishes."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--rehearsal", action="store_true", help="measure little, and write nothing")
    parser.add_argument(
        "--kind", action="append", choices=KINDS, help="only this trainer; several may be named"
    )
    parser.add_argument("--write", action="store_true", help="publish the newest result")
    parser.add_argument("--cell", help="one run, for a fresh process")
    options = parser.parse_args(argv)
    if options.cell:
        kind, size, is_ours = json.loads(options.cell)
        cell(kind, Size(*size), is_ours=is_ours)
        return
    if options.write:
        page = ROOT / PAGE
        page.write_text(publish(page.read_text(encoding="utf-8"), newest(THEME)), encoding="utf-8")
        return
    chosen = "".join(f" --kind {kind}" for kind in options.kind or [])
    made_by = signature(f"python -m bench.training.trl_trainers{chosen}", "torch", "transformers")
    made_by |= {"trl": importlib.import_module("trl").__version__, "instructions": instructions()}
    kinds, size, repeats = (
        (SMALL_KINDS, SMALL, 1) if options.rehearsal else (options.kind or KINDS, SIZE, REPEATS)
    )
    results = []
    for kind in kinds:
        results.append(measure(kind, size, repeats))
        print(markdown(results[-1:]), flush=True)
    # Asked this way round, NaN is no agreement.
    far = [result for result in results if not result["apart"] <= MOST_APART]
    if wrong := [f"{result['kind']}: {result['metric']}, {result['apart']:.1f} times" for result in far]:
        raise SystemExit(f"metrics: expected those of stock TRL, got further apart: {', '.join(wrong)}")
    if not options.rehearsal:
        write(result_path(THEME, made_by, RESULTS), {"signature": made_by, "trainers": results})


if __name__ == "__main__":
    main()
