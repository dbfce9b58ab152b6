"""The table of the README is computed from runs, and its sentence from the same figures."""

import runpy
from pathlib import Path

import pytest

EVIDENCE = runpy.run_path(str(Path(__file__).parents[1] / "bench" / "evidence.py"))


def row(arm, rate, seed, before, values):
    curve = [(10 * i, before + v) for i, v in enumerate([0.0, *values])]
    change, peak = values[-1], max(0.0, *values)
    found = dict(before=before, change=change, peak=peak, reward_auc=0.9, seconds=100.0 + seed, curve=curve)
    return dict(arm=arm, rate=rate, seed=seed, **found)


ROWS = [
    *(row("dual", "", s, 0.5, [0.2, 0.3 + 0.1 * s]) for s in range(2)),
    *(row("gold", "", s, 0.5, [0.3, 0.4]) for s in range(2)),
    *(row(arm, rate, s, 0.5, [0.02 * s, -0.3 if rate == "" else -0.05])
      for arm in ("random", "shuffled", "majority") for rate in ("", " / 3", " / 10") for s in range(2)),
]  # fmt: skip
SUPERVISED = [{"budget": 50.0, "curve": [[0.0, 0.5], [30.0, 0.7], [60.0, 0.6]], "labels": 3000}]


def test_table_and_verdict():
    lines = EVIDENCE["table"](ROWS, SUPERVISED).splitlines()
    assert len(lines) == 2 + 2 + 9 + 1
    assert len({line.count("|") for line in lines}) == 1
    assert "| **dual** | 3e-04 | none | 50.0 | +35.0 (+40.0) | +35.0 (+30.0) | 0.90 |" in lines
    assert lines[-1].endswith("| 1e-03 | 3,000 new ones | 50.0 | +20.0 (+20.0) | +10.0 (+10.0) | |")
    text = EVIDENCE["verdict"](ROWS)
    assert "gains 35.0 points" in text and "88% of what gold" in text and "+2.0 points for random" in text
    falls, stays = text.split("Those that stay")
    assert "random at 3e-04" in falls and "random at 3e-05" in stays and "random at 3e-05" not in falls


def test_picture_shows_the_arms():
    svg = EVIDENCE["picture"](ROWS, SUPERVISED)
    assert all(name in svg for name in ("dual", "gold", "random, lr 3e-05", "warm-up continued"))
    assert EVIDENCE["value_at"](SUPERVISED[0]["curve"], 29.0) == 0.5


def test_the_grid_is_what_the_readme_promises():
    runs = EVIDENCE["grid"](True, 5)
    assert len(runs) == len({run.name for run in runs}) == 5 + 3 * 3 * 5
    assert EVIDENCE["RATES"] == {"": 3e-4, " / 3": pytest.approx(1e-4), " / 10": pytest.approx(3e-5)}
