"""The state of the device beside the times: clocks, power, temperature, and why clocks are held back.

Times of a GPU mean little without these: a card that is hot or capped runs the same kernel slower. Nothing
here changes a setting of the device.
"""

import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.loss_head import comparisons, inputs, variants
from bench.loss_head.harness import Timer, reason
from bench.loss_head.measurement import Fact, Measurement, Shape

QUERY = ["clocks.sm", "clocks.mem", "power.draw", "temperature.gpu"]
# What newer drivers call the reasons, and what older ones do.
HELD_BACK = ["clocks_event_reasons.active", "clocks_throttle_reasons.active"]
FIELDS = ["sm_mhz", "memory_mhz", "watts", "celsius", "held_back"]
# Bits of the last field (NVML); 0x1, an idle GPU, is no reason.
REASONS = {
    0x2: "application clocks",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "hot, software",
    0x40: "hot, hardware",
    0x80: "power brake",
}
SAMPLE_SECONDS = 0.2
QUERY_SECONDS = 10.0
QUEUED = 8  # products


def clocks(device: torch.device) -> dict[str, Any]:
    """The fields by name; on a CPU its clock and the load. What cannot be read is left out.

    Raises:
        LookupError: a GPU, and no nvidia-smi.
        subprocess.SubprocessError: nvidia-smi failed or hung.
    """
    if device.type != "cuda":
        return _cpu_clocks()
    program = shutil.which("nvidia-smi")
    if program is None:
        raise LookupError("nvidia-smi: not found on PATH")
    options = [f"--id={torch.cuda.current_device()}", "--format=csv,noheader,nounits"]
    for name in HELD_BACK:
        command = [program, *options, f"--query-gpu={','.join([*QUERY, name])}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_SECONDS)
        if done.returncode == 0:
            return parse_clocks(done.stdout)
    raise LookupError(f"nvidia-smi: {(done.stdout + done.stderr).strip()}")


def parse_clocks(line: str) -> dict[str, Any]:
    """The fields of a line of nvidia-smi."""
    values: dict[str, Any] = {}
    for name, text in zip(FIELDS, line.strip().split(", "), strict=True):
        # "[N/A]" or "[Not Supported]": the driver does not tell.
        if text.startswith("["):
            continue
        if name == "held_back":
            bits = int(text, 16)
            values[name] = [words for bit, words in REASONS.items() if bits & bit]
        else:
            values[name] = float(text)
    return values


def clock_fact(step: str, device: torch.device, when: str) -> Fact:
    """The clocks before or after a step; a reason where they cannot be read."""
    try:
        return Fact(step, f"clocks {when}", clocks(device))
    except (LookupError, OSError, ValueError, subprocess.SubprocessError) as error:
        return Fact(step, f"clocks {when}", reason=reason(error))


def _cpu_clocks() -> dict[str, Any]:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    speeds = [float(line.split(":")[1]) for line in lines if line.startswith("cpu MHz")]
    load = Path("/proc/loadavg")
    values: dict[str, Any] = {"load": float(load.read_text().split()[0])} if load.is_file() else {}
    return values | ({"cpu_mhz": statistics.median(speeds)} if speeds else {})


@dataclass(frozen=True)
class Sustained:
    """A product in a row for seconds: the rate at the start and at the end, with clocks and power meanwhile.

    Attributes:
        wide: the product is written in float32.
    """

    shape: Shape
    wide: bool
    seconds: float
    op = "sustained"
    interpreted = False

    @property
    def name(self) -> str:
        """Name of the step."""
        return f"sustained-gemm-{'float32' if self.wide else 'bfloat16'}"

    def run(self, timer: Timer) -> Iterator[list[Measurement | Fact]]:
        """One fact: rates in TFLOP/s and clocks."""
        head = inputs.make_head(self.shape, torch.bfloat16, timer.device)
        hidden_NH, weight_HV = head.plain[0], head.plain[1].t()
        case = comparisons.case_of("gemm", "sustained", False, self.shape, torch.bfloat16)
        timer.on_variant(case.setting)
        out_dtype = torch.float32 if self.wide else None
        flop, rates, samples = 2 * self.shape[0] * self.shape[1] * self.shape[2], list[float](), []
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            start, runs = time.perf_counter(), 0
            while time.perf_counter() < start + SAMPLE_SECONDS:
                # A few at a time are queued, so that the clock of the host bounds them.
                for _ in range(QUEUED):
                    variants.product(hidden_NH, weight_HV, out_dtype)
                timer.wait()
                runs += QUEUED
            rates.append(flop * runs / (time.perf_counter() - start) / 1e12)
            # Read while the queue holds work, and not timed: an idle GPU lowers its clocks at once.
            for _ in range(QUEUED):
                variants.product(hidden_NH, weight_HV, out_dtype)
            samples.append(clocks(timer.device))
            timer.wait()
        values: dict[str, Any] = {"first_tflops": rates[0], "last_tflops": rates[-1]}
        for name in samples[0]:
            column = [sample[name] for sample in samples if name in sample]
            if name == "held_back":
                values[name] = sorted({words for words_of in column for words in words_of})
            else:
                values[name] = [min(column), statistics.median(column), max(column)]
        yield [Fact(self.name, "sustained", values)]
