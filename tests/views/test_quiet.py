"""`--quiet` and `--log_level`: what of a run reaches stdout and stderr."""

import logging
from collections.abc import Iterator

import pytest

from dupo.config.options import LOG_LEVELS, RunOptions
from dupo.models.library_errors import LIBRARIES, set_log_level
from dupo.progress import tell_progress
from dupo.views.progress import Plan
from dupo.views.terminal import Display


def show_everything(display: Display) -> None:
    display.startup("dupo", [("task", "arithmetic")])
    with display.work("held-out evaluation"):
        tell_progress("samples", 1, 2)
    with display.progress(Plan(2)) as progress:
        progress.update(2, {"reward": 0.5})
    display.table("t", ["a"], [["b"]])
    display.note("done")
    display.warn("look here")


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("level", LOG_LEVELS)
def test_quiet_is_about_stdout_and_the_level_about_stderr(
    quiet: bool, level: str, capfd: pytest.CaptureFixture[str]
) -> None:
    display = Display.of(RunOptions(quiet=quiet, log_level=level))
    show_everything(display)
    out, err = capfd.readouterr()
    assert (out == "") == quiet and not display.is_closed
    assert err == ("" if level == "error" else "warning: look here\n")


@pytest.fixture
def loggers() -> Iterator[list[logging.Logger]]:
    """The loggers of the libraries, with the levels that they had."""
    all_loggers = [logging.getLogger(name) for name in LIBRARIES]
    before = [logger.level for logger in all_loggers]
    yield all_loggers
    for logger, level in zip(all_loggers, before, strict=True):
        logger.setLevel(level)


def test_the_level_is_that_of_the_libraries_and_passive_leaves_it(loggers: list[logging.Logger]) -> None:
    set_log_level("info")
    assert [logger.level for logger in loggers] == [logging.INFO] * len(loggers)
    set_log_level("passive")
    assert [logger.level for logger in loggers] == [logging.INFO] * len(loggers)
    set_log_level("error")
    assert [logger.level for logger in loggers] == [logging.ERROR] * len(loggers)
