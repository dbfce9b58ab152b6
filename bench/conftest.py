"""Benchmarks run with `pytest --benchmark-only` alone: a plain `pytest` is for the tests."""

import os
from pathlib import Path
from typing import Any

import pytest

# Before torch is imported: its profiler, which counts memory on a CPU, tells stderr of every start and stop.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

HERE = Path(__file__).parent
MEASUREMENTS = pytest.StashKey[list[Any]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--results`."""
    parser.addoption(
        "--results", action="store_true", help="write what bench_loss_head.py measures to bench/results"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects the benchmarks unless they are asked for."""
    if config.getoption("benchmark_only"):
        return
    # A benchmark takes seconds and asserts little.
    benchmarks = [item for item in items if HERE in item.path.parents]
    if benchmarks:
        config.hook.pytest_deselected(items=benchmarks)
        items[:] = [item for item in items if HERE not in item.path.parents]


@pytest.fixture(scope="session")
def loss_head_measurements(pytestconfig: pytest.Config) -> list[Any]:
    """Collects the measurements of bench_loss_head.py."""
    return pytestconfig.stash.setdefault(MEASUREMENTS, [])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Prints the tables of the loss head, and writes the result file if `--results` asks for it."""
    measurements = config.stash.get(MEASUREMENTS, [])
    if not measurements:
        return
    # Every plain `pytest` reads this file, so torch is imported only where there is something to tell.
    import torch

    from bench.loss_head.results import Results, tables
    from bench.result_files import result_path

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # The command as it was typed: rule 11 of CONTRIBUTING wants it beside the numbers.
    results = Results.begin(" ".join(["pytest", *config.invocation_params.args]), device)
    results.measurements = measurements
    terminalreporter.write_line(tables(measurements))
    terminalreporter.write_line(results.signature.get("note", ""))
    if config.getoption("results"):
        path = result_path("loss_head", results.signature)
        results.write(path)
        terminalreporter.write_line(f"written: {path}")
