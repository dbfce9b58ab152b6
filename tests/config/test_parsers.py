"""A help goes out whole, or is told: on every version of Python, whose argparse differ."""

import errno
import io

import pytest

from dupo.config.parsers import Parser


class Failing(io.StringIO):
    """A stream whose writes fail."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        raise OSError(self.number, "as told")  # EPIPE makes it a BrokenPipeError


def test_a_help_whose_reader_is_gone_is_no_error() -> None:
    Parser().print_help(Failing(errno.EPIPE))


def test_a_help_that_a_full_disk_takes_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        Parser().print_help(Failing(errno.ENOSPC))
    assert end.value.code == 1 and capsys.readouterr().err == f"error: [Errno {errno.ENOSPC}] as told\n"
