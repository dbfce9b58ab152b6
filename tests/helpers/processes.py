"""Programs in processes of their own, which a test stops, kills or disturbs while they run."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.helpers.project import ROOT

# Streams are buffered, as on a user's machine: what is lost is met at the end of a process.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
ENVIRONMENT |= {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")])}
PATIENCE = 300  # seconds; a loaded machine takes longest to start a program

# Owns a folder until it is killed; needs neither torch nor a model.
OWNER = """
import sys, time
from pathlib import Path
from dupo.storage.lock import own
own(Path(sys.argv[1]))
print("owned", flush=True)
time.sleep(600)
"""


def started(program: str, *options: str, **how: Any) -> subprocess.Popen[str]:
    """Starts `python -m dupo.PROGRAM`, with both outputs in pipes unless `how` says otherwise."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-W", "ignore", "-m", f"dupo.{program}", *options]
    return subprocess.Popen(command, text=True, env=ENVIRONMENT, **{**pipes, **how})


def owner(folder: Path) -> subprocess.Popen[str]:
    """Starts a process that owns a folder, and waits until it does; fails where it may not."""
    command = [sys.executable, "-c", OWNER, str(folder)]
    process = subprocess.Popen(command, text=True, env=ENVIRONMENT, stdout=subprocess.PIPE)
    assert process.stdout
    if process.stdout.readline() != "owned\n":
        process.communicate()
        raise AssertionError(f"{folder} was not owned")
    return process


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Waits until something has happened; fails if the process ends before."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def has_lines(file: Path, count: int = 1) -> Callable[[], bool]:
    """Whether a file has so many lines."""
    return lambda: file.is_file() and file.read_bytes().count(b"\n") >= count


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, the lock too, with its content."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
