"""What a person sees of a run: start-up table, progress, results and sample exchanges.

In a terminal, rich draws frames, tables and a bar. Anywhere else `PlainOutput` prints the same facts; in a
notebook `NotebookOutput` adds a bar. Text from a model or a data set is never read as markup, and its control
characters are escaped.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import IO, cast

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from dupo.config.options import RunOptions
from dupo.progress import listening
from dupo.views.escaping import encodable, one_line, shortened, visible
from dupo.views.notebook import NotebookOutput, is_notebook
from dupo.views.plain import PlainOutput, print_line
from dupo.views.progress import PATIENCE, PartProgress, PartStatus, Plan, Status, StepProgress
from dupo.views.streams import LogStream, Nowhere

_WIDE = 100  # columns from which the bar has room for the rate


class Display:
    """Writes to one stream.

    Args:
        stream: a terminal (and TERM not "dumb") gets rich output, everything else plain lines. None: stdout.
        width: columns of a terminal; None asks the terminal.
        clock: seconds from any start, for rates and times left.
        warns: whether `warn` prints.
    """

    def __init__(
        self,
        stream: IO[str] | None = None,
        width: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        warns: bool = True,
    ) -> None:
        self._warns = warns
        target = self._stream = LogStream(sys.stdout if stream is None else stream)
        rich = target.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
        plain = NotebookOutput if stream is None and is_notebook() else PlainOutput
        self._output = RichOutput(target, width, clock) if rich else plain(target, clock)

    @classmethod
    def of(cls, options: RunOptions) -> "Display":
        """The display of a run: stdout, and nothing at all on it where the run is quiet."""
        warns = options.log_level != "error"
        return cls(Nowhere(), warns=warns) if options.quiet else cls(warns=warns)

    @property
    def is_closed(self) -> bool:
        """Whether the stream was a pipe whose reader is gone: nobody sees how the run goes on."""
        return self._stream.is_closed

    def check_written(self) -> None:
        """Checks that no line was lost; see `LogStream.check_written`."""
        self._stream.check_written()

    def startup(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        """Shows what will be done and how much of it, as (name, value) rows."""
        self._output.pairs(title, rows, "cyan")

    def exchange(self, title: str, lines: Sequence[tuple[str, str]], correct: bool | None = None) -> None:
        """Shows one primal/dual exchange as (name, text) lines.

        Args:
            title: see `exchange_of`.
            lines: see `exchange_of`.
            correct: colours the frame; None: unknown.
        """
        # Green and red only repeat the word in the title, for readers who do not see colours.
        colour = "dim" if correct is None else "green" if correct else "red"
        self._output.pairs(
            title, [(name, shortened(text.strip()) or "(empty)") for name, text in lines], colour
        )

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Shows rows under a header; the first column is left-aligned, the others right-aligned."""
        self._output.table(title, [[one_line(cell) for cell in row] for row in (header, *rows)])

    def note(self, text: str) -> None:
        """Shows a line of information."""
        self._output.note(text)

    def warn(self, text: str) -> None:
        """Prints one plain line on stderr: `warning: ...`; nothing where only errors are asked for."""
        if self._warns:
            print_line(LogStream(sys.stderr), f"warning: {one_line(text)}")

    def progress(self, plan: Plan) -> AbstractContextManager[StepProgress]:
        """Shows the steps that are done; call `.update(step, metrics)` on what the context yields."""
        return self._output.progress(plan)

    def work(self, what: str) -> AbstractContextManager[None]:
        """Shows how far work is that tells so by itself (`dupo.progress`), if the work takes long.

        Args:
            what: the work, in a few words: "answers to held-out problems".
        """
        return self._output.work(what)


class RichOutput:
    """Frames, tables and a progress bar in a terminal; the counterpart of `plain.PlainOutput`.

    Args:
        stream: a terminal.
        width: columns; None asks the terminal.
        clock: seconds, from any start.
    """

    def __init__(self, stream: LogStream, width: int | None, clock: Callable[[], float]) -> None:
        self._stream, self._clock = stream, clock
        self._open_bar: Progress | None = None
        # highlight would colour digits inside model text; markup and emoji would rewrite the text.
        self._console = Console(
            file=cast("IO[str]", stream),
            width=width,
            force_terminal=True,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def pairs(self, title: str, rows: Sequence[tuple[str, str]], colour: str) -> None:
        """Draws (name, text) rows in a frame of that colour."""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        # Folded, not cut off at the frame: the end of a completion holds its answer.
        grid.add_column(overflow="fold")
        for name, text in rows:
            grid.add_row(self._text(name), self._text(text))
        panel = Panel(grid, title=self._text(title), title_align="left", border_style=colour)
        self._console.print(panel)

    def table(self, title: str, cells: Sequence[Sequence[str]]) -> None:
        """Draws rows of cells, the header first; the first column is left-aligned, the others right."""
        header, *rows = cells
        table = Table(title=self._text(title, "bold"), title_justify="left", box=box.ROUNDED)
        for column, name in enumerate(header):
            table.add_column(self._text(name), justify="right" if column else "left")
        for row in rows:
            table.add_row(*(self._text(cell) for cell in row))
        # The empty line keeps the table apart from a progress bar that has just ended.
        self._console.print()
        self._console.print(table)

    def note(self, text: str) -> None:
        """Prints a text, wrapped to the terminal."""
        self._console.print(self._text(text))

    @contextmanager
    def progress(self, plan: Plan) -> Iterator[StepProgress]:
        """Draws a bar while steps are done."""
        with self._bar() as bar:

            def head(step: int) -> str:
                return f"{plan.title} {step}/{plan.total}".strip()

            task = bar.add_task("starting", head=head(plan.start), total=plan.total, completed=plan.start)

            def show(status: Status) -> None:
                # On a narrow terminal the rate gives way to the bar; the time left says as much.
                pace = status.pace if self._console.width >= _WIDE else status.pace[1:]
                line = encodable(visible(" · ".join(status.metrics + pace)), self._stream)
                bar.update(task, completed=status.step, description=line, head=head(status.step))

            with self.work("sampling"):
                yield StepProgress(plan, clock=self._clock, show=show)

    @contextmanager
    def work(self, what: str) -> Iterator[None]:
        """Draws a bar while work is done; below the bar of the steps only where the work takes long."""
        # Most work inside of a step is over before anybody could read a second bar.
        is_inside = self._open_bar is not None
        with self._bar(is_kept=False) as bar:
            task = bar.add_task("", head=what, total=None, visible=not is_inside)

            def show(status: PartStatus) -> None:
                text, is_done = encodable(status.words, self._stream), status.done == status.total
                bar.update(
                    task,
                    total=status.total,
                    completed=status.done,
                    description=text,
                    visible=not is_inside or (status.seconds >= PATIENCE and not is_done),
                )

            with listening(PartProgress(clock=self._clock, show=show).hear):
                try:
                    yield
                finally:
                    bar.remove_task(task)

    @contextmanager
    def _bar(self, *, is_kept: bool = True) -> Iterator[Progress]:
        """The bars on the screen: those of an outer block, or new ones.

        Args:
            is_kept: new bars stay on the screen when the block ends.
        """
        if self._open_bar is not None:
            yield self._open_bar
            return
        bar = Progress(
            TextColumn("{task.fields[head]}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            expand=True,
            transient=not is_kept,
            refresh_per_second=4,
            # Warnings come through above the bar in a terminal, and stay in the file if stderr is a file.
            redirect_stderr=sys.stderr.isatty(),
        )
        self._open_bar = bar
        try:
            with bar:
                yield bar
        finally:
            self._open_bar = None

    def _text(self, text: str, style: str = "") -> Text:
        return Text(encodable(visible(text), self._stream), style=style)
