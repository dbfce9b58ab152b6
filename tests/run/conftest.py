"""Two policies that runs start from: with random weights, and taught."""

from pathlib import Path

import pytest

from dupo.train import main
from tests.helpers.worlds import save_tiny


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy with random weights; a run from it needs no teaching."""
    return save_tiny(tmp_path_factory.mktemp("model") / "untrained")


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in run, cut short: its folder holds the taught policy as checkpoint-0."""
    run = tmp_path_factory.mktemp("runs") / "taught"
    options = ["--max_steps", "12", "--eval_steps", "6", "--eval_size", "500", "--num_threads", "1"]
    options += ["--lr_scheduler_type", "constant"]
    assert main([*options, "--output_dir", str(run)]) == 0
    return run
