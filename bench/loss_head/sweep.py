"""Which configuration of the kernels is fastest on this device: rows for dupo_kernels/logits/launch_table.py.

Each candidate is handed to the launcher that everybody uses, and its result compared with float64. The best
of those that are right goes to launch_table.json in the folder of the run, for each vocabulary, type and
architecture, with the share of a copy that it reached beside that of the present choice; launch_table.txt has
the same as lines of TABLE.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench.loss_head import comparisons, inputs, truth, variants
from bench.loss_head.harness import Call, Comparison, Result, Timer
from bench.loss_head.launches import Launch, fused_objective, launch
from bench.loss_head.measurement import Measurement, Shape
from bench.result_files import write
from dupo_kernels.logits.launch_table import Config, can_serve

TABLE, LINES = "launch_table.json", "launch_table.txt"
COPY = "copy, one read and one write"
PRESENT = "ours, as it is chosen now"
# Logits that a thread of the held kernel keeps: with more the compiler spills, with fewer threads idle.
HELD = (4, 64)


def candidates(kernel: str, V: int, tiny: bool) -> list[Config]:
    """What is tried, the likeliest first: time may run out."""
    if tiny:
        configs = [Config("looped", 1, 2), Config("persistent", 2, 2), Config("held", 1, ctas=4)]
    else:
        configs = [Config("looped", warps, steps) for warps in (8, 4, 16) for steps in (4, 2, 8)]
        configs += [Config("persistent", 8, 4, programs=programs) for programs in (4, 2, 8)]
        configs += [Config("held", warps, ctas=ctas) for ctas in (8, 16, 4) for warps in (16, 8, 32)]
    if kernel != "fused":
        return [config for config in configs if config.variant == "looped"]
    return [
        config
        for config in configs
        if config.variant != "held" or HELD[0] <= V / (32 * config.warps * config.ctas) <= HELD[1]
    ]


def name_of(config: Config) -> str:
    """The configuration in words."""
    size = f"{config.ctas} ctas" if config.variant == "held" else f"{config.steps} steps"
    programs = f", {config.programs} programs" if config.variant == "persistent" else ""
    return f"ours, {config.variant}, {config.warps} warps, {size}{programs}"


@dataclass(frozen=True)
class Sweep:
    """All candidates of a kernel at one vocabulary and type.

    Attributes:
        kernel: forward or fused.
        dtype: of the logits; float32 logits get bf16 dlogits, as in a linear head.
    """

    kernel: str
    shape: Shape
    dtype: str
    tiny: bool = False
    op = "sweep"
    # Its kernels have no other twin on a CPU.
    interpreted = True

    @property
    def name(self) -> str:
        """Name of the step."""
        return f"sweep-{self.kernel}-{'x'.join(str(n) for n in self.shape if n)}-{self.dtype}"

    def run(self, timer: Timer) -> Iterator[list[Measurement]]:
        """The measurements of the candidates; adds the fastest to the table in the folder of the run."""
        dtype = getattr(torch, self.dtype)
        logits = inputs.make_logits(self.shape, dtype, timer.device)
        chosen = launch(self.kernel, logits, entropy=True, narrow=dtype == torch.float32)
        case = comparisons.case_of("sweep", self.kernel, self.kernel != "forward", self.shape, dtype)
        comparison = Comparison(case, chosen.least_bytes, "GB/s", COPY, self._errors(logits))
        copied = partial(variants.bare_copy, logits, False) if self.kernel == "forward" else None
        comparison.add(COPY, variants.without_result, copied or partial(_copy_of, chosen, logits))
        # A launcher answers a configuration that cannot serve these rows with the one of the table.
        configs = [
            config
            for config in candidates(self.kernel, self.shape[1], self.tiny)
            if can_serve(config, logits.leaves[0], logits.leaves[0])
        ]
        comparison.variants[PRESENT] = partial(_call, chosen, None)
        for config in configs:
            comparison.variants[name_of(config)] = partial(_call, chosen, config)
        # One launch each: the host's clock says nothing that is not known.
        measurements = replace(timer, wall=False).measure(comparison)
        yield measurements
        if timer.folder is not None:
            by_name = {name_of(config): config for config in configs}
            add_to_table(timer.folder / TABLE, self._row(measurements, by_name, timer.device))

    def _errors(self, logits: inputs.LogitsInputs) -> truth.ErrorsOf:
        if self.kernel == "forward":
            return truth.logits_errors(logits, entropy=True)
        slopes = truth.objective_slopes(logits, truth.logits_sums(logits), fused_objective(entropy=True))
        return truth.logits_errors(logits, True, slopes)

    def _row(
        self, measurements: list[Measurement], by_name: dict[str, Config], device: torch.device
    ) -> dict[str, Any]:
        """The row of the table; without a config where nothing was measured."""
        present = next((m for m in measurements if m.variant == PRESENT), None)
        timed = [
            m
            for m in measurements
            if m.seconds is not None and m.variant in by_name and present and _is_as_right(m, present)
        ]
        on_gpu = device.type == "cuda"
        row = {
            "kernel": self.kernel,
            "architecture": architecture(device),
            "V": self.shape[1],
            "itemsize": getattr(torch, self.dtype).itemsize,
            "measured_on": torch.cuda.get_device_name(device) if on_gpu else "interpreter, not a GPU",
            "present_share": present.share if present else None,
        }
        if timed:
            best = min(timed, key=lambda m: m.seconds or 0.0)
            row |= {"config": by_name[best.variant]._asdict(), "share": best.share}
        return row


def architecture(device: torch.device) -> int:
    """The compute capability as a number, 90 for 9.0; 0 on a CPU."""
    if device.type != "cuda":
        return 0
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor


def add_to_table(path: Path, row: dict[str, Any]) -> None:
    """Adds a row to the table, in the place of an older row of the same kernel, V, type and architecture."""
    keys = ("kernel", "architecture", "V", "itemsize")
    rows = json.loads(path.read_text())["rows"] if path.is_file() else []
    rows = [*(other for other in rows if any(other[key] != row[key] for key in keys)), row]
    write(path, {"rows": rows})
    path.with_name(LINES).write_text(lines_of_table(rows), encoding="utf-8")


def lines_of_table(rows: list[dict[str, Any]]) -> str:
    """The rows of the fused kernel as lines of TABLE in launch_table.py.

    What was measured at a V serves shorter rows, down to the next V that was measured.
    """
    measured = [row for row in rows if row["kernel"] == "fused" and "config" in row]
    lines, before = [], None
    for row in sorted(measured, key=lambda row: (row["architecture"], row["itemsize"], row["V"])):
        kind = row["architecture"], row["itemsize"]
        from_V = before[1] + 1 if before and before[0] == kind else 0
        arguments = ", ".join(f"{name}={value!r}" for name, value in row["config"].items())
        lines.append(f"Entry({kind[0]}, {kind[1]}, {from_V}, Config({arguments})),  # at {row['V']}")
        before = kind, row["V"]
    return "\n".join([f"# {measured[0]['measured_on']}", *lines, ""]) if measured else ""


def _is_as_right(m: Measurement, present: Measurement) -> bool:
    """Whether the error is at most twice that of the present choice; NaN is not."""
    return bool(present.errors) and all(
        m.errors.get(name, math.nan) <= 2 * error for name, error in present.errors.items()
    )


def _call(chosen: Launch, config: Config | None) -> Call:
    def run() -> Result:
        chosen.run(config)
        return chosen.result

    return Call(run, chosen.restore)


def _copy_of(chosen: Launch, logits: inputs.LogitsInputs) -> Callable[[], None]:
    """Moves as many bytes as the kernel must: half of them read, half of them written."""
    source = logits.leaves[0].detach().view(torch.uint8).flatten()[: chosen.least_bytes // 2]
    copy = torch.empty_like(source)

    def run() -> None:
        copy.copy_(source)

    return run
