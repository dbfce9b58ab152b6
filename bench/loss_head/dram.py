"""How many bytes five launches of the kernels move, as ncu counts them, beside the least that there are.

    python -m bench.loss_head.dram N V        launches the five, for ncu to look at

Without a GPU the same five launches run under Triton's interpreter, whose loads and stores are counted: they
say what the kernels ask for, where ncu says what the memory delivers.
"""

import csv
import io
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from bench.loss_head import inputs
from bench.loss_head.harness import Timer
from bench.loss_head.launches import Launch, launch
from bench.loss_head.measurement import Fact, Measurement, Shape
from bench.result_files import ROOT

METRICS = {
    "dram__bytes_read.sum": "read",
    "dram__bytes_write.sum": "written",
    "lts__t_sector_hit_rate.pct": "l2_hit_percent",
    "sm__inst_executed.avg.per_cycle_elapsed": "instructions_per_cycle",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "occupancy_percent",
    "launch__registers_per_thread": "registers",
    "gpu__time_duration.sum": "nanoseconds",
}
UNITS = {"Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9, "us": 1e3, "usecond": 1e3, "ms": 1e6, "msecond": 1e6}


class Look(NamedTuple):
    """A launch that is looked at: a kernel of launches.py, with its arguments."""

    kernel: str
    dtype: torch.dtype
    entropy: bool
    narrow: bool = False

    @property
    def words(self) -> str:
        """The launch in words."""
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{self.kernel} {dtype}{' entropy' * self.entropy}{' narrowed' * self.narrow}"


LOOKS = [
    Look("forward", torch.bfloat16, True),
    Look("forward", torch.float32, False),
    Look("backward", torch.bfloat16, True),
    Look("fused", torch.bfloat16, True),
    Look("fused", torch.float32, False, narrow=True),
]


def launches(shape: Shape, device: torch.device) -> Iterator[tuple[Look, Launch]]:
    """The launches of LOOKS, one at a time, as their logits are large."""
    for look in LOOKS:
        logits = inputs.make_logits(shape, look.dtype, device)
        yield look, launch(look.kernel, logits, look.entropy, look.narrow)


def launch_all(shape: Shape) -> None:
    """Launches the five, each between the marks that ncu waits for, after an unmarked run that compiles."""
    for _, one_launch in launches(shape, torch.device("cuda")):
        one_launch.run(None)
        one_launch.restore()
        torch.cuda.synchronize()
        torch.cuda.profiler.start()
        one_launch.run(None)
        torch.cuda.synchronize()
        torch.cuda.profiler.stop()


@dataclass(frozen=True)
class DramBytes:
    """The step: a fact for each launch, or one that says why there is none.

    Attributes:
        seconds: longest time.
    """

    shape: Shape
    seconds: float
    op = "bytes"
    interpreted = True
    name = "bytes-of-five-launches"

    def run(self, timer: Timer) -> Iterator[list[Measurement | Fact]]:
        """Bytes of each launch as multiples of the least."""
        timer.on_variant(self.name)
        if timer.device.type != "cuda":
            yield [self._fact(look, least, moved) for look, least, moved in self._interpreted(timer.device)]
            return
        program = shutil.which("ncu")
        if program is None:
            yield [Fact(self.name, "bytes", reason="ncu: not found on PATH")]
            return
        command = [program, "--csv", "--page", "raw", "--metrics", ",".join(METRICS)]
        # The clocks are left as they are: the lock would need rights, and the machine belongs to others too.
        command += ["--clock-control", "none", "--profile-from-start", "off"]
        command += [sys.executable, "-m", "bench.loss_head.dram", *(str(n) for n in self.shape[:2])]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=self.seconds)
        except subprocess.TimeoutExpired:
            yield [Fact(self.name, "bytes", reason=f"ncu took longer than {self.seconds:.0f} s")]
            return
        rows = [row for row in parse(done.stdout) if {"read", "written"} <= row.keys()]
        if len(rows) != len(LOOKS):
            text = (done.stdout + done.stderr)[-500:]
            reason = f"ncu: expected bytes of {len(LOOKS)} launches, got {len(rows)}: {text}"
            yield [Fact(self.name, "bytes", reason=reason)]
            return
        yield [self._fact(look, self._least(look), values) for look, values in zip(LOOKS, rows, strict=True)]

    def _least(self, look: Look) -> int:
        N, V, _ = self.shape
        wide = N * V * look.dtype.itemsize
        return wide + {"forward": 0}.get(look.kernel, wide // 2 if look.narrow else wide)

    def _fact(self, look: Look, least: int, values: dict[str, Any]) -> Fact:
        moved = values["read"] + values["written"]
        return Fact(self.name, "bytes", {"launch": look.words, "x_least": moved / least} | values)

    def _interpreted(self, device: torch.device) -> Iterator[tuple[Look, int, dict[str, Any]]]:
        for look, one_launch in launches(self.shape, device):
            with_counts = counted(lambda run=one_launch.run: run(None))
            yield look, one_launch.least_bytes, with_counts | {"counted": "loads and stores, interpreted"}


def parse(text: str) -> list[dict[str, float]]:
    """The metrics of each launch, from what ncu prints: lines of its own, column names, units, values."""
    lines = [line for line in text.splitlines() if line.startswith('"')]
    rows = list(csv.DictReader(io.StringIO("\n".join(lines))))
    if not rows:
        return []
    units, *values = rows
    return [
        {
            name: float(row[metric].replace(",", "")) * UNITS.get(units[metric], 1.0)
            for metric, name in METRICS.items()
            # "n/a" where the device does not count it
            if row.get(metric, "n")[:1].isdigit()
        }
        for row in values
    ]


def counted(run: Callable[[], None]) -> dict[str, float]:
    """Bytes that kernels load and store under the interpreter while `run` runs."""
    # Only there under the interpreter.
    from triton.runtime.interpreter import InterpreterBuilder as Builder

    moved: Counter[str] = Counter(read=0, written=0)
    load, store = Builder.create_masked_load, Builder.create_masked_store

    def count(kind: str, pointers: Any, mask: Any) -> None:
        moved[kind] += int(mask.data.sum()) * pointers.get_element_ty().primitive_bitwidth // 8

    def counted_load(builder: Any, pointers: Any, mask: Any, *others: Any) -> Any:
        count("read", pointers, mask)
        return load(builder, pointers, mask, *others)

    def counted_store(builder: Any, pointers: Any, value: Any, mask: Any, *others: Any) -> Any:
        count("written", pointers, mask)
        return store(builder, pointers, value, mask, *others)

    Builder.create_masked_load, Builder.create_masked_store = counted_load, counted_store
    try:
        run()
    finally:
        Builder.create_masked_load, Builder.create_masked_store = load, store
    return dict(moved)


if __name__ == "__main__":
    launch_all((int(sys.argv[1]), int(sys.argv[2]), 0))
