"""The notebook of `examples/`, run in a real kernel as a reader runs it."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from dupo.views.plain import PlainOutput
from dupo.views.terminal import Display
from tests.helpers.project import ROOT

NOTEBOOK = ROOT / "examples/first_steps.ipynb"


def test_the_notebook_is_valid_and_holds_no_outputs() -> None:
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_outside_of_a_notebook_there_is_no_bar_of_html() -> None:
    assert type(Display()._output) is PlainOutput


@pytest.mark.slow
@pytest.mark.full
def test_the_notebook_runs_with_one_bar_a_run_and_few_lines(here: Path, monkeypatch: Any) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "kernels")]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(here)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    told = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "Traceback" not in told and not re.search(r"^(step|problem) \d+/", told, re.MULTILINE)
    errors = [output.text for output in outputs if output.get("name") == "stderr"]
    assert errors == []
    shown = [json.dumps(output.data) for output in outputs if "data" in output]
    # Three trainings, one of them in two starts; rerank and audit.
    assert sum("<progress " in text for text in shown) == 6
    assert sum("<table>" in text for text in shown) == 5
    assert any("problem 50/50" in text for text in shown)
