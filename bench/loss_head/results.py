"""The result file of the loss head (signature, measurements, facts, what was left out), and its tables."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import torch

from bench.loss_head import peers
from bench.loss_head.measurement import Fact, Measurement
from bench.result_files import signature, write
from dupo import __version__
from dupo_kernels.hidden.gemm import multiplies_halves

COLUMNS = ("variant", "ms (quartiles)", "wall ms", "rate", "x floor (share)", "peak extra, MiB", "error")


@dataclass
class Results:
    """What a result file of the loss head holds.

    Attributes:
        signature: what produced the measurements; "note" says what a CPU cannot tell.
        left_out: names of the steps for which there was no time.
        facts: what steps said beside measurements.
    """

    signature: dict[str, Any]
    measurements: list[Measurement] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)

    @classmethod
    def begin(cls, command: str, device: torch.device, revision: str | None = None) -> Self:
        """Results without a measurement; see `bench.result_files.signature`."""
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else None
        made_by = signature(command, "torch", "triton", device=name, revision=revision)
        made_by |= {"threads": torch.get_num_threads(), "dupo": __version__, "peers": peers.versions()}
        if device.type == "cuda":
            memory = torch.cuda.get_device_properties(device).total_memory
            made_by |= {"cuda": torch.version.cuda, "memory_bytes": memory}
        else:
            # In the file itself, so that nobody takes the times for those of the kernels.
            made_by["instructions"] = instructions()
            made_by["note"] = (
                f"times of the torch path on a CPU ({instructions()}); figures of the kernels need a GPU"
            )
        return cls(made_by)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The content of a result file."""
        content = json.loads(path.read_text(encoding="utf-8"))
        measurements = [Measurement.from_json(row) for row in content["rows"]]
        # Files of before the GPU run came in parts have no facts.
        facts = [Fact(**row) for row in content.get("facts", [])]
        return cls(content["signature"], measurements, content["left_out"], facts)

    def write(self, path: Path) -> None:
        """Replaces the result file in one step."""
        rows = [measurement.to_json() for measurement in self.measurements]
        content = {"signature": self.signature, "left_out": self.left_out, "rows": rows}
        write(path, content | {"facts": [asdict(fact) for fact in self.facts]})

    def add(self, other: Self) -> None:
        """Adds what another file of the same machine holds."""
        self.measurements += other.measurements
        self.left_out += other.left_out
        self.facts += other.facts


def instructions() -> str:
    """What the times of a CPU depend on: its vectors, and whether it multiplies halves by itself."""
    halves = {"bf16": torch.bfloat16, "fp16": torch.float16}
    has = {name: "with" if multiplies_halves("cpu", dtype) else "without" for name, dtype in halves.items()}
    vectors = torch.backends.cpu.get_cpu_capability()
    return ", ".join([vectors, *(f"{word} {name} instructions" for name, word in has.items())])


def tables(measurements: Iterable[Measurement]) -> str:
    """A table for each case, legible as text and as markdown."""
    texts = []
    # Measurements of one comparison stand together.
    for case, group in groupby(measurements, key=lambda m: m.case):
        texts.append(f"**{case.title}**\n\n{table(COLUMNS, [cells(m) for m in group])}")
    return "\n\n".join(texts)


def table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A markdown table whose columns are aligned."""
    widths = [max(map(len, column)) for column in zip(columns, *lines, strict=True)]
    rule = ["-" * width for width in widths]
    padded = [[x.ljust(w) for x, w in zip(line, widths, strict=True)] for line in (columns, rule, *lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def cells(m: Measurement) -> list[str]:
    """The line of a measurement, under COLUMNS."""
    milliseconds = wall = rate = times_floor = peak = ""
    if m.seconds is not None and m.q1 is not None and m.q3 is not None:
        milliseconds = f"{1e3 * m.seconds:.2f} ({1e3 * m.q1:.2f}-{1e3 * m.q3:.2f})"
        rate = f"{m.rate:.3g} {m.unit}"
    if m.wall_seconds is not None:
        wall = f"{1e3 * m.wall_seconds:.2f}"
    if m.times_floor is not None and m.share is not None:
        times_floor = f"{m.times_floor:.2f} ({m.share:.0%})"
    if m.peak_bytes is not None:
        peak = f"{m.peak_bytes / 2**20:.1f}"
    return [m.variant, milliseconds, wall, rate, times_floor, peak, m.reason or m.error_text]
