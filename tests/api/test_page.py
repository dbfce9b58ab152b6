"""The page on Python: its blocks run from top to bottom, as a reader types them."""

import re
from typing import Any

import pytest

from tests.helpers.project import ROOT


@pytest.mark.slow
@pytest.mark.full
def test_the_blocks_of_the_page_run(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.DOTALL)
    assert len(blocks) > 5
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert names["steps"].result.stopped and len(names["resumed"].metrics) == 4
    assert "unknown option --learning_rat: did you mean --learning_rate?" in capsys.readouterr().out
