"""Which versions of other trainers dupo was compared with, and how: the table of README.md.

    .ci/peers DIRECTORY && . DIRECTORY/variables
    python -m bench.trainer_versions            runs all checks, and writes a file of bench/results
    python -m bench.trainer_versions --write    publishes the newest file in README.md

A check runs ours beside the trainer, or reads a signature from its source. A check that is not as expected
ends the program, and nothing is written.
"""

import json
import os
import re
import subprocess
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement

from bench.loss_head.results import table
from bench.result_files import RESULTS, ROOT, between_markers, newest, result_path, signature, write

THEME = "trainer_versions"
MARKERS = ("<!-- trainers: made by bench.trainer_versions -->", "<!-- end of trainers -->")
COLUMNS = ("trainer", "version", "asks for", "what was compared", "page")
# What two packages in one environment may disagree about.
SHARED = ("torch", "transformers", "trl")
OTHERS = "docs/other_trainers.md"


class Trainer(NamedTuple):
    """A trainer, and where its checks are.

    Attributes:
        folder: its name at `.ci/peers`.
        package: its name on PyPI.
        checks: names of tests/peers; none: the signatures of tests/docs/trainer_stubs.py.
    """

    name: str
    folder: str
    package: str
    what: str
    checks: tuple[str, ...] = ()
    page: str = OTHERS


TRAINERS = (
    Trainer(
        "TRL",
        "trl",
        "trl",
        "all losses that both have; nine trainers with and without the head; training on duals",
        ("trl", "trl_preferences", "trl_divergence", "trl_trainers"),
        "docs/inside_trl.md",
    ),
    Trainer(
        "verl",
        "verl",
        "verl",
        "losses, head, three updates, agent loop, scores, votes",
        ("verl", "verl_plugin"),
        "docs/verl.md",
    ),
    Trainer(
        "Liger",
        "liger",
        "liger-kernel",
        "all losses that both have",
        ("liger", "liger_preferences", "liger_divergence"),
        "docs/loss_head.md",
    ),
    Trainer("AReaL", "areal", "areal", "signatures; a workflow beside stubs"),
    Trainer("SkyRL", "skyrl", "skyrl", "signatures; a loss beside stubs"),
    Trainer("OpenRLHF", "openrlhf", "openrlhf", "an agent, on its own executor", ("others",)),
    Trainer("torchtitan", "torchtitan", "torchtitan", "signatures; a loss beside stubs"),
    Trainer("axolotl", "axolotl", "axolotl", "a plugin of its own class", ("others",)),
    Trainer("ms-swift", "swift", "ms-swift", "signatures; a reward beside stubs"),
)


def folder_of(trainer: Trainer) -> Path:
    """Where the package lies.

    Raises:
        SystemExit: the variable of the folder is not set.
    """
    variable = f"DUPO_PEER_{trainer.folder.upper()}"
    if not os.environ.get(variable):
        raise SystemExit(f"{variable}: expected a folder, got none; .ci/peers says how to make it")
    return Path(os.environ[variable])


def package_of(trainer: Trainer) -> Distribution:
    """The package in its folder."""
    installed = distributions(path=[str(folder_of(trainer))])
    return next(d for d in installed if d.metadata["Name"].lower().replace("_", "-") == trainer.package)


def asks_of(package: Distribution) -> str:
    """What a package asks for of `SHARED`, without extras, as "transformers <5.11,>=5.5.3"."""
    requirements = [Requirement(text) for text in package.requires or []]
    # Markers of extras and of other machines are false here.
    asked = [r for r in requirements if r.specifier and (r.marker is None or r.marker.evaluate())]
    return "; ".join(sorted(f"{r.name} {r.specifier}" for r in asked if r.name in SHARED))


def count_checks(trainer: Trainer) -> int:
    """Runs the checks of a trainer.

    Raises:
        SystemExit: one is not as expected.
    """
    if trainer.checks:
        names = " or ".join(f"[{name}]" for name in trainer.checks)
        arguments = ["tests/peers/test_peers.py", "-k", names]
    else:
        arguments = ["tests/docs/test_other_trainers.py", "-k", f"signature and {trainer.folder}-"]
    command = [sys.executable, "-m", "pytest", "-q", "-rP", "-m", "slow and not full", "-n", "0", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    passed = re.search(r"(\d+) passed", done.stdout)
    if done.returncode or passed is None or "skipped" in done.stdout.splitlines()[-1]:
        raise SystemExit(f"{trainer.name}: expected all checks to pass, got\n{done.stdout[-3000:]}")
    # The checks of several trainers stand in one file of others, by their names.
    name = f" {trainer.folder}" if "others" in trainer.checks else ""
    return done.stdout.count(f"{name}: as expected") or int(passed[1])


def measure(trainer: Trainer) -> dict[str, Any]:
    """A row of the result file."""
    checks = count_checks(trainer)
    package = package_of(trainer)
    row = {"trainer": trainer.name, "version": package.version, "asks_for": asks_of(package)}
    return row | {"checks": checks}


def section(path: Path | None) -> str:
    """What stands between the markers of README.md."""
    if path is None:
        return "Not compared yet."
    result = json.loads(path.read_text(encoding="utf-8"))
    counted = {row["trainer"]: row for row in result["trainers"]}
    lines = []
    for trainer in TRAINERS:
        row = counted[trainer.name]
        page = f"[{Path(trainer.page).stem}]({trainer.page})"
        lines.append([trainer.name, row["version"], row["asks_for"] or "-", trainer.what, page])
    made_by = result["signature"]
    versions = f"torch {made_by['torch']}, transformers {made_by['transformers']}"
    source = f"Made by `{made_by['command']}` on {made_by['date']} ({versions}, CPU)."
    return f"{table(COLUMNS, lines)}\n\n{source}"


def publish(page: str, path: Path | None) -> str:
    """README.md with the table between the markers."""
    return between_markers(page, MARKERS, section(path))


def main(argv: Sequence[str] | None = None) -> None:
    """Compares and writes, or publishes."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="publish the newest result")
    if parser.parse_args(argv).write:
        readme = ROOT / "README.md"
        readme.write_text(publish(readme.read_text(encoding="utf-8"), newest(THEME)), encoding="utf-8")
        return
    made_by = signature("python -m bench.trainer_versions", "torch", "transformers")
    rows = []
    for trainer in TRAINERS:
        rows.append(measure(trainer))
        print(json.dumps(rows[-1]), flush=True)
    write(result_path(THEME, made_by, RESULTS), {"signature": made_by, "trainers": rows})


if __name__ == "__main__":
    main()
