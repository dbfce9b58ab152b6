"""Output where no terminal is (a pipe, a file, the log of a CI job): plain lines without a control code."""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from dupo.progress import listening
from dupo.views.escaping import encodable, one_line, visible
from dupo.views.progress import PartProgress, PartStatus, Plan, Status, StepProgress
from dupo.views.streams import LogStream

_LINE_EVERY_SECONDS = 30.0
_MOST_LINES = 500  # of progress, about, however long the run


def error(text: str) -> None:
    """Prints one plain line on stderr, however long: `error: ...`."""
    print_line(LogStream(sys.stderr), f"error: {one_line(text)}")


def print_line(stream: IO[str] | LogStream, text: str) -> None:
    """Writes a line at once; characters that the stream cannot encode become escapes."""
    # Flushed, because a log that is being followed must not lag behind by a buffer.
    stream.write(encodable(text, stream) + "\n")
    stream.flush()


class PlainOutput:
    """Plain lines on a stream; the counterpart of `terminal.RichOutput`.

    Args:
        stream: where the lines go.
        clock: seconds, from any start.
    """

    def __init__(self, stream: IO[str] | LogStream, clock: Callable[[], float]) -> None:
        self._stream, self._clock = stream, clock
        self._last_line = -math.inf  # when the last line on progress was printed, by the clock

    def pairs(self, title: str, rows: Sequence[tuple[str, str]], colour: str) -> None:
        """Prints (name, text) rows under a title; `colour` is for terminals."""
        indent = max((len(name) for name, _ in rows), default=0) + 2
        self.note(f"\n{title}")
        for name, text in rows:
            # Further lines of a text stand below its first one, beside the names.
            first, *others = visible(text).split("\n")
            self._line("  " + visible(name).ljust(indent) + first)
            for line in others:
                self._line(" " * (indent + 2) + line)

    def table(self, title: str, cells: Sequence[Sequence[str]]) -> None:
        """Prints rows of cells, the header first; the first column is left-aligned, the others right."""
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        self.note(f"\n{title}")
        for row in cells:
            aligned = [row[0].ljust(widths[0])]
            aligned += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            self._line("  " + "  ".join(aligned))

    def note(self, text: str) -> None:
        """Prints a text as it is."""
        self._line(visible(text))

    @contextmanager
    def progress(self, plan: Plan) -> Iterator[StepProgress]:
        """Prints a line now and then while steps are done."""
        # A log gets a line every few steps, and at least every half minute, so that nobody takes a slow
        # run for a dead one; a long run gets no more lines than a reader can scroll through.
        every = max(plan.line_every, plan.total // _MOST_LINES)
        name = f"{plan.title} {plan.unit}".strip()

        last_line = -math.inf  # on a step: lines on its parts never take its place

        def show(status: Status) -> None:
            nonlocal last_line
            waited = self._clock() - last_line > _LINE_EVERY_SECONDS
            due = status.step % every == 0 or status.step == plan.total or waited
            if due or status.evaluated:
                last_line = self._last_line = self._clock()
                words = "  ".join(status.metrics + status.pace)
                self._line(f"{name} {status.step}/{plan.total}  {words}")

        with self.work("sampling"):
            yield StepProgress(plan, clock=self._clock, show=show)

    @contextmanager
    def work(self, what: str) -> Iterator[None]:
        """Prints a line every half minute while work is done that tells how far it is."""

        def show(status: PartStatus) -> None:
            if min(status.seconds, self._clock() - self._last_line) > _LINE_EVERY_SECONDS:
                self._last_line = self._clock()
                self._line(f"{what}: {status.words}")

        with listening(PartProgress(clock=self._clock, show=show).hear):
            yield

    def _line(self, text: str) -> None:
        print_line(self._stream, text)
