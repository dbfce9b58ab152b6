"""Makes the taught weights that come with the package: the teaching of seed 0, as `--teach` does it.

    python -m bench.taught_start               the default task, on one thread: a minute
    python -m bench.taught_start --task NAME

Writes dupo/methods/taught/<task>.safetensors. The bytes are the same on the same kind of CPU with the same
torch, which stand in the file; elsewhere the accuracy is the same within two points
(tests/methods/test_taught_start.py).
"""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from dupo.config.layers import assemble
from dupo.methods.dupo import DuPO
from dupo.methods.taught_start import MADE, TAUGHT_SEED, taught_file
from dupo.storage.files import write_atomic

THREADS = 1  # sums of several threads end in other bits


def maker() -> dict[str, Any]:
    """What decides the bits of a teaching: torch, its instructions, the CPU and the number of threads."""
    return {
        "torch": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cpu": _cpu(),
        "threads": THREADS,
    }


def _cpu() -> str:
    """Vendor, family and model of the CPU; empty where Linux does not tell."""
    file = Path("/proc/cpuinfo")
    text = file.read_text() if file.is_file() else ""
    lines = [re.search(rf"^{name}\s*: (.+)$", text, re.M) for name in ("vendor_id", "cpu family", "model")]
    return " ".join(line[1] for line in lines if line)


def taught_bytes(task: str) -> bytes:
    """Teaches the built-in model; the content of the file."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    method = DuPO(assemble({"task": task, "seed": TAUGHT_SEED, "teach": True, "device": "cpu"}))
    method.load()
    stage = method.make_stage()
    while not stage.finished():
        if words := stage.step():
            print(f"step {stage.steps}: {words}", flush=True)
    stage.finish()
    torch.set_num_threads(threads)
    metadata = json.dumps({"by": maker(), "facts": stage.facts()})
    weights = {name: weight.detach() for name, weight in method.model.named_parameters()}
    return save(weights, {MADE: metadata})


def main(argv: Sequence[str] | None = None) -> None:
    """Writes the file of a task."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", default="arithmetic")
    task = parser.parse_args(argv).task
    file = taught_file(task)
    file.parent.mkdir(exist_ok=True)
    write_atomic(file, taught_bytes(task))
    print(file)


if __name__ == "__main__":
    main()
