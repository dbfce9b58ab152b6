"""Benches whose pages are checked: they have the newest figures, and tables tell what was measured."""

import json
from pathlib import Path

import pytest

from bench import methods, trainer_versions
from bench.result_files import newest
from bench.training import offline_methods, trl_learning, trl_trainers
from tests.helpers.project import ROOT


@pytest.mark.parametrize("bench", [trl_learning, trl_trainers], ids=["learning", "trainers"])
def test_the_page_has_the_newest_result(bench: object) -> None:
    page = (ROOT / bench.PAGE).read_text(encoding="utf-8")  # type: ignore[attr-defined]
    published = bench.publish(page, newest(bench.THEME))  # type: ignore[attr-defined]
    assert published == page, f"python -m {bench.__name__} --write"  # type: ignore[attr-defined]


def test_the_readme_has_the_newest_versions() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    published = trainer_versions.publish(page, newest(trainer_versions.THEME))
    assert published == page, "python -m bench.trainer_versions --write"


def test_ratios_are_those_of_runs_that_were_made_together() -> None:
    rows = [{"peak_bytes": 2**20 * peak, "seconds": seconds} for peak, seconds in ((10, 2.0), (20, 4.0))]
    ours = [{"peak_bytes": 2**20 * peak, "seconds": seconds} for peak, seconds in ((5, 1.0), (5, 6.0))]
    result = {"kind": "dpo", "apart": 0.25, "metric": "loss, step 2", "stock": rows, "ours": ours}
    text = trl_trainers.markdown([result])
    assert "| DPO     | 15         | 5         | 0.38 (0.25-0.50) | 3.00" in text
    assert "| 1.00 (0.50-1.50) | 0.25 (loss, step 2) |" in text


def test_what_was_not_measured_is_said() -> None:
    assert trl_trainers.section(None) == trl_learning.section(None) == "Not measured yet."
    assert trainer_versions.section(None) == "Not compared yet."
    assert isinstance(trl_trainers.PAGE, Path)


def test_the_page_has_the_newest_ways_to_learn() -> None:
    page = methods.PAGE.read_text(encoding="utf-8")
    assert methods.publish(page, newest(methods.THEME)) == page, "python -m bench.methods --write"


def test_a_way_is_told_by_its_seeds(tmp_path: Path) -> None:
    curves = [[[0, 0.5], [20, 0.9], [40, 0.7]], [[0, 0.3], [20, 0.5], [40, 0.6]]]
    runs = [
        {"way": way.name, "seed": seed, "seconds": 10.0 + seed, "curve": curve}
        for way in methods.WAYS
        for seed, curve in enumerate(curves)
    ]
    made_by = {"command": "c", "git": "g", "device": "CPU", "torch": "2"}
    path = tmp_path / "methods.json"
    path.write_text(json.dumps({"signature": made_by, "runs": runs}))
    row = next(line for line in methods.section(path).splitlines() if line.startswith("| rft  "))
    assert [cell.strip() for cell in row.split("|")[3:6]] == ["40.0", "65.0 (60.0 to 70.0)", "75.0"]


def test_the_page_has_the_newest_offline_methods() -> None:
    page = offline_methods.PAGE.read_text(encoding="utf-8")
    published = offline_methods.publish(page, newest(offline_methods.THEME))
    assert published == page, "python -m bench.training.offline_methods --write"


@pytest.mark.parametrize(("rows", "padding"), offline_methods.PADDED.items())
def test_as_much_is_padding_as_is_said(rows: str, padding: float) -> None:
    for made in offline_methods.texts(240, padding), offline_methods.texts(60, padding):
        for answer in ("chosen", "rejected"):
            lengths = [len(row["prompt"] + row[answer]) for row in made]
            assert 1 - sum(lengths) / (len(lengths) * max(lengths)) == pytest.approx(padding, abs=0.01), rows
