"""One training step of a head, traced: how many launches, and how much of the time the device works.

A step as a trainer takes it: hidden states from a layer below, the loss, the gradients, AdamW. The trace lies
in the folder of the run (chrome://tracing, Perfetto).
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from bench.loss_head import inputs, variants
from bench.loss_head.harness import Timer
from bench.loss_head.measurement import Fact, Measurement, Shape
from bench.loss_head.profiles import spent
from dupo_kernels import policy_objective

TRACE = "training_step.json.gz"


@dataclass(frozen=True)
class TracedStep:
    """The step of the run: one fact for our head, one for eager torch."""

    shape: Shape
    op = "trace"
    interpreted = False

    @property
    def name(self) -> str:
        """Name of the step."""
        return f"training-step-{'x'.join(str(n) for n in self.shape)}"

    def run(self, timer: Timer) -> Iterator[list[Measurement | Fact]]:
        """Launches, time of the device and time of the host of a step."""
        head = inputs.make_head(self.shape, torch.bfloat16, timer.device)
        objective = policy_objective("dapo")
        losses = {
            "ours": variants.our_loss(head, objective),
            "eager torch": variants.loss_of(variants.eager_head(head, False), head, objective),
        }
        for name, loss in losses.items():
            timer.on_variant(name)
            step = _step(head, loss)
            for _ in range(2):
                step()
            yield [Fact(self.name, "trace", {"variant": name} | self._trace(step, name, timer))]

    def _trace(self, step: Callable[[], None], name: str, timer: Timer) -> dict[str, Any]:
        on_gpu = timer.device.type == "cuda"
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
        timer.wait()
        with profile(activities=activities) as trace:
            start = time.perf_counter()
            step()
            queued = time.perf_counter() - start
            timer.wait()
            seconds = time.perf_counter() - start
        if timer.folder is not None and name == "ours":
            trace.export_chrome_trace(str(timer.folder / TRACE))
        return spent(trace, on_gpu) | {"queued_ms": 1e3 * queued, "wall_ms": 1e3 * seconds}


def _step(head: inputs.HeadInputs, loss: variants.Loss) -> Callable[[], None]:
    """A training step on copies of the inputs: a linear layer below the head, the loss, AdamW."""
    H = head.shape[2]
    below = torch.nn.Linear(H, H, bias=False, device=head.targets.device, dtype=head.leaves[0].dtype)
    weight_VH = torch.nn.Parameter(head.plain[1].clone())
    optimizer = torch.optim.AdamW([*below.parameters(), weight_VH], lr=1e-5)
    states_NH = head.plain[0]

    def step() -> None:
        loss(below(states_NH), weight_VH).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step
