"""A stream whose reader is gone, that is full, or that was never there."""

import os
from collections.abc import Iterator
from typing import IO

import pytest

from dupo.views.plain import print_line
from dupo.views.streams import LogStream
from dupo.views.terminal import Display


@pytest.fixture
def pipe() -> Iterator[tuple[int, IO[str]]]:
    """(the end that is read, the stream that is written)."""
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream:
        yield read, stream
        stream.flush()  # as Python does at its end


def test_a_reader_that_is_gone_is_remembered(pipe: tuple[int, IO[str]]) -> None:
    read, stream = pipe
    display = Display(stream)
    display.note("step 1")
    assert not display.is_closed and os.read(read, 100) == b"step 1\n"
    os.close(read)
    for _ in range(2):
        display.note("step 2")
        assert display.is_closed


def test_a_full_disk_under_the_log_costs_its_lines_only() -> None:
    with open("/dev/full", "w", buffering=1) as stream:
        display = Display(stream)
        display.note("step 1")
        assert not display.is_closed
        with pytest.raises(OSError, match="No space left"):
            display.check_written()  # for a program whose lines are the result
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # there is room again


def test_a_stream_that_was_never_there_takes_everything() -> None:
    stream = LogStream(None)
    print_line(stream, "é")
    assert not stream.is_closed and not stream.isatty()
