"""Benchmarks run with `pytest --benchmark-only` and never else: a plain `pytest` is for the tests."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("benchmark_only"):
        return
    benchmarks = [item for item in items if HERE in item.path.parents]
    if benchmarks:
        config.hook.pytest_deselected(items=benchmarks)
        items[:] = [item for item in items if HERE not in item.path.parents]
