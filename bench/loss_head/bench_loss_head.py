"""The loss head against what it could be replaced by, on the device at hand.

    pytest --benchmark-only bench/loss_head              prints tables
    pytest --benchmark-only --results bench/loss_head    and writes bench/results/loss_head_*.json

A test times all variants of one operation at one shape in turn; pytest-benchmark's own time is that of the
whole test. peers.py says where other libraries are looked for. On a CPU these are times of the torch path at
small shapes. The kernels need a GPU, where `bench/gpu_run.sh` measures the rest in three parts.
"""

from typing import Any

import pytest
import torch

from bench.loss_head.harness import Timer
from bench.loss_head.measurement import Measurement
from bench.loss_head.results import tables
from bench.loss_head.steps import Step, cpu_steps, gpu_steps

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
STEPS = gpu_steps() if DEVICE.type == "cuda" else cpu_steps()


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_loss_head(benchmark: Any, step: Step, loss_head_measurements: list[Measurement]) -> None:
    """One step; fails where a variant of dupo_kernels does not run."""
    timer = Timer(DEVICE, seconds=1.0 if DEVICE.type == "cuda" else 0.2)
    # One round: the timer repeats each variant itself.
    by_comparison = benchmark.pedantic(lambda: list(step.run(timer)), rounds=1)
    measurements = [m for measured in by_comparison for m in measured]
    loss_head_measurements += measurements
    benchmark.group = "whole tests; the tables above are of what they measure"
    benchmark.extra_info["rows"] = [m.to_json() for m in measurements]
    failed = [m for m in measurements if m.reason and m.is_ours]
    assert not failed, tables(failed)
