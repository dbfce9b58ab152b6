"""Charts: marks land where the axes say, gaps stay gaps, and no two lines look alike."""

import math
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from dupo.views.chart import line_chart
from dupo.views.marks import Series
from dupo.views.scales import span
from tests.helpers.pages import SVG, hovers


def draw(*series: Series, **options: Any) -> ET.Element:
    return ET.fromstring(line_chart(series, **{"title": "t", "x_label": "x", "y_label": "y", **options}))


def lines(svg: ET.Element) -> list[list[tuple[float, float]]]:
    paths = [path.get("d", "") for path in svg.iter(f"{SVG}path") if path.get("fill") == "none"]
    return [[tuple(map(float, corner.split())) for corner in path[1:].split("L")] for path in paths]  # type: ignore[misc]


def texts(svg: ET.Element) -> list[str]:
    return [text.text or "" for text in svg.iter(f"{SVG}text")]


def test_points_land_where_the_ticks_say() -> None:
    svg = draw(Series("a", [0, 5, 10], [0.0, 0.25, 1.0]), y_range=(0, 1), width=400, height=300)
    ((start, middle, end),) = lines(svg)
    at = {text.text: (float(text.get("x", 0)), float(text.get("y", 0))) for text in svg.iter(f"{SVG}text")}
    assert (start[0], end[0]) == (at["0"][0], at["10"][0])
    assert middle[0] == pytest.approx((start[0] + end[0]) / 2, abs=0.1)
    assert (start[1] - middle[1]) / (start[1] - end[1]) == pytest.approx(0.25, abs=0.01)
    assert at["0.2"][1] - 4 == pytest.approx(start[1] + 0.2 * (end[1] - start[1]), abs=0.11)
    assert 0 < end[1] < start[1] < 300


def test_a_gap_breaks_the_line_and_a_lone_point_is_a_dot() -> None:
    ys = [1.0, 2.0, None, 3.0, math.nan, 1.0, 2.0, math.inf, *[1.0] * 40]
    svg = draw(Series("a", list(range(48)), ys))
    assert [len(line) for line in lines(svg)] == [2, 2, 40]
    dots = [c for c in svg.iter(f"{SVG}circle") if c.get("fill") == "none"]
    assert len(dots) == 1
    assert "a\n3: 3" in hovers(svg)


@pytest.mark.parametrize(
    ("xs", "ys"),
    [
        ([], []),
        ([3], [1e-6]),
        ([1, 2], [4.2, 4.2]),
        ([1, 2], [0.0, 0.0]),
        ([1, 2], [None, math.nan]),
        ([5, 5], [1, 2]),
    ],
    ids=["nothing", "one", "constant", "zero", "gaps", "same-x"],
)
def test_degenerate_series_draw_finite_pictures(xs: list[float], ys: list[Any]) -> None:
    text = line_chart([Series("a", xs, ys)], title="t", x_label="x", y_label="y")
    assert "nan" not in text and "inf" not in text
    svg = ET.fromstring(text)
    drawn = [y for y in ys if y is not None and math.isfinite(y)]
    assert len([c for c in svg.iter(f"{SVG}circle") if c.get("fill") == "none"]) == len(drawn)
    for circle in svg.iter(f"{SVG}circle"):
        assert 0 < float(circle.get("cx", -1)) < 720 and 0 < float(circle.get("cy", -1)) < 360


def test_many_points_are_thinned_and_spikes_stay() -> None:
    ys: list[float] = [0.0, *(float((-1) ** x) for x in range(9_998)), 0.0]
    ys[4321], ys[8765] = 9.0, -9.0
    text = line_chart([Series("a", list(range(10_000)), ys)], title="t", x_label="x", y_label="y")
    (line,) = lines(ET.fromstring(text))
    assert 200 < len(line) <= 700 and len(text) < 60_000
    whole = lines(draw(Series("a", [0, 4321, 8765, 9999], [ys[i] for i in (0, 4321, 8765, 9999)])))[0]
    assert set(whole) <= set(line)  # both ends and both spikes, at the same pixels


def test_values_outside_the_range_stop_at_its_edge() -> None:
    (line,) = lines(draw(Series("a", [0, 1, 2], [0.0, 1.0, 50.0]), y_range=(0, 1)))
    assert line[1][1] == line[2][1]


def test_bands_surround_the_line_and_break_at_gaps() -> None:
    xs = [0, 1, 2, 3, 4]
    svg = draw(Series("a", xs, [1.0] * 5, band=([0, 0, None, 0, 0], [2, 2, 2, 2, 2])))
    bands = [p for p in svg.iter(f"{SVG}path") if p.get("fill-opacity")]
    assert len(bands) == 2
    edges = [tuple(map(float, c.split())) for c in bands[0].get("d", "")[1:-1].split("L")]
    height = lines(svg)[0][0][1]
    assert [y < height for _, y in edges] == [True, True, False, False]


def test_alone_it_has_a_ground_a_legend_and_colours_that_differ() -> None:
    svg = draw(Series("dual", [1, 2], [1, 2]), Series("gold", [1, 2], [2, 3], "#123456", dashed=True))
    ground = next(iter(svg))
    assert (ground.tag, ground.get("fill")) == (f"{SVG}rect", "#ffffff")
    assert {"dual", "gold", "t", "x", "y"} <= set(texts(svg))
    strokes = [p for p in svg.iter(f"{SVG}path") if p.get("fill") == "none"]
    assert [p.get("stroke") for p in strokes] == ["#0072b2", "#123456"]
    assert [p.get("stroke-dasharray") for p in strokes] == [None, "6 4"]
    assert not list(svg.iter(f"{SVG}style")) and not list(svg.iter(f"{SVG}script"))


def test_no_two_lines_look_alike() -> None:
    svg = draw(*(Series(str(n), [1, 2], [n, n + 1], dashed=n > 2) for n in range(10)))
    strokes = [p for p in svg.iter(f"{SVG}path") if p.get("fill") == "none"]
    looks = [(p.get("stroke"), p.get("stroke-dasharray")) for p in strokes]
    assert len(set(looks)) == 10 and [look[1] for look in looks] == [None] * 3 + ["6 4"] * 4 + ["2 3"] * 3


def test_long_legends_wrap_inside_the_picture() -> None:
    svg = draw(*(Series(f"an arm with a long name {n}", [1, 2], [n, n + 1]) for n in range(7)), width=460)
    entries = [text for text in svg.iter(f"{SVG}text") if (text.text or "").startswith("an arm")]
    assert len({text.get("y") for text in entries}) >= 4
    assert all(float(t.get("x", 0)) + 6.8 * len(t.text or "") < 460 for t in entries)
    assert max(float(text.get("y", 0)) for text in entries) < min(y for line in lines(svg) for _, y in line)


def test_short_runs_have_whole_steps_on_the_axis() -> None:
    labels = texts(draw(Series("a", [1, 2, 3], [0.1, 0.2, 0.3]), x_label="step"))
    assert {"1", "2", "3"} <= set(labels) and not {"1.5", "2.5"} & set(labels)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="low < high"):
        draw(Series("a", [1], [1]), y_range=(1, 1))
    with pytest.raises(ValueError, match=r"shorter|longer"):
        draw(Series("a", [1, 2], [1]))


def test_a_nearly_flat_line_looks_flat() -> None:
    """An axis spans a tenth of its numbers at least: lengths from 4.98 to 5.01 do not fill the chart."""
    low, high = span([4.98, 5.0, 5.01], 0.05)
    assert (low + high) / 2 == pytest.approx(4.995) and high - low == pytest.approx(0.501)
    assert span([1.0, 2.0], 0.05) == (0.95, 2.05)  # a line that moves fills the chart
    assert span([0.0, 0.001], 0.05) == (-0.00005, 0.00105)  # around nothing, any move is large
    assert span([100.0, 101.0], 0.0) == (100.0, 101.0)  # steps on an x axis end with the data
