"""Does the head work on this device at all: the tests that matter there, and what no CPU can show.

A GPU has other products (cuBLAS writes float32 from halves), other memory (an allocator that splits blocks)
and queues that the host must not wait for. Each check below asserts its own point and returns its figures.
"""

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.loss_head import inputs, variants
from bench.loss_head.harness import Timer, reason
from bench.loss_head.measurement import Fact, Measurement, Shape
from bench.loss_head.truth import relative_error
from bench.result_files import ROOT
from dupo_kernels import linear_objective, policy_objective

# Two halves of a product that is summed over V in bf16 would be off by more.
GRADIENT_BOUND = 4e-3
STEPS_OF_VARYING_SIZE = 50
FRESH_INPUTS = 20


@dataclass(frozen=True)
class Tests:
    """The tests of a file, in a process of their own and on the device at hand.

    Attributes:
        file: below tests/.
        seconds: longest time.
        chosen: an expression of pytest's -k; all quick tests without one.
    """

    file: str
    seconds: float
    chosen: str = ""
    op = "tests"
    interpreted = False

    @property
    def name(self) -> str:
        """Name of the step."""
        return f"tests-{self.file.removesuffix('.py').replace('/', '-')}"

    def run(self, timer: Timer) -> Iterator[list[Measurement | Fact]]:
        """One fact: how many passed, failed and were skipped, and the end of the output if any failed."""
        timer.on_variant(self.name)
        seconds = max(1.0, min(self.seconds, timer.end - time.monotonic()))
        options = ["-q", "-p", "no:cacheprovider", "--no-header", "--tb=line", "-m", "not slow"]
        options += ["-k", self.chosen] if self.chosen else []
        command = [sys.executable, "-m", "pytest", *options, str(ROOT / "tests" / self.file)]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            yield [Fact(self.name, "tests", reason=f"took longer than {seconds:.0f} s")]
            return
        counts = {
            word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)", done.stdout)
        }
        failed = done.returncode != 0
        reason = "\n".join((done.stdout + done.stderr).splitlines()[-20:])[-2000:] if failed else None
        yield [Fact(self.name, "tests", counts, reason)]


# --- what no CPU can show ---------------------------------------------------------------------------


def check_sums(shape: Shape, device: torch.device) -> dict[str, Any]:
    """A head of several chunks, whose dweight is a float32 sum of products of halves, beside one chunk."""
    head = inputs.make_head(shape, torch.bfloat16, device)
    chunk = max(1, shape[0] // 4)
    loss = partial(variants.our_loss, head, policy_objective("dapo"))
    gradients = [
        torch.autograd.grad(function(*head.leaves), head.leaves)
        for function in (loss(), loss(chunk_tokens=chunk, save_budget=0))
    ]
    errors = [relative_error(a, b.double()) for a, b in zip(*gradients, strict=True)]
    assert max(errors) < GRADIENT_BOUND, errors
    return {"dhidden": errors[0], "dweight": errors[1]}


def check_fresh_inputs(shape: Shape, device: torch.device) -> dict[str, Any]:
    """Twice the same call on fresh inputs, over and over: the same bits, or threads race."""
    head = inputs.make_head(shape, torch.bfloat16, device)
    loss = variants.our_loss(head, policy_objective("dapo", entropy_coef=0.01))
    for _ in range(FRESH_INPUTS):
        with torch.no_grad():
            head.leaves[0].normal_()
        first, second = (_loss_and_gradients(loss, head.leaves) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True)), "other bits"
    return {"inputs": FRESH_INPUTS}


def check_no_wait(shape: Shape, device: torch.device) -> dict[str, Any]:
    """Rows on the host and no mask: the host never waits for the device. Counts the launches on the way."""
    head = inputs.make_head(shape, torch.bfloat16, device, inputs.Setting(active=0.5))
    assert head.rows is not None
    rows = head.rows.pin_memory() if device.type == "cuda" else head.rows
    loss = variants.our_loss(head, policy_objective("dapo"), rows=rows)
    _loss_and_gradients(loss, head.leaves)
    with _no_waiting(device):
        start = time.perf_counter()
        loss(*head.leaves).backward()
        host = time.perf_counter() - start
    if device.type == "cuda":
        torch.cuda.synchronize()
    for leaf in head.leaves:
        leaf.grad = None
    return {"host_ms": 1e3 * host, "device_and_host_ms": 1e3 * (time.perf_counter() - start)}


def check_varying_sizes(shape: Shape, device: torch.device) -> dict[str, Any]:
    """Steps whose number of tokens varies: the allocator must not have to free and ask anew."""
    head = inputs.make_head(shape, torch.bfloat16, device)
    objective, random = policy_objective("dapo"), torch.Generator().manual_seed(0)
    before = _retries(device)
    for _ in range(STEPS_OF_VARYING_SIZE):
        N = int(torch.randint(shape[0] // 2, shape[0] + 1, (), generator=random))
        read = {"advantages": head.advantages[:N], "old_logprobs": head.old_logprobs[:N]}
        hidden, weight = head.leaves[0][:N], head.leaves[1]
        loss, _ = linear_objective(
            hidden, weight, head.targets[:N], objective, read, weights=head.weights[:N], entropy=False
        )
        torch.autograd.grad(loss, head.leaves)
    after = _retries(device)
    assert after["retries"] == before["retries"], after
    return {name: after[name] - before[name] for name in after}


def check_graph(shape: Shape, device: torch.device) -> dict[str, Any]:
    """Rows on the device: the call is captured in a CUDA graph, whose replay gives the same loss."""
    head = inputs.make_head(shape, torch.bfloat16, device, inputs.Setting(active=0.5))
    assert head.rows is not None
    loss = variants.our_loss(head, policy_objective("dapo"), rows=head.rows.to(device))
    expected = _loss_and_gradients(loss, head.leaves)
    if device.type != "cuda":
        # The twin: the same call twice, without a graph.
        results = _loss_and_gradients(loss, head.leaves)
    else:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results = _loss_and_gradients(loss, head.leaves)
        graph.replay()
        torch.cuda.synchronize()
    assert all(torch.equal(a, b) for a, b in zip(expected, results, strict=True)), "another result"
    return {"loss": float(results[0])}


def _loss_and_gradients(loss: variants.Loss, leaves: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    value = loss(*leaves)
    return value.detach(), *torch.autograd.grad(value, leaves)


def _no_waiting(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Raises where the host waits for a GPU."""

    @contextlib.contextmanager
    def refusing() -> Iterator[None]:
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")

    return refusing() if device.type == "cuda" else contextlib.nullcontext()


def _retries(device: torch.device) -> dict[str, int]:
    if device.type != "cuda":
        return {"retries": 0, "allocations": 0}
    numbers = torch.cuda.memory_stats(device)
    return {"retries": numbers["num_alloc_retries"], "allocations": numbers["num_device_alloc"]}


CHECKS: dict[str, Callable[[Shape, torch.device], dict[str, Any]]] = {
    "sums": check_sums,
    "fresh-inputs": check_fresh_inputs,
    "no-wait": check_no_wait,
    "varying-sizes": check_varying_sizes,
    "graph": check_graph,
}


@dataclass(frozen=True)
class Check:
    """One of CHECKS."""

    check: str
    shape: Shape
    op = "check"
    interpreted = False

    @property
    def name(self) -> str:
        """Name of the step."""
        return f"check-{self.check}"

    def run(self, timer: Timer) -> Iterator[list[Measurement | Fact]]:
        """One fact: the figures of the check, or why it failed."""
        timer.on_variant(self.name)
        try:
            yield [Fact(self.name, "check", CHECKS[self.check](self.shape, timer.device))]
        # A failed check is a result like any other; the steps behind it must still run.
        except Exception as error:
            yield [Fact(self.name, "check", reason=reason(error))]
        # Raises if the check took the device with it: the next step then gets a new process.
        timer.wait()
