"""A long run of a very small model in a process of its own, which reads what the process holds.

    python -m tests.helpers.long_runs FOLDER OPTIONS STEPS [LEAK]

FOLDER: an empty one. OPTIONS: of `dupo.api.train_steps`, JSON. STEPS: when to read, JSON; the last one is the
end of the run. LEAK: keep memory, an open file and a child process at every step, to see that they are seen.
Prints a JSON object: the readings before the run, at each of the steps, and after the run.
"""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM

from dupo import api
from tests.helpers.worlds import tiny

FLAT = 0.02  # of the resident memory
LEAKED: list[Any] = []


class Reading(NamedTuple):
    """What a process holds: resident KiB, open files, child processes, threads."""

    kib: int
    handles: int
    children: int
    threads: int


def read() -> Reading:
    """What this process holds now, on Linux."""
    gc.collect()
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    children = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
    handles = len(os.listdir("/proc/self/fd"))
    return Reading(int(lines["VmRSS"].split()[0]), handles, sum(map(len, children)), int(lines["Threads"]))


def complaints(before: Reading, first: Reading, last: Reading, after: Reading) -> list[str]:
    """What a run left or gathered: readings before and after the run, and at two of its steps."""
    lines = []
    if abs(last.kib - first.kib) > FLAT * first.kib:
        lines.append(f"memory: {first.kib:,} KiB, then {last.kib:,}")
    for name in ("handles", "children", "threads"):
        counts = [getattr(reading, name) for reading in (before, first, last, after)]
        if counts[2] > counts[1] or counts[3] > counts[0]:
            lines.append(f"{name}: {counts} before, at two steps, after")
    return lines


def save_smallest(folder: Path) -> None:
    """A model of one layer, 32 wide, and the tokenizer of the built-in task: a step of it takes 15 ms."""
    world = tiny()
    shape = world.model.config
    sizes = dict(hidden_size=32, intermediate_size=32, num_hidden_layers=1, layer_types=["full_attention"])
    shape.update(sizes | dict(num_attention_heads=2, num_key_value_heads=2))
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(shape, dtype=torch.float32).save_pretrained(folder)
    world.tokenizer.hf.save_pretrained(folder)


def alternate(completions: list[str], **_: Any) -> list[float]:
    """A reward under which every group has spread, so that every step changes the weights."""
    return [float(place % 2) for place in range(len(completions))]


def main(folder: Path, options: dict[str, Any], steps: list[int], is_leaking: bool) -> dict[str, Any]:
    """Trains, and reads at these steps."""
    save_smallest(folder / "model")
    readings = {"before": read()}
    norms = []
    run = api.train_steps(
        model=str(folder / "model"), task="arithmetic", reward=alternate, output_dir=str(folder / "run"),
        quiet=True, num_threads=1, num_generations=2, generation_batch_size=2, max_completion_length=2,
        eval_size=2, eval_steps=50, save_steps=100, save_total_limit=2, max_steps=steps[-1], **options,
    )  # fmt: skip
    with run:
        for row in run:
            norms.append(row["grad_norm"])
            if is_leaking:
                sleeper = subprocess.Popen(["sleep", "600"])
                LEAKED.extend([torch.ones(2**19), open(os.devnull), sleeper])  # noqa: SIM115
            if row["step"] in steps:
                readings[str(row["step"])] = read()
    readings["after"] = read()
    for thing in LEAKED:
        if isinstance(thing, subprocess.Popen):
            thing.kill()
    return {**readings, "updates": sum(norm > 0 for norm in norms)}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), *map(json.loads, sys.argv[2:4]), len(sys.argv) > 4)))
