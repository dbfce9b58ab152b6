"""What the tests share: a policy to start from, and one small run that every test damages a copy of."""

from pathlib import Path

import pytest

from tests.helpers.small_world import MORE, contents, make_world
from tests.helpers.worlds import save_tiny


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy with random weights; a run from it needs no teaching."""
    return save_tiny(tmp_path_factory.mktemp("model") / "untrained")


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `world`, a run of 4 steps, and `other`, the same with another seed."""
    folder = tmp_path_factory.mktemp("worlds")
    make_world(folder / "world")
    make_world(folder / "other", "--seed", "1", model_seed=1)
    return folder


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes | None]:
    """What a run leaves that was never stopped."""
    return contents(make_world(tmp_path_factory.mktemp("unbroken") / "world", steps=MORE) / "run")
