"""Result files of all benchmarks: what produced a file, what its name is, and where it lies.

    bench/results/<theme>_<gpu or cpu>_<YYYYMMDD>_<sha>.json

The newest file of a theme is kept in the folder; older files are in git. This module imports no torch,
because `bench.default_run` must stay a small process.
"""

import json
import os
import platform
import re
from datetime import date
from pathlib import Path
from typing import Any

from dupo.storage.files import write_atomic
from dupo.storage.signature import git_revision, package_versions

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"


def signature(
    command: str, *packages: str, device: str | None = None, revision: str | None = None
) -> dict[str, Any]:
    """Returns the fields that stand at the top of a result file.

    Args:
        command: the command line that made the file.
        packages: packages whose versions are recorded.
        device: name of the GPU; None: the CPU.
        revision: git revision of the source; None: that of the checkout.
    """
    return {
        "command": command,
        "git": revision or git_revision(ROOT / "pyproject.toml"),
        "date": date.today().isoformat(),
        "device": device or f"CPU, {os.cpu_count()} cores",
        "python": platform.python_version(),
        **package_versions(*packages),
    }


def result_path(theme: str, made_by: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Returns where the result file of a theme lies, by the signature `made_by` of its content."""
    # "CPU, 2 cores" becomes cpu, "NVIDIA H200" becomes h200: files of one GPU sort together.
    device = made_by["device"].lower().removeprefix("nvidia ").partition(", ")[0]
    words = (theme, device, made_by["date"].replace("-", ""), made_by["git"])
    # A GPU's name holds spaces, a dirty revision a plus sign: neither belongs into a file name.
    return folder / ("_".join(re.sub(r"[^A-Za-z0-9_]+", "-", word).strip("-") for word in words) + ".json")


def newest(theme: str, folder: Path = RESULTS) -> Path | None:
    """Returns the newest result file of a theme; None: there is none."""
    # The date stands in the name, so the newest file sorts last.
    return max(folder.glob(f"{theme}_*.json"), default=None)


def between_markers(page: str, markers: tuple[str, str], *paragraphs: str) -> str:
    """Returns a page with other paragraphs between its two markers; what is outside is written by hand."""
    before, after = page.split(markers[0])[0], page.split(markers[1])[1]
    return before + "\n\n".join([markers[0], *paragraphs, markers[1]]) + after


def write(path: Path, content: dict[str, Any]) -> None:
    """Replaces a result file in one step: a reader sees the old file or the new file, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, (json.dumps(content, indent=1) + "\n").encode())
