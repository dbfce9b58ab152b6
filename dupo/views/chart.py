"""Line charts as SVG text: no dependency, no script, no style sheet, readable wherever an image is.

The marks carry classes (bg, ink, muted, grid, axis, s0-s6 for lines, f0-f6 for bands), so a page that holds
the SVG can repaint the marks for a dark background. Alone, the picture is complete without the page.
"""

from collections.abc import Sequence

from dupo.views.escaping import safe, visible
from dupo.views.marks import Frame, Series, marks, stroke
from dupo.views.scales import Scale, short_number, span, ticks

_MUTED = 'class="muted" fill="#59636e"'
_INK = 'class="ink" fill="#1f2328"'


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    width: int = 720,
    height: int = 360,
    y_range: tuple[float, float] | None = None,
) -> str:
    """Draws lines over a common axis as an SVG that is complete in itself.

    Args:
        series: the lines, in the order of the legend.
        title: stands above the picture.
        x_label: stands below the x axis.
        y_label: stands beside the y axis.
        width: pixels.
        height: pixels.
        y_range: (low, high) of the y axis; values outside are drawn at its edge. None: fits the values.

    Returns:
        `<svg>...</svg>`, well-formed XML. Lines of more than 600 points are thinned so that every spike
        stays; hovering over a point tells its value.

    Raises:
        ValueError: y_range is not ascending, or a series has not as many ys (or band edges) as xs.
    """
    if y_range is not None and not y_range[0] < y_range[1]:
        raise ValueError(f"y_range: expected low < high, got {y_range}")
    # A lone line needs no legend: title and axis name it.
    legend, legend_height = _legend(series, width) if len(series) > 1 else ("", 0)
    frame = _frame(series, width, height, legend_height, y_range)
    x_middle = frame.x.start + frame.x.length / 2
    y_middle = frame.y.start + frame.y.length / 2
    drawn = [marks(line, index, frame) for index, line in enumerate(series)]
    return "".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" aria-label="{safe(title)}" font-family="system-ui,-apple-system,'
            'Segoe UI,Helvetica,Arial,sans-serif" font-size="12">',
            f'<rect class="bg" width="{width}" height="{height}" rx="6" fill="#ffffff"/>',
            _words(16, 24, title, f'font-size="15" font-weight="600" {_INK}'),
            legend,
            _axes(frame),
            _words(x_middle, height - 10, x_label, _MUTED + ' text-anchor="middle"'),
            _words(0, 0, y_label, _MUTED + _upright(15, y_middle)),
            # What is drawn later lies on top: hover targets must never be covered.
            *(mark.band for mark in drawn),
            *(mark.line for mark in drawn),
            *(mark.hovers for mark in drawn),
            "</svg>",
        )
    )


def _frame(
    series: Sequence[Series],
    width: int,
    height: int,
    legend_height: int,
    y_range: tuple[float, float] | None,
) -> Frame:
    """Fits the axes to the values, and the margins to the legend and the widest number of the y axis."""
    # The x axis ends with the data; the y axis keeps a little air, so that no line runs along an edge.
    x_low, x_high = span([x for line in series for x in line.xs], padding=0.0)
    edges = [value for line in series for edge in line.band or () for value in edge]
    y_low, y_high = span([*(y for line in series for y in line.ys), *edges], 0.05, y_range)
    # About 7 pixels a digit, and room for the upright label beside the numbers.
    widest = max((len(short_number(tick)) for tick in ticks(y_low, y_high, most=5)), default=0)
    margin_left, margin_right = max(56, 32 + 7 * widest), 18
    margin_top, margin_bottom = 40 + legend_height, 48
    return Frame(
        Scale(x_low, x_high, margin_left, width - margin_left - margin_right),
        Scale(y_high, y_low, margin_top, height - margin_top - margin_bottom),
    )


def _axes(frame: Frame) -> str:
    """Grid lines with their numbers, the line below, and the ticks on that line."""
    x_start, x_end = frame.x.start, frame.x.start + frame.x.length
    bottom = frame.y.start + frame.y.length
    parts = []
    for value in frame.y.ticks(most=5):
        y = frame.y.pixel(value)
        parts.append(f'<path class="grid" d="M{x_start:.1f} {y:.1f}H{x_end}" stroke="#e4e7eb"/>')
        parts.append(_words(x_start - 8, y + 4, short_number(value), _MUTED + ' text-anchor="end"'))
    x_ticks = frame.x.ticks(most=6)
    # Steps are whole numbers: a short run must not be labelled 0.5, 1, 1.5.
    integers = [tick for tick in x_ticks if tick == round(tick)]
    for value in integers if len(integers) > 1 else x_ticks:
        x = frame.x.pixel(value)
        parts.append(f'<path class="axis" d="M{x:.1f} {bottom}v5" stroke="#8c959f"/>')
        parts.append(_words(x, bottom + 19, short_number(value), _MUTED + ' text-anchor="middle"'))
    parts.append(f'<path class="axis" d="M{x_start:.1f} {bottom}H{x_end}" stroke="#8c959f"/>')
    return "".join(parts)


def _legend(series: Sequence[Series], width: int) -> tuple[str, int]:
    """Draws the names under the title, in as many rows as needed; returns the SVG and its height."""
    parts, x, y = [], 16.0, 46
    for index, line in enumerate(series):
        # The font is the reader's, so the width of a name is a guess: 6.8 pixels a character.
        needed = 42 + 6.8 * len(visible(line.name))
        if x > 16 and x + needed > width - 8:
            x, y = 16.0, y + 18
        parts.append(f'<path d="M{x:.1f} {y - 4}h22" stroke-width="2.5" {stroke(line, index)}/>')
        parts.append(_words(x + 28, y, line.name, _INK))
        x += needed
    return "".join(parts), y - 46 + 24


def _words(x: float, y: float, text: str, attributes: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{safe(text)}</text>'


def _upright(x: float, y: float) -> str:
    return f' text-anchor="middle" transform="translate({x:.1f} {y:.1f}) rotate(-90)"'
