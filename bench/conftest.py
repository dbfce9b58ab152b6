"""Benchmarks run with `pytest --benchmark-only` and never else: a plain `pytest` is for the tests."""

from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROWS = pytest.StashKey[list[dict[str, Any]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--results",
        action="store_true",
        help="write what bench_loss_head.py measures to bench/results",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("benchmark_only"):
        return
    benchmarks = [item for item in items if HERE in item.path.parents]
    if benchmarks:
        config.hook.pytest_deselected(items=benchmarks)
        items[:] = [item for item in items if HERE not in item.path.parents]


@pytest.fixture(scope="session")
def loss_head_rows(pytestconfig: pytest.Config) -> list[dict[str, Any]]:
    """Collects the rows of bench_loss_head.py."""
    return pytestconfig.stash.setdefault(ROWS, [])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    import torch

    from bench.loss_head import results

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    content = results.begun(" ".join(["pytest", *config.invocation_params.args]), device) | {"rows": rows}
    terminalreporter.write_line(results.tables(rows))
    terminalreporter.write_line(content["signature"].get("note", ""))
    if config.getoption("results"):
        path = results.RESULTS / results.file_name(content["signature"])
        results.write(path, content)
        terminalreporter.write_line(f"written: {path}")
