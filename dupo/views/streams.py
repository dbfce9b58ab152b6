"""Standard output and error that may be closed at any moment: a log that nobody reads is no error.

A closed pipe (`| head -3`) is remembered, so that the run can stop as after Ctrl-C. A full disk under a log,
or a terminal that is gone, only costs the lines.
"""

import io
import os
import sys
from contextlib import suppress
from typing import IO


class LogStream:
    """A text stream that takes every line and raises no OSError.

    Args:
        stream: where the lines go; None: nowhere, as for a program that was started with the stream closed.

    Attributes:
        is_closed: whether the reader of a pipe is gone.
    """

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = stream
        self.is_closed = False
        self._lost: OSError | None = None
        # rich and `encodable` ask for these.
        self.encoding: str = getattr(stream, "encoding", None) or "utf-8"
        self.errors: str | None = getattr(stream, "errors", None)

    def write(self, text: str) -> int:
        """Writes a text if anybody can read it."""
        if self._stream is not None:
            try:
                self._stream.write(text)
            except BrokenPipeError:
                self._close()
            except OSError as fault:
                self._lost = fault
            except (RuntimeError, ValueError):
                pass  # a signal handler that writes within a write gets a RuntimeError; its line is lost
        return len(text)

    def flush(self) -> None:
        """Hands the lines to the operating system."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except BrokenPipeError:
                self._close()
            except OSError as fault:
                self._lost = fault
            except (RuntimeError, ValueError):
                pass

    def isatty(self) -> bool:
        """Whether a terminal is behind the stream."""
        return self._stream is not None and self._stream.isatty()

    def check_written(self) -> None:
        """Checks that no line was lost: for a program whose lines are what the user asked for.

        Raises:
            OSError: why a line was lost. A pipe whose reader is gone loses none.
        """
        if self._lost is not None:
            raise self._lost

    def _close(self) -> None:
        self.is_closed = True
        # Python flushes its streams at the end, and would fail at what is still in the buffer.
        with suppress(OSError, ValueError, AttributeError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())  # type: ignore[union-attr]
            os.close(null)
        self._stream = None


class Nowhere(io.StringIO):
    """Takes every line and keeps none."""

    def write(self, text: str) -> int:
        """Forgets the text."""
        return len(text)


def open_standard_streams() -> None:
    """Opens stdin, stdout and stderr on the null device where the process was started without them.

    Else the first file that the run opens would get the number of a standard stream, and whatever a library
    prints there would land in the file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is given out, which is this one.
            os.open(os.devnull, os.O_RDWR)
    # Libraries print warnings to sys.stderr and progress to sys.stdout without asking.
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def flush_standard_streams() -> None:
    """Writes what is buffered, so that a pipe that was closed is met here and not in the end of Python."""
    for stream in (sys.stdout, sys.stderr):
        LogStream(stream).flush()
