"""The loss head against what it could be replaced by, on the device at hand.

    pytest --benchmark-only bench/loss_head              prints tables
    pytest --benchmark-only --results bench/loss_head    and writes bench/results/loss_head_*.json

A test times all variants of one operation at one shape in turn; pytest-benchmark's own figure is that of
the whole test. Where other libraries are looked for: loss_head/peers.py. On a CPU these are times of the
torch path at small shapes; figures of the kernels need a GPU, where gpu_suite.py takes minutes.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch

from bench.loss_head import results
from bench.loss_head.groups import LIBRARIES, Step, cpu_steps, gpu_steps
from bench.loss_head.harness import Row, Session

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
GPU_STEPS = [replace(s, who=(*LIBRARIES, "compile")) for s in gpu_steps() if s.who == LIBRARIES]
STEPS = GPU_STEPS if DEVICE.type == "cuda" else cpu_steps()


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_loss_head(benchmark: Any, step: Step, loss_head_rows: list[Row]) -> None:
    session = Session(DEVICE, seconds=1.0 if DEVICE.type == "cuda" else 0.2)
    groups = benchmark.pedantic(lambda: list(step.rows(session)), rounds=1)
    rows = [row for group in groups for row in group]
    loss_head_rows += rows
    benchmark.group = "whole tests; the tables above are of what they measure"
    benchmark.extra_info["rows"] = rows
    failed = [row for row in rows if row["reason"] and row["variant"].startswith("ours")]
    assert not failed, results.tables(failed)
