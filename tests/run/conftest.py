"""Policies that runs start from: with random weights, taught, and hardly taught."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dupo.methods import teaching
from dupo.tasks import generated
from dupo.train import main
from tests.helpers.runs import start
from tests.helpers.worlds import save_tiny


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy with random weights; a run from it needs no teaching."""
    return save_tiny(tmp_path_factory.mktemp("model") / "untrained")


@pytest.fixture(scope="module")
def few_problems() -> Iterator[None]:
    """The built-in task has 400 problems: to make 20,000 takes every process longer than its few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generated, "TRAIN_SIZE", 400)
        yield


@pytest.fixture(scope="session")
def finished(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps from `untrained` with random rewards, finished. A test that changes the run takes a copy."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    return start(untrained, folder, "--max_steps", "2", "--reward", "random")


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in run, cut short: its folder holds the taught policy as checkpoint-0. For slow tests."""
    # Twelve steps of the default run may still go down: its batches are smaller.
    options = ["--generation_batch_size", "512", "--learning_rate", "3e-4"]
    return built_in_run(tmp_path_factory.mktemp("runs") / "taught", *options)


@pytest.fixture(scope="session")
def hardly_taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after a few steps of teaching: all files are there, and hardly an answer is right."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teaching, "MAX_STEPS", 4)
        # Random rewards, so that every step has a gradient.
        options = ["--teach", "--reward", "random", "--generation_batch_size", "64"]
        return built_in_run(tmp_path_factory.mktemp("runs") / "hardly_taught", *options, eval_size=100)


def built_in_run(folder: Path, *more: str, eval_size: int = 500) -> Path:
    """A run of the built-in model and task, with 12 steps after its teaching."""
    options = ["--max_steps", "12", "--eval_steps", "6", "--eval_size", str(eval_size), "--num_threads", "1"]
    options += ["--lr_scheduler_type", "constant"]
    assert main([*options, *more, "--output_dir", str(folder)]) == 0
    return folder
