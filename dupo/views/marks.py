"""The marks of one series in a chart: a line, its dots and hover targets, and the band around it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dupo.views.escaping import safe
from dupo.views.lenient import finite
from dupo.views.scales import Number, Scale, short_number

# Okabe and Ito's palette: told apart by colour-blind readers, and legible on white.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#767676")
_MOST_POINTS, _MOST_HOVERS = 600, 80


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        xs: as many numbers as `ys`, ascending.
        ys: values; None, NaN and infinities leave a gap.
        colour: CSS colour; None takes the next colour of `PALETTE`.
        dashed: draw a dashed line.
        band: (lows, highs) of a shaded range around the line, each as long as `xs`.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[Number]
    colour: str | None = None
    dashed: bool = False
    band: tuple[Sequence[Number], Sequence[Number]] | None = None


class Frame(NamedTuple):
    """The two axes; the y axis starts at its high end, because pixels count from the top."""

    x: Scale
    y: Scale

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Returns the pixels (x, y) of a point."""
        return self.x.pixel(x), self.y.pixel(y)


class Marks(NamedTuple):
    """The SVG of one series, by layer."""

    band: str
    line: str
    hovers: str


def marks(line: Series, index: int, frame: Frame) -> Marks:
    """Draws one series.

    Args:
        line: what to draw.
        index: number of the series in its chart; decides the colour.
        frame: the axes.
    """
    paths, hover_points = [], []
    few = len(line.xs) <= 30  # each point is a measurement worth seeing
    for stretch in _stretches(list(zip(line.xs, line.ys, strict=True))):
        # Each stretch is thinned by itself, so a gap stays a gap.
        points = _thinned(stretch)
        hover_points += points
        if len(points) > 1:
            path = "L".join("{:.1f} {:.1f}".format(*frame.place(*point)) for point in points)
            style = 'fill="none" stroke-width="2" stroke-linejoin="round"'
            paths.append(f'<path d="M{path}" {style} {stroke(line, index)}/>')
        # A path of one point draws nothing.
        if few or len(points) == 1:
            style = f'r="1.5" stroke-width="3" fill="none" {paint(line, index)}'
            paths += [_dot(frame.place(*point), style) for point in points]
    # A hover target is larger than the distance of points in a long line: more of them help nobody.
    stride = math.ceil(len(hover_points) / _MOST_HOVERS) or 1
    hovers = [
        _dot(frame.place(x, y), 'r="7" fill="#000" fill-opacity="0"', _hover_text(line.name, x, y))
        for x, y in hover_points[::stride]
    ]
    return Marks(_band(line, index, frame), "".join(paths), "".join(hovers))


def _hover_text(name: str, x: float, y: float) -> str:
    return f"{name}\n{short_number(x)}: {y:.6g}"


def _dot(place: tuple[float, float], attributes: str, title: str = "") -> str:
    inner = f"<title>{safe(title)}</title>" if title else ""
    return f'<circle cx="{place[0]:.1f}" cy="{place[1]:.1f}" {attributes}>{inner}</circle>'


def _stretches(points: Sequence[tuple[float, Number]]) -> list[list[tuple[float, float]]]:
    """Cuts a line at its gaps."""
    stretches: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if finite(x) and finite(y):
            stretches[-1].append((x, float(y)))
        elif stretches[-1]:
            stretches.append([])
    return [stretch for stretch in stretches if stretch]


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most about `_MOST_POINTS` of the points: the lowest and highest of every bucket, and both ends."""
    if len(points) <= _MOST_POINTS:
        return points
    # Two points a bucket: averages would hide the spikes that a reader looks for.
    size = math.ceil(2 * len(points) / _MOST_POINTS)
    indices = {0, len(points) - 1}
    for start in range(0, len(points), size):
        bucket = range(start, min(start + size, len(points)))
        indices |= {min(bucket, key=lambda i: points[i][1]), max(bucket, key=lambda i: points[i][1])}
    return [points[index] for index in sorted(indices)]


def _band(line: Series, index: int, frame: Frame) -> str:
    """Draws the shaded range: a closed shape for each stretch that has both edges."""
    if line.band is None:
        return ""
    shapes: list[str] = []
    corners: list[tuple[float, float, float]] = []
    # A last gap closes the last shape.
    for x, low, high in [*zip(line.xs, *line.band, strict=True), (0.0, None, None)]:
        if finite(low) and finite(high):
            corners.append((x, low, high))
        elif corners:
            # There along the highs, and back along the lows.
            edge = [frame.place(x, high) for x, _, high in corners]
            edge += [frame.place(x, low) for x, low, _ in reversed(corners)]
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in edge)
            shapes.append(f'<path d="M{path}Z" fill-opacity="0.15" {paint(line, index, "fill")}/>')
            corners = []
    return "".join(shapes)


def paint(line: Series, index: int, attribute: str = "stroke") -> str:
    """Returns the SVG colour of a stroke or fill, and the class by which a dark page repaints the mark."""
    if line.colour:
        return f'{attribute}="{safe(line.colour)}"'
    # Both a class and an attribute: the attribute serves a picture alone, the class a page that repaints.
    number = index % len(PALETTE)
    return f'class="{attribute[0]}{number}" {attribute}="{PALETTE[number]}"'


def stroke(line: Series, index: int) -> str:
    """Returns the SVG colour and dashes of a line."""
    # A colour that comes for the second time is dotted: no two lines look alike.
    if line.colour is None and index >= len(PALETTE):
        return paint(line, index) + ' stroke-dasharray="2 3"'
    return paint(line, index) + (' stroke-dasharray="6 4"' if line.dashed else "")
