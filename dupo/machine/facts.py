"""What this machine has, as `dupo doctor` finds it. `dupo/machine/advice.py` judges the facts.

Whatever may be broken is tried in a process of its own: a torch that does not fit the machine may take the
process that imports it along.
"""

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from dupo import __version__
from dupo.machine.optional import OPTIONAL, OTHERS
from dupo.storage.signature import installed_version

PATIENCE = 120  # seconds, for one process that tries something
# What is tried -> arguments of Python. "training" imports what a run imports.
TRIALS: dict[str, tuple[str, ...]] = {
    "torch": ("-m", "dupo.machine.torch_facts"),
    "kernels": ("-m", "dupo.machine.kernel_facts"),
    "training": ("-c", "import dupo.run.training, dupo.methods.dupo, dupo.methods.sft"),
    "extension": ("-c", "from dupo.text import extension; extension.core()"),
    "flash-attn": ("-c", "import flash_attn"),
}


@dataclass(frozen=True)
class Gpu:
    """A GPU that torch sees; `capability` is (major, minor), `memory` is in bytes."""

    name: str
    capability: tuple[int, int]
    memory: int


@dataclass(frozen=True)
class Torch:
    """What torch says of itself, see `dupo/machine/torch_facts.py`.

    Attributes:
        built_for: "CUDA 13.0", "ROCm 6.4" or "the CPU alone".
        threads: that torch computes with where nobody says how many.
        instructions: the vector instructions of the CPU that torch uses.
        gpu_warning: what torch said while it looked for GPUs; "" for nothing.
        has_varlen: whether this torch has attention over packed sequences.
    """

    version: str
    built_for: str
    threads: int
    instructions: str
    gpus: tuple[Gpu, ...] = ()
    gpu_warning: str = ""
    has_varlen: bool = True

    @classmethod
    def of(cls, fields: dict[str, Any]) -> "Torch":
        """Builds it from the JSON of `torch_facts`."""
        gpus = (Gpu(**{**gpu, "capability": tuple(gpu["capability"])}) for gpu in fields["gpus"])
        return cls(**{**fields, "gpus": tuple(gpus)})


@dataclass(frozen=True)
class Kernels:
    """What the kernels serve.

    Attributes:
        compile: Triton is there and compiles for the GPUs of torch.
        are_interpreted: TRITON_INTERPRET is set.
        tuned: architectures with launch settings that were measured on a GPU; 90 is Hopper.
    """

    compile: bool
    are_interpreted: bool = False
    tuned: tuple[int, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What this machine has.

    Attributes:
        cores: CPU cores that this process may use.
        memory: bytes of main memory that this process may use; None: not known.
        has_driver: a driver of NVIDIA is loaded, whatever torch sees.
        has_compiler: a C++ compiler is on the path.
        has_extension: `dupo._C` is built.
        omp_threads: OMP_NUM_THREADS; None: not set.
        requires: package -> the versions that dupo allows.
        versions: package -> installed version, None for a package that is not installed. Of the packages that
            dupo requires, and of optional ones.
        torch, kernels: None where they do not load.
        problems: what was tried and failed (names of `TRIALS`) -> what was said last.
    """

    cores: int
    memory: int | None
    has_driver: bool
    has_compiler: bool
    has_extension: bool
    requires: dict[str, str]
    versions: dict[str, str | None]
    torch: Torch | None
    kernels: Kernels | None
    problems: dict[str, str] = field(default_factory=dict)
    omp_threads: str | None = None
    dupo: str = __version__
    python: str = platform.python_version()
    system: str = f"{platform.system()} {platform.machine()}"


def collect() -> Facts:
    """Looks at the machine; takes as long as importing torch and transformers does."""
    requires = required_packages()
    versions = {name: installed_version(name) for name in [*requires, *OPTIONAL, *OTHERS]}
    has_extension = find_spec("dupo._C") is not None
    absent = {"flash-attn"} if versions["flash-attn"] is None else set[str]()
    absent |= set() if has_extension else {"extension"}
    absent |= set() if versions.get("torch") else {"torch", "kernels", "training"}
    trials = [name for name in TRIALS if name not in absent]
    with ThreadPoolExecutor(len(TRIALS)) as pool:
        results = dict(zip(trials, pool.map(lambda name: run_trial(TRIALS[name]), trials), strict=True))
    torch, kernels = (results.get(name, (None, ""))[0] for name in ("torch", "kernels"))
    return Facts(
        cores=usable_cores(),
        memory=usable_memory(),
        has_driver=Path("/proc/driver/nvidia/version").is_file() or shutil.which("nvidia-smi") is not None,
        has_compiler=any(map(shutil.which, ("c++", "g++", "clang++", "cl"))),
        has_extension=has_extension,
        requires=requires,
        versions=versions,
        torch=Torch.of(torch) if torch else None,
        kernels=Kernels(**{**kernels, "tuned": tuple(kernels["tuned"])}) if kernels else None,
        problems={name: problem for name, (_, problem) in results.items() if problem},
        omp_threads=os.environ.get("OMP_NUM_THREADS"),
    )


def run_trial(arguments: tuple[str, ...]) -> tuple[dict[str, Any] | None, str]:
    """Runs Python with these arguments.

    Returns:
        The JSON object that it printed, None for none; and what it said last if it failed, else "".
    """
    command = [sys.executable, "-W", "ignore", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return None, f"no answer after {PATIENCE} s"
    printed = next((line for line in done.stdout.splitlines() if line.startswith("{")), None)
    facts = json.loads(printed) if printed else None
    if done.returncode == 0:
        return facts, ""
    if done.returncode < 0:
        return facts, f"the process was ended by {signal.Signals(-done.returncode).name}"
    return facts, _error_of(done.stderr) or f"the process ended with code {done.returncode}"


def _error_of(printed: str) -> str:
    """The error of a traceback, its first line; without a traceback the last line, "" for none."""
    lines = [line for line in printed.splitlines() if line.strip()]
    # Frames are indented, and the error follows the last one.
    errors = re.findall(r"^ .*\n(\S.*)", "\n".join(lines), re.MULTILINE)
    return errors[-1] if errors else "".join(lines[-1:])


def required_packages() -> dict[str, str]:
    """Package -> versions that dupo allows on this system: of this checkout, else of the installed dupo."""
    root = Path(__file__).parents[2]
    # Of a checkout, so of the code that runs: the records of an editable install may be older.
    if (root / "kernels" / "VERSION").is_file():
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        texts = project["dependencies"]
    else:
        texts = metadata.requires("dupo") or []
    wanted = [Requirement(text) for text in texts]
    return {r.name: str(r.specifier) for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})}


def usable_cores() -> int:
    """CPU cores that this process may use: of the machine, of its affinity, or of its container."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = (*_limit("cpu.max"), "", "")[:2]
    return min(count, max(1, int(quota) // int(period))) if quota.isdigit() and period.isdigit() else count


def usable_memory() -> int | None:
    """Bytes of main memory that this process may use, of the machine or of its container; None: not known."""
    sizes = []
    if hasattr(os, "sysconf"):
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    sizes += [int(word) for word in _limit("memory.max") if word.isdigit()]
    return min(sizes, default=None)


def _limit(name: str) -> list[str]:
    """The words of a limit of this container; none outside of one, or on another system than Linux."""
    file = Path("/sys/fs/cgroup", name)
    return file.read_text().split() if file.is_file() else []
