"""What a result file holds: what produced it, a row for each variant, and the steps that were left out."""

import json
import os
import platform
import re
from collections.abc import Iterable, Sequence
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from bench.loss_head import peers
from dupo import __version__
from dupo.storage.files import write_atomic
from dupo.storage.signature import git_revision, package_versions

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results"
Row = dict[str, Any]
NAMED = ("op", "setting", "pass", "shape", "dtype")
COLUMNS = ("variant", "ms (quartiles)", "rate", "x floor", "peak extra, MiB", "error")


def begun(command: str, device: torch.device, revision: str | None = None) -> dict[str, Any]:
    """A file without rows. revision: of the source, where it is not in a checkout."""
    signature = {
        "command": command,
        "git": revision or git_revision(ROOT / "pyproject.toml"),
        "date": date.today().isoformat(),
        "device": device_name(device),
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }
    signature |= {"dupo": __version__, **package_versions("torch", "triton")}
    signature["peers"] = peers.versions()
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        signature |= {"cuda": torch.version.cuda, "memory_bytes": found.total_memory}
    else:
        signature["note"] = "times of the torch path on a CPU; figures of the kernels need a GPU"
    return {"signature": signature, "left_out": [], "rows": []}


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {os.cpu_count()} cores"


def file_name(signature: dict[str, Any]) -> str:
    """loss_head_<gpu or cpu>_<YYYYMMDD>_<sha>.json"""
    device = "cpu" if "note" in signature else signature["device"].lower().removeprefix("nvidia ")
    parts = [device, signature["date"].replace("-", ""), signature["git"]]
    return (
        "_".join(["loss_head", *(re.sub(r"[^A-Za-z0-9]+", "-", part).strip("-") for part in parts)]) + ".json"
    )


def write(path: Path, content: dict[str, Any]) -> None:
    """All of it or the old file, whenever we are killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, (json.dumps(content, indent=1) + "\n").encode())


def tables(rows: Iterable[Row]) -> str:
    """A table for each group, legible as text and as markdown."""
    parts = []
    for _, found in groupby(rows, key=lambda row: [row[name] for name in NAMED]):
        group = list(found)
        parts.append(f"**{title(group[0])}**\n\n{table(COLUMNS, [cells(row) for row in group])}")
    return "\n\n".join(parts)


def table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(columns, *lines, strict=True)]
    rule = ["-" * width for width in widths]
    padded = [[x.ljust(w) for x, w in zip(line, widths, strict=True)] for line in (columns, rule, *lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def title(row: Row) -> str:
    return f"{row['op']} ({row['setting']}), {row['pass']}, {size(row)}, {row['dtype']}"


def size(row: Row) -> str:
    return ", ".join(f"{letter}={n}" for letter, n in zip("NVH", row["shape"], strict=True) if n)


def cells(row: Row) -> list[str]:
    found = [row["variant"], "", "", "", "", row["reason"] or errors(row)]
    if "seconds" in row:
        middle, low, high = (1e3 * row[key] for key in ("seconds", "q1", "q3"))
        found[1] = f"{middle:.2f} ({low:.2f}-{high:.2f})"
        found[2] = f"{row['rate']:.3g} {row['unit']}"
        found[3] = f"{row['times_floor']:.2f}" if "times_floor" in row else ""
    if "peak_bytes" in row:
        found[4] = f"{row['peak_bytes'] / 2**20:.1f}"
    return found


def errors(row: Row) -> str:
    return ", ".join(f"{what} {error:.1e}" for what, error in row.get("errors", {}).items())
