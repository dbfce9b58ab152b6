"""A copy of the packages, for tests that add a file to them."""

import os
import shutil
from pathlib import Path

from tests.helpers.project import ROOT

CATALOGUE = "dupo/config/catalogue.py"


def copy_packages(folder: Path) -> dict[str, str | None]:
    """Copies dupo and dupo_kernels into `folder`; returns the environment in which Python imports them."""
    # Compiled files are copied too, so that Python does not compile everything again.
    for name in ("dupo", "kernels"):
        shutil.copytree(ROOT / name, folder / name)
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(folder / "kernels")])}


def add_catalogue_line(folder: Path, list_name: str, line: str) -> None:
    """Puts a line first into a list of the copied catalogue: TASKS or REWARDS."""
    path = folder / CATALOGUE
    source = path.read_text(encoding="utf-8")
    (head,) = [row for row in source.splitlines() if row.startswith(f"{list_name}: dict[")]
    path.write_text(source.replace(head, f"{head}\n    {line}"), encoding="utf-8")
