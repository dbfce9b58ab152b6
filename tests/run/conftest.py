"""Policies that runs start from: with random weights, taught, and hardly taught."""

from pathlib import Path

import pytest

from dupo.methods import teaching
from dupo.train import main
from tests.helpers.worlds import save_tiny


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy with random weights; a run from it needs no teaching."""
    return save_tiny(tmp_path_factory.mktemp("model") / "untrained")


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in run, cut short: its folder holds the taught policy as checkpoint-0. For slow tests."""
    return built_in_run(tmp_path_factory.mktemp("runs") / "taught")


@pytest.fixture(scope="session")
def hardly_taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after a few steps of teaching: all files are there, and hardly an answer is right."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teaching, "MAX_STEPS", 50)
        # Random rewards, so that every step has a gradient.
        return built_in_run(
            tmp_path_factory.mktemp("runs") / "hardly_taught", "--teach", "--reward", "random"
        )


def built_in_run(folder: Path, *more: str) -> Path:
    """A run of the built-in model and task, with 12 steps after its teaching."""
    options = ["--max_steps", "12", "--eval_steps", "6", "--eval_size", "500", "--num_threads", "1"]
    options += ["--lr_scheduler_type", "constant"]
    assert main([*options, *more, "--output_dir", str(folder)]) == 0
    return folder
