"""The pages in a real browser: every chart is drawn, and nothing runs but what the page names."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dupo.views.compare_page import write_comparison
from dupo.views.rerank_page import write_answers
from dupo.views.run_page import write_report
from tests.views.test_folder_page import ROWS, rerank_folder
from tests.views.test_run_page import full_run

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
FLAGS += " --disable-component-update --virtual-time-budget=3000 --window-size=400,900 --dump-dom"


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_every_chart_is_drawn(tmp_path: Path) -> None:
    runs = [full_run(tmp_path / name) for name in ("a", "b")]
    pages = {write_report(runs[0]): 1, write_comparison(runs, tmp_path / "comparison.html"): 0}
    pages[write_answers(rerank_folder(tmp_path / "k", ROWS))] = 0
    for page, num_folded in pages.items():
        flags = [*FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}"]
        done = subprocess.run([BROWSER, *flags, page.as_uri()], capture_output=True, text=True, timeout=120)  # type: ignore[list-item]
        dom = re.sub(r"<script>.*?</script>", "", done.stdout, flags=re.S)
        charts, drawn = dom.count('<figure class="chart"'), len(re.findall(r'class="u-wrap"', dom))
        # A chart in closed details is drawn when they are opened.
        assert charts > 0 and drawn == charts - num_folded, page
        assert (
            "could not be drawn" not in dom and '<details class="values" open' not in dom.partition("more")[0]
        )
        assert "Content Security Policy" not in done.stderr
