"""The benches of TRL's trainers: pages have the newest figures, and tables tell what was measured."""

from pathlib import Path

import pytest

from bench import trainer_versions
from bench.result_files import newest
from bench.training import trl_learning, trl_trainers
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
