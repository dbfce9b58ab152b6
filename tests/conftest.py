"""What every test may rely on: no network, one thread, the same examples in every run, and these fixtures."""

import gc
import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from pathlib import Path

import pytest
from hypothesis import settings

from tests.helpers.project import ROOT, RunPython

# Before torch is imported, and inherited by the processes that tests start. One thread: the tensors are
# small, and a sum split over another number of threads has other last bits.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Or torch's profiler tells stderr of every start and stop.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

settings.register_profile("dupo", deadline=None, derandomize=True)
settings.load_profile("dupo")


@pytest.hookimpl(tryfirst=True)  # xdist reads the options in a hook of the same name
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Spreads the quick tests over all cores, if they all run.

    One process serves what a start of workers would only delay or distort: a file, a room, benchmarks, the
    slow tests (some measure time or memory), a debugger. `-n` with a number decides otherwise.
    """
    options = config.option
    # A worker comes here as well, and must start no workers of its own.
    if "PYTEST_XDIST_WORKER" in os.environ or not config.pluginmanager.hasplugin("xdist"):
        return
    whole = ROOT / "tests" in {Path(argument).absolute() for argument in config.args}
    alone = options.benchmark_only or options.markexpr != "not slow" or options.trace
    alone = alone or options.capture == "no" or options.collectonly
    if whole and not alone and options.numprocesses is None:
        # worksteal keeps neighbours together, so few fixtures of a file or a room are made twice.
        options.numprocesses, options.dist = "auto", "worksteal"


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Leaves a built-in task 1,000 training problems in the quick tests, and speeds up the collection.

    Every start makes, checks and hashes all problems: 20,000 took half of the time of a tiny run. The slow
    tests have 20,000. Modules and tests are many objects that stay: the garbage collector, which frees none
    of them, took a third of the time.
    """
    gc.disable()
    # With xdist the workers alone make tests, and modules of tests make tasks when they are collected.
    if session.config.option.markexpr == "not slow" and not session.config.option.numprocesses:
        from dupo.tasks import generated  # imports torch, which must find the variables above

        generated.TRAIN_SIZE = 1_000
    collected = yield
    gc.freeze()
    gc.enable()
    return collected


def pytest_sessionfinish() -> None:
    """Libraries complain of what is left at the end."""
    gc.unfreeze()


@pytest.hookimpl(trylast=True)  # after the tests that -m leaves out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves every DUPO_EVERY-th test of those that were chosen; see tests/kernels/test_interpreted.py."""
    every = int(os.environ.get("DUPO_EVERY", "1"))
    if every > 1:
        config.hook.pytest_deselected(items=[item for place, item in enumerate(items) if place % every])
        items[:] = items[::every]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real data that stands beside the repository on some machines."""
    path = ROOT.parent / "shared/data"
    if not path.is_dir():
        pytest.skip("no shared/data beside the repository")
    return path


@pytest.fixture(scope="session")
def run_python() -> RunPython:
    """Runs `python ARGS` in a process of its own that finds the packages, installed or not.

    `env` adds variables to the present ones; None takes one away. The result is not checked.
    """

    def run(
        *args: str, env: Mapping[str, str | None] | None = None, cwd: Path = ROOT, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        changed = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")]), **(env or {})}
        variables = {name: value for name, value in {**os.environ, **changed}.items() if value is not None}
        return subprocess.run(
            [sys.executable, *args], env=variables, cwd=cwd, timeout=timeout, capture_output=True, text=True
        )

    return run
