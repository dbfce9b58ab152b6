"""The policy that the runs start from."""

from pathlib import Path

import pytest

from tests.helpers.worlds import save_tiny


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy with random weights; a run from it needs no teaching."""
    return save_tiny(tmp_path_factory.mktemp("model") / "untrained")
