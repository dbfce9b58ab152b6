"""What a person sees of a run: start-up table, progress, before and after, sample exchanges.

In a terminal, rich draws it. Anywhere else (a pipe, a file, the log of a CI job) the same facts come as
plain lines without a single control code. Text that came from a model or a data set is shown as it is,
never read as markup, with its control characters escaped.
"""

import math
import os
import sys
import time
import unicodedata
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

_JOINERS = "\u200c\u200d"  # invisible, but Persian and emoji need them, and they cannot reorder text
_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_LINE_EVERY_STEPS, _LINE_EVERY_SECONDS = 10, 30.0
_LONGEST = 1200  # characters of one text in an exchange


def visible(text: str) -> str:
    """The text with every character that draws nothing, or moves others, as its escape; line breaks stay.

    Covers control codes, bidirectional overrides, lone surrogates, and what XML cannot hold.
    """
    return "".join(_escape(char) if _unsafe(char) else char for char in text)


def _unsafe(char: str) -> bool:
    if char == "\n" or char in _JOINERS:
        return False
    return unicodedata.category(char) in _UNSAFE or ord(char) & 0xFFFE == 0xFFFE


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def shortened(text: str, limit: int = _LONGEST) -> str:
    """The first `limit` characters, and how many are left out."""
    return text if len(text) <= limit else f"{text[:limit]} ... ({len(text) - limit} more characters)"


def error(text: str) -> None:
    """One plain line on stderr, however long: `error: ...`."""
    _print_line(sys.stderr, f"error: {_one_line(text)}")


def _one_line(text: str) -> str:
    return visible(text).replace("\n", "\\n")


def _print_line(stream: IO[str], text: str) -> None:
    stream.write(_encodable(text, stream) + "\n")
    stream.flush()


def _encodable(text: str, stream: IO[str]) -> str:
    """What the stream's encoding cannot hold (Chinese in a cp1252 console) becomes an escape, not a crash."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def verdict(correct: object) -> str:
    """The `correct` of a sample in words."""
    return "right" if correct is True else "wrong" if correct is False else "gold unknown"


def exchange_of(sample: dict[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    """Title and lines of one row of samples.jsonl, for `Display.exchange`."""
    judged = verdict(sample.get("correct"))
    answer, gold = sample.get("answer"), sample.get("gold")
    known = f"{judged}; gold: {gold}" if gold is not None else judged
    lines = [
        ("problem", str(sample.get("prompt", ""))),
        ("completion", str(sample.get("completion", ""))),
        ("answer", "none could be read" if answer is None else f"{answer} ({known})"),
    ]
    for dual in sample.get("duals") or []:
        lines += [
            ("dual", str(dual.get("prompt", ""))),
            ("came back", str(dual.get("completion", ""))),
            ("was hidden", f"{dual.get('unknown', '')} (distance {_number(dual.get('distance'))})"),
        ]
    lines.append(("reward", _number(sample.get("reward"))))
    return f"step {sample.get('step')} · {sample.get('problem')} · {judged}", lines


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "-"


class Display:
    """Writes to one stream, stdout unless told.

    Args:
        stream: where to. A terminal (and TERM not "dumb") gets rich output, everything else plain lines.
        width: columns; None asks the terminal.
    """

    def __init__(self, stream: IO[str] | None = None, width: int | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._rich = self._stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
        # highlight would colour digits inside model text; markup and emoji would rewrite it.
        self._console = Console(
            file=self._stream,
            width=width,
            force_terminal=self._rich,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def startup(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        """What will be done and how much of it: (name, value) rows."""
        self._pairs(title, rows, border="cyan")

    def exchange(self, title: str, lines: Sequence[tuple[str, str]], correct: bool | None = None) -> None:
        """One primal/dual exchange as (name, text) lines, see `exchange_of`; `correct` colours the frame."""
        border = "dim" if correct is None else "green" if correct else "red"
        self._pairs(title, [(name, shortened(text.strip()) or "(empty)") for name, text in lines], border)

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Rows of cells under a header; the first column is left-aligned, the others right-aligned."""
        cells = [[_one_line(cell) for cell in row] for row in (header, *rows)]
        if not self._rich:
            widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
            self._plain(f"\n{visible(title)}")
            for row in cells:
                aligned = [row[0].ljust(widths[0])]
                aligned += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
                self._plain("  " + "  ".join(aligned))
            return
        table = Table(title=self._text(title, "bold"), title_justify="left", box=box.ROUNDED)
        for column, name in enumerate(cells[0]):
            table.add_column(self._text(name), justify="right" if column else "left")
        for row in cells[1:]:
            table.add_row(*(self._text(cell) for cell in row))
        self._console.print()
        self._console.print(table)

    def note(self, text: str) -> None:
        """A line of information."""
        if self._rich:
            self._console.print(self._text(text))
        else:
            self._plain(visible(text))

    def warn(self, text: str) -> None:
        """One plain line on stderr: `warning: ...`."""
        _print_line(sys.stderr, f"warning: {_one_line(text)}")

    @contextmanager
    def progress(
        self, total: int, start: int = 0, headline: str | None = None, unit: str = "step"
    ) -> Iterator["StepProgress"]:
        """Shows steps that are done; call `.update(step, metrics)` on what it yields.

        Args:
            start: steps already done (a resumed run).
            headline: the held-out metric to show ("accuracy" for eval/accuracy); None: the first eval/ key.
            unit: what a step is called.
        """
        if not self._rich:
            yield StepProgress(total, start, headline, unit, line=self._plain)
            return
        bar = Progress(
            TextColumn("{task.completed}/{task.total}"),
            BarColumn(bar_width=None),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            expand=True,
            refresh_per_second=4,
            # Warnings come through above the bar in a terminal, and stay in the file if stderr is one.
            redirect_stderr=sys.stderr.isatty(),
        )
        with bar:
            task = bar.add_task("starting", total=total, completed=start)
            yield StepProgress(total, start, headline, unit, bar=bar, task=task)

    def _pairs(self, title: str, rows: Sequence[tuple[str, str]], border: str) -> None:
        if self._rich:
            grid = Table.grid(padding=(0, 2))
            grid.add_column(style="bold", no_wrap=True)
            grid.add_column(overflow="fold")
            for name, text in rows:
                grid.add_row(self._text(name), self._text(text))
            panel = Panel(grid, title=self._text(title), title_align="left", border_style=border)
            self._console.print(panel)
            return
        indent = max((len(name) for name, _ in rows), default=0) + 2
        self._plain(f"\n{visible(title)}")
        for name, text in rows:
            first, *rest = visible(text).split("\n")
            self._plain("  " + visible(name).ljust(indent) + first)
            for line in rest:
                self._plain(" " * (indent + 2) + line)

    def _text(self, text: str, style: str = "") -> Text:
        return Text(_encodable(visible(text), self._stream), style=style)

    def _plain(self, text: str) -> None:
        _print_line(self._stream, text)


class StepProgress:
    """Progress of one run; made by `Display.progress`."""

    def __init__(
        self,
        total: int,
        start: int,
        headline: str | None,
        unit: str,
        *,
        line: Any = None,
        bar: Progress | None = None,
        task: TaskID | None = None,
    ) -> None:
        self._total, self._headline, self._unit = total, headline, unit
        self._line, self._bar, self._task = line, bar, task
        self._recent = deque([(time.monotonic(), start)], maxlen=50)
        self._last_line = -math.inf
        self._held_out = ""

    def update(self, step: int, metrics: dict[str, Any]) -> None:
        """Shows that `step` is done. Reads reward, dual/reconstruct_rate and eval/<headline> if present."""
        self._recent.append((time.monotonic(), step))
        key = (
            f"eval/{self._headline}"
            if self._headline
            else next((k for k in metrics if k.startswith("eval/")), "")
        )
        evaluated = key in metrics
        if evaluated:
            self._held_out = f"{key.removeprefix('eval/')} {metrics[key]:.3f}"
        parts = [
            f"{name} {metrics[key]:.3f}"
            for name, key in (("reward", "reward"), ("rebuilt", "dual/reconstruct_rate"))
            if isinstance(metrics.get(key), int | float)
        ]
        parts += [self._held_out] if self._held_out else []
        pace = self._pace()
        if self._bar is not None and self._task is not None:
            # On a narrow terminal the rate gives way to the bar; the time left says as much.
            parts += pace if self._bar.console.width >= 100 else pace[1:]
            line = _encodable(visible(" · ".join(parts)), self._bar.console.file)
            self._bar.update(self._task, completed=step, description=line)
        elif self._due(step) or evaluated:
            self._last_line = time.monotonic()
            self._line(f"{self._unit} {step}/{self._total}  " + "  ".join(parts + pace))

    def _due(self, step: int) -> bool:
        every = max(_LINE_EVERY_STEPS, self._total // 500)
        waited = time.monotonic() - self._last_line
        return step % every == 0 or step == self._total or waited > _LINE_EVERY_SECONDS

    def _pace(self) -> list[str]:
        """Rate over the last 50 steps and time left; nothing before the first step is timed."""
        (began, first), (now, last) = self._recent[0], self._recent[-1]
        if last == first or now == began:
            return []
        rate = (last - first) / (now - began)
        shown = f"{rate:.1f} {self._unit}s/s" if rate >= 1 else f"{1 / rate:.1f} s/{self._unit}"
        return [shown, f"{_duration((self._total - last) / rate)} left"]
