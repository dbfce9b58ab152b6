"""Charts as data: what the script draws is finite, gaps stay gaps, noise looks flat; uPlot is as it came."""

import hashlib
import math
import re
from typing import Any

import pytest

from dupo.views import pages
from dupo.views.charts import Chart, Series, evenly_spaced
from dupo.views.scales import span


def data(*lines: Series, **options: Any) -> dict[str, Any]:
    return Chart("t", "n", "x", lines, **options).data()


def test_a_gap_stays_a_gap() -> None:
    (line,) = data(Series("a", list(range(5)), [1.0, None, math.nan, math.inf, 2.0]))["lines"]
    assert (line["xs"], line["ys"]) == ([0, 1, 2, 3, 4], [1.0, None, None, None, 2.0])


@pytest.mark.parametrize(
    ("xs", "ys"),
    [
        ([], []),
        ([3], [1e-6]),
        ([1, 2], [4.2, 4.2]),
        ([1, 2], [0.0, 0.0]),
        ([1, 2], [None, math.nan]),
        ([5, 5], [1, 2]),
        ([1e300, 1], [1e300, 5e-324]),
    ],
    ids=["nothing", "one", "constant", "zero", "gaps", "same-x", "huge"],
)
def test_axes_have_two_finite_ends(xs: list[float], ys: list[Any]) -> None:
    for low, high in data(Series("a", xs, ys))["range"].values():
        assert low < high and math.isfinite(low) and math.isfinite(high)


def test_many_points_are_thinned_and_spikes_and_gaps_stay() -> None:
    ys: list[float | None] = [0.0, *(float((-1) ** x) for x in range(9_998)), 0.0]
    ys[4321], ys[8765], ys[6000] = 9.0, -9.0, None
    (line,) = data(Series("a", list(range(10_000)), ys))["lines"]
    assert 500 < len(line["xs"]) <= 1100
    drawn = dict(zip(line["xs"], line["ys"], strict=True))
    assert [drawn[x] for x in (0, 4321, 6000, 8765, 9999)] == [0.0, 9.0, None, -9.0, 0.0]


def test_lines_look_different_unless_they_are_told_what_to_look_like() -> None:
    chart = data(*(Series(str(n), [1], [n]) for n in range(3)), Series("run", [1], [1], look=7))
    assert [line["look"] for line in chart["lines"]] == [0, 1, 2, 7]


def test_the_figures_are_told_as_tables() -> None:
    lines = [Series("a", [0, 10], [0.25, None]), Series("b", [0, 10], [1, 2]), Series("c", [0, 15], [3, 4])]
    tables = Chart("t", "n", "step", lines).tables()
    assert tables == [
        [["step", "a", "b"], ["0", "0.25", "1"], ["10", "–", "2"]],
        [["step", "c"], ["0", "3"], ["15", "4"]],
    ]
    (table,) = Chart("t", "n", "step", [Series("a", list(range(1000)), [1.0] * 1000)]).tables()
    assert len(table) == 26 and table[1][0] == "0" and table[-1][0] == "999"


def test_a_chart_of_equal_values_is_known_as_one() -> None:
    assert Chart("t", "n", "x", [Series("a", [1, 2], [3, 3]), Series("b", [1, 2], [None, 3])]).constant == 3
    assert Chart("t", "n", "x", [Series("a", [1, 2], [3, 4])]).constant is None
    assert Chart("t", "n", "x", [Series("a", [1], [None])]).is_empty


def test_a_series_needs_as_many_ys_as_xs() -> None:
    with pytest.raises(ValueError, match="as many ys as xs"):
        Series("a", [1, 2], [1])


def test_a_nearly_flat_line_looks_flat() -> None:
    """An axis spans a tenth of its numbers at least: lengths from 4.98 to 5.01 do not fill the chart."""
    low, high = span([4.98, 5.0, 5.01], 0.05)
    assert (low + high) / 2 == pytest.approx(4.995) and high - low == pytest.approx(0.501)
    assert span([1.0, 2.0], 0.05) == (0.95, 2.05)  # a line that moves fills the chart
    assert span([0.0, 0.001], 0.05) == (-0.00005, 0.00105)  # around nothing, any move is large
    assert span([-0.001, 0.001], 0.05, least=0.1) == pytest.approx((-0.05, 0.05))  # unless moves mean nothing
    assert span([100.0, 101.0], 0.0) == (100.0, 101.0)  # steps on an x axis end with the data


def test_evenly_spaced_keeps_both_ends() -> None:
    assert evenly_spaced("abcdefghi", 3) == ["a", "e", "i"] and evenly_spaced("ab", 3) == ["a", "b"]


def test_the_files_of_uplot_are_those_that_came() -> None:
    folder = pages._UPLOT
    sums = dict(re.findall(r"`([\w.]+)` \| `([0-9a-f]{64})`", (folder / "ORIGIN.md").read_text()))
    assert sums.keys() == {file.name for file in folder.iterdir()} - {"ORIGIN.md"}
    for name, checksum in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == checksum, name
    (version,) = re.findall(r"version (\S+), whose", " ".join((folder / "ORIGIN.md").read_text().split()))
    assert f"(v{version})" in (folder / "uPlot.iife.min.js").read_text()[:200]
    assert b"MIT License" in (folder / "LICENSE").read_bytes()
