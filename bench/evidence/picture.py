"""Curves as an SVG that is complete in itself, on light and on dark pages: drawn by matplotlib."""

from collections.abc import Sequence
from io import StringIO
from typing import Any, NamedTuple

# Colour on white, and on a dark page. Lines also differ in dashes and markers: told apart in grey as well.
COLOURS = (
    ("#0072b2", "#58b0ea"),
    ("#d55e00", "#ff8c42"),
    ("#009e73", "#2fc79a"),
    ("#b3578b", "#e5a3c8"),
    ("#8a6d00", "#e0bb4f"),
    ("#3a9bd9", "#9ad7ff"),
    ("#6e6e6e", "#a8a8a8"),
    ("#7a4fa3", "#c3a1e8"),
    ("#8c3b2e", "#e58f80"),
    ("#3f6f1f", "#a3d27c"),
)
DASHES = (
    "-",
    (0, (7, 1.5)),
    (0, (5, 2)),
    (0, (1, 1.5)),
    (0, (6, 2, 1, 2)),
    (0, (3, 1)),
    (0, (8, 3)),
    (0, (1, 3)),
)
MARKERS = "os^Dv<>PX*"
# Ground, ink, muted ink and grid, as above.
SHADES = (("#fefefe", "#111417"), ("#1d2024", "#e6e8eb"), ("#5f656d", "#9ba2aa"), ("#e1e3e6", "#2c3238"))
GROUND, INK, MUTED, GRID = (light for light, _ in SHADES)
LEAST_GAP = 0.052  # of the height of the axes, between the names of two lines


class Curve(NamedTuple):
    """One line.

    Attributes:
        band: (lows, highs) of a shaded range around the line, each as long as `xs`; None: no band.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    band: tuple[Sequence[float], Sequence[float]] | None = None


def draw(curves: Sequence[Curve], *, title: str, x_label: str, y_label: str) -> str:
    """Draws lines over a common axis, a name beside the end of each; the y axis goes from 0 to 1.

    Raises:
        ValueError: there are more lines than colours.
    """
    if len(curves) > len(COLOURS):
        raise ValueError(f"curves: expected at most {len(COLOURS)}, got {len(curves)}")
    # Imported here, because what reads tables alone need not wait for it.
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Text stays text; a fixed salt makes the same bytes of the same curves.
    style: dict[str, Any] = {"svg.fonttype": "none", "svg.hashsalt": "dupo", "font.size": 10}
    style |= {"font.sans-serif": ["DejaVu Sans", "Arial", "sans-serif"]}
    with mpl.rc_context(style):
        figure = Figure(figsize=(8, 4.2), facecolor=GROUND)
        axes = figure.add_axes((0.075, 0.13, 0.68, 0.74), facecolor=GROUND)
        for index, curve in enumerate(curves):
            _draw_curve(axes, curve, index)
        axes.set(ylim=(0, 1), xlabel=x_label, ylabel=y_label)
        axes.set_xlim(min(x for c in curves for x in c.xs), max(x for c in curves for x in c.xs))
        axes.set_title(title, loc="left", fontsize=11.5, fontweight="bold", color=INK, pad=12)
        axes.grid(axis="y", color=GRID)
        axes.set_axisbelow(True)
        axes.tick_params(length=0, labelcolor=MUTED)
        axes.xaxis.label.set_color(MUTED)
        axes.yaxis.label.set_color(MUTED)
        axes.spines[:].set_visible(False)
        _name_curves(axes, curves)
        file = StringIO()
        figure.savefig(file, format="svg", facecolor=GROUND, metadata={"Date": None, "Creator": None})
    return file.getvalue().replace("</svg>", f"<style>{_dark_style()}</style>\n</svg>")


def _draw_curve(axes: Any, curve: Curve, index: int) -> None:
    colour = COLOURS[index][0]
    if curve.band is not None:
        axes.fill_between(curve.xs, *curve.band, color=colour, alpha=0.13, linewidth=0)
    axes.plot(
        curve.xs,
        curve.ys,
        color=colour,
        linestyle=DASHES[index % len(DASHES)],
        linewidth=2.2 if index < 2 else 1.6,
        marker=MARKERS[index % len(MARKERS)],
        markersize=4,
        clip_on=False,
    )


def _name_curves(axes: Any, curves: Sequence[Curve]) -> None:
    """Writes each name at the right, at the height of the end of its line or as near as there is room."""
    order = sorted(range(len(curves)), key=lambda i: curves[i].ys[-1])
    for index, height in zip(order, _apart([curves[i].ys[-1] for i in order]), strict=True):
        colour = COLOURS[index][0]
        line = {"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkA": 2, "shrinkB": 5}
        axes.annotate(
            curves[index].name,
            (1.0, curves[index].ys[-1]),
            (1.05, height),
            xycoords=("axes fraction", "data"),
            color=colour,
            fontsize=9.5,
            verticalalignment="center",
            annotation_clip=False,
            arrowprops=line | {"relpos": (0, 0.5)},
        )


def _apart(heights: Sequence[float]) -> list[float]:
    """Ascending heights moved until any two are `LEAST_GAP` apart, a bundle around its own middle."""
    # Pool adjacent violators: each pool is [wanted place of its lowest name, number of names].
    pools: list[list[float]] = []
    for place, height in enumerate(heights):
        pools.append([height - place * LEAST_GAP, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (low, few), (high, more) = pools[-2:]
            pools[-2:] = [[(low * few + high * more) / (few + more), few + more]]
    places = [start for start, count in pools for _ in range(int(count))]
    # No name stands below the axes.
    return [max(start, 0.0) + place * LEAST_GAP for place, start in enumerate(places)]


def _dark_style() -> str:
    """Repaints each colour where the reader prefers dark pages; other readers get the picture as it is."""
    rules = [
        f'[style*="{paint}: {light}"]{{{paint}:{dark}!important}}'
        for light, dark in (*COLOURS, *SHADES)
        for paint in ("fill", "stroke")
    ]
    return "@media(prefers-color-scheme:dark){" + "".join(rules) + "}"
