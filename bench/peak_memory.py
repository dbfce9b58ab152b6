"""The largest memory of a process, as the operating system counted it."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.result_files import ROOT


def peak_bytes(usage: resource.struct_rusage) -> int:
    """Returns the largest resident size so far, in bytes."""
    # The unit of ru_maxrss is bytes on macOS and KiB on Linux.
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def added_bytes(run: Callable[[], object]) -> int:
    """Returns the resident bytes at the peak of `run` above those before it; needs Linux.

    In a process that did the same before, memory that was kept since hides what the run needs.
    """
    # 5 sets the peak back to what is resident now.
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    run()
    return _resident("VmHWM") - before


def in_fresh_process(module: str, cell: Any, **variables: str) -> int:
    """Returns the last number that `python -m MODULE --cell CELL` prints, on one thread.

    Args:
        cell: what is measured, as JSON holds it.
        variables: of the environment, beside those of this process.

    Raises:
        CalledProcessError: the process failed.
    """
    command = [sys.executable, "-m", module, "--cell", json.dumps(cell)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout.split()[-1])


def _resident(name: str) -> int:
    """Bytes that the system counts under that name: VmRSS now, VmHWM at the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return int(values[name].split()[0]) * 1024
