"""Charts as data: what `templates/charts.js` draws with uPlot, and the same figures as a table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeGuard, TypeVar

from dupo.views.escaping import visible
from dupo.views.lenient import finite
from dupo.views.scales import Number, short_number, span

STEPS = "optimizer step"
_MOST_POINTS, _MOST_ROWS = 1000, 25
_LARGEST = 1e15  # beyond it a browser finds no round numbers for an axis
Item = TypeVar("Item")


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        xs: as many numbers as `ys`, ascending.
        ys: values; None, NaN and infinities leave a gap.
        look: number of colour and dashes; None: the place of the line in its chart.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[Number]
    look: int | None = None

    def __post_init__(self) -> None:
        if len(self.xs) != len(self.ys):
            raise ValueError(f"{self.name}: expected as many ys as xs, {len(self.xs)}, got {len(self.ys)}")

    @cached_property
    def points(self) -> list[tuple[float, float | None]]:
        """The points that can be drawn; None is a gap."""
        pairs = zip(self.xs, self.ys, strict=True)
        return [(float(x), float(y) if _drawable(y) else None) for x, y in pairs if _drawable(x)]

    @cached_property
    def values(self) -> list[float]:
        """The ys that can be drawn."""
        return [y for _, y in self.points if y is not None]


@dataclass(frozen=True)
class Chart:
    """Lines over a common axis.

    Attributes:
        note: what the lines show, of how many of what; one sentence under the title.
        y_range: (low, high) of the y axis; None: fits the values, and leaves flat lines flat.
        least: the smallest span that a fitted y axis has: what moves less is noise.
        stepped: a value holds until the next x.
    """

    title: str
    note: str
    x_label: str
    lines: Sequence[Series]
    y_range: tuple[float, float] | None = None
    stepped: bool = False
    least: float = 0.0

    @cached_property
    def constant(self) -> float | None:
        """The one value that all points have; None where there are two, or none at all."""
        values = {value for line in self.lines for value in line.values}
        return values.pop() if len(values) == 1 else None

    @property
    def is_empty(self) -> bool:
        """Whether no line has a point."""
        return not any(line.values for line in self.lines)

    def data(self) -> dict[str, Any]:
        """What the script of the page reads: plain values for JSON, all numbers finite."""
        lines = [
            {
                "name": visible(line.name),
                "look": index if line.look is None else line.look,
                **_columns(_thinned(line.points)),
            }
            for index, line in enumerate(self.lines)
        ]
        xs = [x for line in lines for x in line["xs"]]
        return {
            "title": visible(self.title),
            "x": visible(self.x_label),
            "whole": all(x == round(x) for x in xs),
            "stepped": self.stepped,
            "lines": lines,
            # The x axis ends with the data; the y axis keeps a little air: no line runs along an edge.
            "range": {
                "x": span(xs, 0.0),
                "y": self.y_range or span([y for line in self.lines for y in line.values], 0.05, self.least),
            },
        }

    def tables(self) -> list[list[list[str]]]:
        """The figures in words, one table for all lines over the same xs, its header first.

        Of many points a few are told, evenly spaced, with both ends.
        """
        groups: dict[tuple[float, ...], list[Series]] = {}
        for line in self.lines:
            groups.setdefault(tuple(x for x, _ in line.points), []).append(line)
        tables = []
        for xs, lines in groups.items():
            columns = [[y for _, y in line.points] for line in lines]
            rows = evenly_spaced(list(zip(xs, *columns, strict=True)), _MOST_ROWS)
            cells = [[short_number(x), *map(_written, ys)] for x, *ys in rows]
            tables.append([[self.x_label, *(line.name for line in lines)], *cells])
        return tables


def evenly_spaced(items: Sequence[Item], count: int) -> list[Item]:
    """Returns `count` items, at least 2, from the first to the last at equal distances; all if fewer."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def _written(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _drawable(value: object) -> TypeGuard[float]:
    return finite(value) and abs(value) <= _LARGEST


def _columns(points: Sequence[tuple[float, float | None]]) -> dict[str, list[float | int | None]]:
    # Six digits are more than a screen can show, and keep the page small.
    return {
        "xs": [int(x) if x == round(x) else x for x, _ in points],
        "ys": [None if y is None else float(f"{y:.6g}") for _, y in points],
    }


def _thinned(points: list[tuple[float, float | None]]) -> list[tuple[float, float | None]]:
    """At most about `_MOST_POINTS` of the points: the lowest and highest of every bucket, gaps, both ends."""
    if len(points) <= _MOST_POINTS:
        return points
    # Two points a bucket: averages would hide the spikes that a reader looks for.
    size = math.ceil(2 * len(points) / _MOST_POINTS)
    indices = {0, len(points) - 1}
    for start in range(0, len(points), size):
        bucket = range(start, min(start + size, len(points)))
        heights = {i: y for i in bucket if (y := points[i][1]) is not None}
        if heights:
            indices |= {min(heights, key=heights.__getitem__), max(heights, key=heights.__getitem__)}
        # One point without a value keeps a gap a gap.
        indices |= set([i for i in bucket if i not in heights][:1])
    return [points[index] for index in sorted(indices)]
