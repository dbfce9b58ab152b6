"""Compiles what the sweep will launch, on all cores and without a GPU, into Triton's cache on disk.

A launcher runs on meta tensors against a driver that only names its GPU; what it would launch is compiled as
on that GPU, and the sweep finds it in the cache. TRITON_CACHE_DIR says where the cache is: another machine of
the same Triton may fill it, and it may be carried.
"""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import torch

from bench.loss_head.harness import Timer, reason
from bench.loss_head.inputs import LogitsInputs, Setting
from bench.loss_head.launches import launch
from bench.loss_head.measurement import Fact, Measurement
from bench.loss_head.sweep import architecture, candidates
from dupo_kernels.logits.launch_table import Config

ROWS = 4
WITHOUT_GPU = 90  # the architecture that is compiled for where there is no GPU
PATIENCE = 45.0  # seconds


@dataclass(frozen=True)
class CompileAhead:
    """The step: one fact, how many launches were compiled and how long that took.

    Attributes:
        vocabularies: those of the sweep.
    """

    vocabularies: tuple[int, ...]
    tiny: bool
    op = "compile"
    interpreted = False
    name = "compile-ahead"

    def run(self, timer: Timer) -> Iterator[list[Measurement | Fact]]:
        """Compiles each candidate of the sweep, with what does not fit into the time left out."""
        timer.on_variant(self.name)
        target = architecture(timer.device) or WITHOUT_GPU
        # A looped kernel is the same for any V in whole words; a held one is of its V.
        tasks = list(
            dict.fromkeys(
                (kernel, V if config.variant == "held" else self.vocabularies[0], dtype, config, target)
                for kernel in ("fused", "forward")
                for V in self.vocabularies
                for dtype in ("bfloat16", "float32")
                for config in candidates(kernel, V, self.tiny)
            )
        )
        start, errors, compiled = time.monotonic(), list[str](), 0
        # Fresh processes: the driver of this one belongs to the real device.
        workers = min(len(tasks), len(os.sched_getaffinity(0)))
        pool = ProcessPoolExecutor(workers, get_context("spawn"))
        futures = [pool.submit(compile_launch, *task) for task in tasks]
        try:
            for future in as_completed(futures, timeout=max(1.0, min(PATIENCE, timer.end - start))):
                error = future.exception()
                compiled += error is None
                errors += [reason(error)] if error else []
        except TimeoutError:
            errors.append(f"took longer than {PATIENCE:.0f} s")
        # A launch that is being compiled is not waited for; those that were not begun are given up.
        pool.shutdown(wait=False, cancel_futures=True)
        values: dict[str, Any] = {"launches": compiled, "of": len(tasks), "architecture": target}
        values["seconds"] = time.monotonic() - start
        yield [Fact(self.name, "compile", values, "; ".join(sorted(set(errors))) or None)]


class NamedGpu:
    """A driver that says which GPU it is for and can do nothing on it; the names are Triton's."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def get_current_device(self) -> int:
        """The only device."""
        return 0

    def get_current_stream(self, device: int | None = None) -> int:
        """No stream."""
        return 0

    def get_current_target(self) -> Any:
        """What is compiled for."""
        return self.target

    def get_active_torch_device(self) -> torch.device:
        """Where tensors without contents are."""
        return torch.device("meta")


def compile_launch(kernel: str, V: int, dtype: str, config: Config, target: int) -> None:
    """Compiles what the launcher of the kernel would launch; to be called in a process of its own."""
    # Only here: the parts of a run are listed on machines without Triton too.
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    driver.set_active(NamedGpu(GPUTarget("cuda", target, 32)))
    launched = JITFunction.run

    def compiled(self: Any, *arguments: Any, grid: Any, warmup: bool, **named: Any) -> Any:
        return launched(self, *arguments, grid=grid, warmup=True, **named)

    JITFunction.run = compiled  # type: ignore[method-assign]
    wide = getattr(torch, dtype)

    def column(of: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.empty(ROWS, dtype=of, device="meta")

    logits_NV = torch.empty(ROWS, V, dtype=wide, device="meta")
    inputs = LogitsInputs(
        Setting(), (logits_NV,), column(torch.int64), 1, column(), column(), column(), column(),
        (column(), column()),
    )  # fmt: skip
    launch(kernel, inputs, entropy=True, narrow=wide == torch.float32).run(config)
