"""The blocks that pages are made of: one static HTML file, no network, no script.

A block is a record with a method `html()`. Text from a model or a data set is escaped by the blocks; where a
block takes HTML, its docstring says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from dupo.views.chart import line_chart
from dupo.views.escaping import safe, shortened
from dupo.views.marks import Series
from dupo.views.page_style import style_sheet

_LONGEST_TEXT = 4000
Item = TypeVar("Item")


class Block(Protocol):
    """A part of a page."""

    def html(self) -> str:
        """Returns the block as HTML that closes every tag that it opens."""
        ...


@dataclass(frozen=True)
class Heading:
    """The top of a page. `style` colours the line below the title: "right", "wrong" or ""."""

    title: str
    subtitle: str
    style: str = ""

    def html(self) -> str:
        """Returns the block as HTML."""
        style = f' class="{self.style}"' if self.style else ""
        return f"<h1>{safe(self.title)}</h1><p{style}>{safe(self.subtitle)}</p>"


@dataclass(frozen=True)
class Section:
    """Blocks under a title."""

    title: str
    blocks: Sequence[Block]

    def html(self) -> str:
        """Returns the block as HTML."""
        return f"<h2>{safe(self.title)}</h2>{_joined(self.blocks)}"


@dataclass(frozen=True)
class Folded:
    """Blocks that stay hidden until the reader opens them."""

    summary: str
    blocks: Sequence[Block]

    def html(self) -> str:
        """Returns the block as HTML."""
        return f"<details><summary>{safe(self.summary)}</summary>{_joined(self.blocks)}</details>"


@dataclass(frozen=True)
class Metric:
    """A large number with its name; the main metric of a page is larger still."""

    value: str
    name: str
    main: bool = False

    def html(self) -> str:
        """Returns the block as HTML."""
        style = "metric main" if self.main else "metric"
        return f'<div class="{style}"><b>{safe(self.value)}</b><span>{safe(self.name)}</span></div>'


@dataclass(frozen=True)
class MetricRow:
    """Metrics side by side."""

    metrics: Sequence[Metric]

    def html(self) -> str:
        """Returns the block as HTML."""
        return f'<div class="metrics">{_joined(self.metrics)}</div>'


@dataclass(frozen=True)
class Chart:
    """Lines over a common axis; see `line_chart`."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Series]
    y_range: tuple[float, float] | None = None

    def html(self) -> str:
        """Returns the block as SVG."""
        # Two of these stand side by side on a page; the browser scales them to the width that there is.
        return line_chart(
            self.lines,
            title=self.title,
            x_label=self.x_label,
            y_label=self.y_label,
            width=460,
            height=280,
            y_range=self.y_range,
        )


@dataclass(frozen=True)
class ChartGrid:
    """Charts in two columns, in one on a narrow screen."""

    charts: Sequence[Chart]

    def html(self) -> str:
        """Returns the block as HTML."""
        return f'<div class="charts">{_joined(self.charts)}</div>'


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        header: names of the columns, as text.
        rows: cells as HTML, as many in each row as names in the header.
        styles: CSS classes of the columns; none if empty.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    styles: Sequence[str] = ()

    def html(self) -> str:
        """Returns the block as HTML."""
        head = "".join(f"<th>{safe(name)}</th>" for name in self.header)
        body = "".join(f"<tr>{self._cells(row)}</tr>" for row in self.rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _cells(self, row: Sequence[str]) -> str:
        # A column without a style has cells without a class attribute.
        styles = [f'class="{style}" ' for style in self.styles] or [""] * len(self.header)
        # On a narrow screen the header is hidden, and each cell shows the name of its column.
        return "".join(
            f'<td {style}data-name="{safe(name)}">{cell}</td>'
            for style, name, cell in zip(styles, self.header, row, strict=True)
        )


@dataclass(frozen=True)
class Preformatted:
    """A text in a card, with the line breaks and blanks that the text has."""

    text: str

    def html(self) -> str:
        """Returns the block as HTML."""
        return f'<div class="card"><pre>{safe(self.text)}</pre></div>'


def page(title: str, blocks: Sequence[Block]) -> str:
    """Returns a whole HTML page."""
    # Everything is inline, so the one file can be mailed, archived and opened without a network.
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{safe(title)}</title><style>{style_sheet()}</style></head>"
        f"<body>{_joined(blocks)}</body></html>\n"
    )


def _joined(blocks: Sequence[Block]) -> str:
    return "".join(block.html() for block in blocks)


# --- for the cells of tables ---


def text_block(text: str) -> str:
    """Returns a text from a model or a data set as HTML, shortened where the text is very long."""
    # An empty completion is a finding; an empty cell would look like a fault of the page.
    if not text.strip():
        return '<pre class="empty">(empty)</pre>'
    # dir="auto": Arabic and Hebrew run from the right, whatever the language of the page.
    return f'<pre dir="auto">{safe(shortened(text, _LONGEST_TEXT))}</pre>'


def evenly_spaced(items: Sequence[Item], count: int) -> list[Item]:
    """Returns `count` items, at least 2, from the first to the last at equal distances; all if fewer."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]
