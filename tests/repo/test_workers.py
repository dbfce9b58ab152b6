"""Which runs of pytest are spread over all cores: the whole suite without its slow tests, and no other."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import pytest_cmdline_main
from tests.helpers.project import ROOT


class Config:
    """What the hook reads of pytest's config."""

    def __init__(self, *args: str, has_xdist: bool = True, **options: Any) -> None:
        self.args = [str(ROOT / argument) for argument in args]
        plain = {"benchmark_only": False, "markexpr": "not slow", "trace": False, "collectonly": False}
        plain |= {"capture": "fd", "numprocesses": None, "dist": "no"}
        self.option = SimpleNamespace(**{**plain, **options})
        self.pluginmanager = SimpleNamespace(hasplugin=lambda name: has_xdist)


def workers(config: Config) -> object:
    pytest_cmdline_main(config)  # type: ignore[arg-type]
    return config.option.numprocesses


@pytest.fixture(autouse=True)
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the process that a person starts, also where this test runs in a worker."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)


def test_the_whole_suite_gets_a_worker_for_each_core() -> None:
    assert workers(Config("tests", "bench")) == workers(Config("tests")) == "auto"


@pytest.mark.parametrize(
    "config",
    [
        Config("tests/learning"),
        Config("tests/test_architecture.py", "tests/learning"),
        Config("bench", benchmark_only=True),
        Config("tests", "bench", benchmark_only=True),
        Config("tests", markexpr="slow"),
        Config("tests", trace=True),
        Config("tests", capture="no"),
        Config("tests", collectonly=True),
    ],
    ids=lambda config: " ".join(config.args).replace(str(ROOT), ""),
)
def test_other_runs_have_one_process(config: Config) -> None:
    assert workers(config) is None


def test_a_number_of_workers_that_was_asked_for_stays() -> None:
    assert workers(Config("tests", numprocesses=0)) == 0
    assert workers(Config("tests", numprocesses=3)) == 3


def test_a_worker_starts_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    assert workers(Config("tests", "bench")) is None


def test_xdist_is_not_needed() -> None:
    config = Config("tests", "bench", has_xdist=False)
    del config.option.numprocesses, config.option.dist
    pytest_cmdline_main(config)  # type: ignore[arg-type]
