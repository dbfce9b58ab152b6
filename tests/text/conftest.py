"""Runs a test twice: served by the extension, and served by the Python twins."""

import pytest

from dupo.text import extension
from tests.helpers.extension import needs_extension


@pytest.fixture(
    params=[pytest.param(True, marks=needs_extension, id="extension"), pytest.param(False, id="python")]
)
def served_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.param:
        monkeypatch.setattr(extension, "core", lambda: None)
