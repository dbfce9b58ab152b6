"""Curves as SVG text: no dependency, no script, no style sheet, readable wherever an image is.

The marks carry classes (bg, ink, muted, grid, axis, s0-s6 for lines, f0-f6 for bands) so that a page
which holds the SVG may repaint them for a dark background; alone, the picture is complete without.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from dupo.views.terminal import visible

Number = float | int | None

# Okabe and Ito's palette: told apart by colour-blind readers, and legible on white.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#767676")
_MOST_POINTS, _MOST_HOVERS = 600, 80


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        xs: as many numbers as `ys`, ascending.
        ys: values; None, NaN and infinities leave a gap.
        colour: CSS colour; None takes the next one of `PALETTE`.
        dashed: draw a dashed line.
        band: (lows, highs) of a shaded range around the line, each as long as `xs`.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[Number]
    colour: str | None = None
    dashed: bool = False
    band: tuple[Sequence[Number], Sequence[Number]] | None = None


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
    """An SVG of lines over a common axis, complete in itself: own background, no style sheet, no script.

    Args:
        width, height: pixels.
        y_range: (low, high) of the y axis; values outside are drawn at its edge. None: fits the values.

    Returns:
        `<svg>...</svg>`, well-formed XML. Lines of more than 600 points are thinned so that every spike
        stays; hovering over a point tells its value.

    Raises:
        ValueError: y_range is not ascending, or a series has not as many ys (or band edges) as xs.
    """
    if y_range is not None and not y_range[0] < y_range[1]:
        raise ValueError(f"y_range: expected low < high, got {y_range}")
    legend, legend_height = _legend(series, width) if len(series) > 1 else ("", 0)
    x_low, x_high = _span([x for line in series for x in line.xs], None, pad=0.0)
    bands = [value for line in series for edge in line.band or () for value in edge]
    y_low, y_high = _span([*(y for line in series for y in line.ys), *bands], y_range, pad=0.05)
    widest = max((len(shown(tick)) for tick in _ticks(y_low, y_high, most=5)), default=0)
    left, top, right, bottom = max(56, 32 + 7 * widest), 40 + legend_height, 18, 48

    def at(x: float, y: float) -> tuple[float, float]:
        inside = min(max(y, y_low), y_high)
        return (
            left + (x - x_low) / (x_high - x_low) * (width - left - right),
            top + (y_high - inside) / (y_high - y_low) * (height - top - bottom),
        )

    axes = _axes((x_low, x_high), (y_low, y_high), at, width - right, height - bottom)
    lines = [_line(one, index, at) for index, one in enumerate(series)]
    return "".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" aria-label="{safe(title)}" font-family="system-ui,-apple-system,'
            'Segoe UI,Helvetica,Arial,sans-serif" font-size="12">',
            f'<rect class="bg" width="{width}" height="{height}" rx="6" fill="#ffffff"/>',
            _words(16, 24, title, 'font-size="15" font-weight="600" class="ink" fill="#1f2328"'),
            legend,
            axes,
            _words((left + width - right) / 2, height - 10, x_label, _MUTED + ' text-anchor="middle"'),
            _words(0, 0, y_label, _MUTED + _upright(15, (top + height - bottom) / 2)),
            *(band for band, _, _ in lines),
            *(drawn for _, drawn, _ in lines),
            *(hover for _, _, hover in lines),
            "</svg>",
        )
    )


_MUTED = 'class="muted" fill="#59636e"'


def _upright(x: float, y: float) -> str:
    return f' text-anchor="middle" transform="translate({x:.1f} {y:.1f}) rotate(-90)"'


def _words(x: float, y: float, text: str, attributes: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{safe(text)}</text>'


def safe(text: object) -> str:
    """For XML and HTML, between tags and inside quoted attributes."""
    return html.escape(visible(str(text)), quote=True)


def finite(value: object) -> TypeGuard[float]:
    """Whether a value can be drawn: a number, no truth value, neither NaN nor infinite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _span(values: Sequence[Number], fixed: tuple[float, float] | None, pad: float) -> tuple[float, float]:
    """Bounds of an axis, never of zero length; `pad` is the share of it left free at either end."""
    if fixed is not None:
        return fixed
    known = [float(value) for value in values if finite(value)]
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    # A span below the resolution of the numbers themselves is rounding noise: shown as a constant.
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        around = (abs(low) * 0.1 or 0.5) if pad else 1.0
        return low - around, high + around
    return low - pad * (high - low), high + pad * (high - low)


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers within [low, high], at most `most` + 1 of them."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def shown(value: float) -> str:
    """A number as a reader wants it on an axis: 0.3, 12000, 1.5M, 1e-06."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:.4g}M"
    return str(round(value)) if abs(value) >= 1000 and value == round(value) else f"{value:.4g}"


def _axes(xs: tuple[float, float], ys: tuple[float, float], at: Any, right: int, bottom: int) -> str:
    parts = []
    left = at(xs[0], ys[0])[0]
    for value in _ticks(*ys, most=5):
        y = at(xs[0], value)[1]
        parts.append(f'<path class="grid" d="M{left:.1f} {y:.1f}H{right}" stroke="#e4e7eb"/>')
        parts.append(_words(left - 8, y + 4, shown(value), _MUTED + ' text-anchor="end"'))
    ticks = _ticks(*xs, most=6)
    # Steps are whole numbers: a short run must not be labelled 0.5, 1, 1.5.
    whole = [tick for tick in ticks if tick == round(tick)]
    for value in whole if len(whole) > 1 else ticks:
        x = at(value, ys[0])[0]
        parts.append(f'<path class="axis" d="M{x:.1f} {bottom}v5" stroke="#8c959f"/>')
        parts.append(_words(x, bottom + 19, shown(value), _MUTED + ' text-anchor="middle"'))
    parts.append(f'<path class="axis" d="M{left:.1f} {bottom}H{right}" stroke="#8c959f"/>')
    return "".join(parts)


def _paint(line: Series, index: int, what: str = "stroke") -> str:
    """Colour of a stroke or fill, and the class by which a dark page repaints it."""
    if line.colour:
        return f'{what}="{safe(line.colour)}"'
    number = index % len(PALETTE)
    return f'class="{what[0]}{number}" {what}="{PALETTE[number]}"'


def _stroke(line: Series, index: int) -> str:
    again = line.colour is None and index >= len(PALETTE)  # dotted, as there are no more colours
    return _paint(line, index) + f' stroke-dasharray="{"2 3" if again else "6 4"}"' * (again or line.dashed)


def _legend(series: Sequence[Series], width: int) -> tuple[str, int]:
    """Entries under the title, in as many rows as they need; and the pixels that these take."""
    parts, x, y = [], 16.0, 46
    for index, line in enumerate(series):
        needed = 42 + 6.8 * len(visible(line.name))
        if x > 16 and x + needed > width - 8:
            x, y = 16.0, y + 18
        parts.append(f'<path d="M{x:.1f} {y - 4}h22" stroke-width="2.5" {_stroke(line, index)}/>')
        parts.append(_words(x + 28, y, line.name, 'class="ink" fill="#1f2328"'))
        x += needed
    return "".join(parts), y - 46 + 24


def _line(line: Series, index: int, at: Any) -> tuple[str, str, str]:
    """Band, line and hover targets of one series."""
    drawn, places = [], []
    few = len(line.xs) <= 30  # each is a measurement worth seeing
    for run in _runs(list(zip(line.xs, line.ys, strict=True))):
        kept = _thinned(run)
        places += kept
        if len(kept) > 1:
            path = "L".join("{:.1f} {:.1f}".format(*at(*point)) for point in kept)
            style = 'fill="none" stroke-width="2" stroke-linejoin="round"'
            drawn.append(f'<path d="M{path}" {style} {_stroke(line, index)}/>')
        if few or len(kept) == 1:
            style = f'r="1.5" stroke-width="3" fill="none" {_paint(line, index)}'
            drawn += [_dot(at(*place), style) for place in kept]
    every = math.ceil(len(places) / _MOST_HOVERS) or 1
    hovers = [
        _dot(at(x, y), 'r="7" fill="#000" fill-opacity="0"', f"{line.name}\n{shown(x)}: {y:.6g}")
        for x, y in places[::every]
    ]
    return _band(line, index, at), "".join(drawn), "".join(hovers)


def _dot(place: tuple[float, float], attributes: str, title: str = "") -> str:
    inner = f"<title>{safe(title)}</title>" if title else ""
    return f'<circle cx="{place[0]:.1f}" cy="{place[1]:.1f}" {attributes}>{inner}</circle>'


def _runs(points: Sequence[tuple[float, Number]]) -> list[list[tuple[float, float]]]:
    """The stretches between gaps."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if finite(x) and finite(y):
            runs[-1].append((x, float(y)))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _thinned(run: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most about `_MOST_POINTS` of the points: the lowest and highest of every bucket, and both ends."""
    if len(run) <= _MOST_POINTS:
        return run
    size = math.ceil(2 * len(run) / _MOST_POINTS)
    kept = {0, len(run) - 1}
    for start in range(0, len(run), size):
        bucket = range(start, min(start + size, len(run)))
        kept |= {min(bucket, key=lambda i: run[i][1]), max(bucket, key=lambda i: run[i][1])}
    return [run[index] for index in sorted(kept)]


def _band(line: Series, index: int, at: Any) -> str:
    if line.band is None:
        return ""
    shapes: list[str] = []
    corners: list[tuple[float, float, float]] = []
    for x, low, high in [*zip(line.xs, *line.band, strict=True), (0.0, None, None)]:
        if finite(low) and finite(high):
            corners.append((x, low, high))
        elif corners:
            edge = [at(x, high) for x, _, high in corners] + [at(x, low) for x, low, _ in reversed(corners)]
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in edge)
            shapes.append(f'<path d="M{path}Z" fill-opacity="0.15" {_paint(line, index, "fill")}/>')
            corners = []
    return "".join(shapes)
