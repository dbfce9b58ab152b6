"""Every door: run as a module it answers at once, run as a file it says how to be run."""

import resource
from collections.abc import Sequence
from pathlib import Path

import pytest

from dupo.config.catalogue import METHODS
from dupo.config.doors import DOORS
from tests.helpers.project import ROOT, RunPython
from tests.helpers.slow import with_slow
from tests.text.exam.judge import PROBLEMS

HELPS = [(door,) for door in DOORS] + [("train", "--method", method) for method in METHODS]
QUESTIONS = ("--dataset", str(PROBLEMS.relative_to(ROOT)))
# What they print is all that they give.
LISTINGS = [
    ("--help",),
    ("completion", "bash"),
    ("duals", *QUESTIONS),
    ("doctor",),
    ("plan", "--model_name_or_path", "tiny"),
]
ON_FULL_DISK = """
import os, runpy, sys
os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
runpy.run_module("dupo", run_name="__main__")
"""
SECONDS = 0.5  # of CPU, that help may take
# Machines differ, and other tests run beside this one.
MARGIN = 3
# Prints what the door has imported once its help is shown.
SHOW_HELP = """
import runpy, sys
sys.argv = [f"dupo.{sys.argv[1]}", *sys.argv[2:], "--help"]
try:
    runpy.run_module(sys.argv[0], run_name="__main__")
except SystemExit as done:
    assert not done.code, done.code
print(sorted({"torch", "transformers"} & sys.modules.keys()))
"""


@pytest.mark.parametrize("door", DOORS)
def test_a_door_that_is_run_as_a_file_says_how_to_run_it(door: str, run_python: RunPython) -> None:
    done = run_python(f"dupo/{door}.py", "--help")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"run it as a module: python -m dupo.{door}\n"


@pytest.mark.parametrize(
    "words", with_slow(HELPS, quick=(("train",), ("report",), ("train", "--method", "sft"))), ids=" ".join
)
def test_help_imports_neither_torch_nor_transformers(words: Sequence[str], run_python: RunPython) -> None:
    done = run_python("-c", SHOW_HELP, *words)
    assert done.returncode == 0, done.stderr
    *text, imported = done.stdout.splitlines()
    assert imported == "[]"
    assert text[0].startswith(f"usage: python -m dupo.{words[0]}") and done.stderr == ""


@pytest.mark.parametrize("door", with_slow(DOORS, quick=("train", "report")))
def test_help_comes_at_once(door: str, run_python: RunPython) -> None:
    seconds = min(cpu_seconds(run_python, f"dupo.{door}") for _ in range(2))
    assert seconds < MARGIN * SECONDS, f"{seconds:.2f} s of CPU"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
@pytest.mark.parametrize(
    "words",
    with_slow(LISTINGS, quick=(("completion", "bash"), ("duals", *QUESTIONS))),
    ids=" ".join,
)
def test_a_listing_that_is_lost_is_an_error(words: Sequence[str], run_python: RunPython) -> None:
    # Unbuffered streams would hide what is met at the end of a process.
    done = run_python("-c", ON_FULL_DISK, *words, env={"PYTHONUNBUFFERED": None})
    assert (done.returncode, done.stderr) == (1, "error: [Errno 28] No space left on device\n")


def cpu_seconds(run_python: RunPython, module: str) -> float:
    """CPU time that `python -m MODULE --help` takes, with all that Python itself does at its start."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run_python("-m", module, "--help").returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_every_module_at_the_top_that_can_be_run_is_a_door() -> None:
    runnable = [path.stem for path in (ROOT / "dupo").glob("*.py") if "__main__" in path.read_text()]
    assert sorted(runnable) == sorted([*DOORS, "__main__"])
