"""A program that is killed anywhere and started again leaves the bytes of one that was never stopped."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from dupo import audit, rerank, select, train
from dupo.methods import teaching
from tests.helpers.kills import distinct, in_child, kill_at, places
from tests.helpers.small_world import RESUME, TASK, TRAIN, inside, make_inputs, make_world, result

CONFIG = Path("run/config.yaml")
# One checkpoint is kept, so that every save removes one.
SHORT = [*TRAIN, "--max_steps", "2", "--save_steps", "1", "--save_total_limit", "1"]
# A checkpoint at the end alone: whatever comes before is made again from the rollouts.
ROLLOUTS = [*TRAIN, "--max_steps", "4", "--save_steps", "4", "--save_rollout_seconds", "0"]
ROWS = [*TASK, "--model_name_or_path", "./model", "--output_dir", "run", "--generation_batch_size", "8"]
ROWS += ["--num_generations", "2", "--max_completion_length", "6"]
TAUGHT = ["--teach", "--num_threads", "1", "--output_dir", "run", "--generation_batch_size", "8"]
TAUGHT_TRAIN = [*TAUGHT, "--reward", "random", "--max_steps", "2", "--save_steps", "1", "--eval_steps", "2"]
TAUGHT_TRAIN += ["--eval_size", "4"]
TAUGHT_ROWS = [*TAUGHT, "--num_problems", "3", "--num_generations", "2"]


def training(argv: list[str]) -> Callable[[], int]:
    """What a person types to get the run done: the same command until there is a run, then a resume."""

    def start() -> int:
        resume = ["--output_dir", "run", "--resume_from_checkpoint", "latest"]
        return train.main(resume if CONFIG.is_file() else argv)

    return lambda: until_done(start)


def until_done(start: Callable[[], int]) -> int:
    """Starts the program again after every Ctrl-C."""
    while (code := start()) == 130:
        pass
    return code


def going_back() -> int:
    """Resumes an older checkpoint of a finished run; after a kill, by the same command."""
    return train.main([*RESUME[:-2], "--max_steps", "4", "--resume_from_checkpoint", "run/checkpoint-2"])


PROGRAMS: dict[str, Callable[[], int]] = {
    "train": training(SHORT),
    "train, rollouts": training(ROLLOUTS),
    "going back": going_back,
    "train, taught": training(TAUGHT_TRAIN),
    "rerank": lambda: rerank.main(ROWS),
    "select": lambda: select.main([*ROWS, "--pool_sizes", "3,2"]),
    "audit": lambda: audit.main(ROWS),
    "rerank, taught": lambda: until_done(lambda: rerank.main(TAUGHT_ROWS)),
}
QUICK = {"train": (20,), "rerank": (6,)}


@pytest.fixture
def short_teaching(monkeypatch):
    """Two steps of teaching, with a Ctrl-C in the first; the model learns little, but its weights move."""
    step = teaching.Teaching.step

    def stopped(self):
        note = step(self)
        if self.steps == 1 and not Path("run/teaching.pt").exists():
            signal.raise_signal(signal.SIGINT)
        return note

    monkeypatch.setattr(teaching.Teaching, "step", stopped)
    for name, value in {"PRIMAL_GOAL": 0.0, "DUAL_GOAL": 0.0, "CHECK_EVERY": 2}.items():
        monkeypatch.setattr(teaching, name, value)


def start_of(name: str, folder: Path) -> Path:
    """The folder in which the program is started: going back needs a run that is finished."""
    return make_world(folder) if name == "going back" else make_inputs(folder)


def sweep(name: str, folder: Path, chosen: tuple[int, ...] = ()) -> int:
    """Kills the program at the chosen places, or at every one with a name of its own.

    Returns:
        The number of places with a name of their own.
    """
    program, base = PROGRAMS[name], start_of(name, folder / "base")
    never_stopped = Path(shutil.copytree(base, folder / "never"))
    with inside(never_stopped):
        named = places(program, never_stopped / "run", folder / "places.txt")
    expected = result(never_stopped / "run")
    for number in chosen or distinct(named):
        stopped = Path(shutil.copytree(base, folder / "stopped"))
        with inside(stopped):
            kill_at(number, program, stopped / "run")
            assert in_child(program) == 0, f"{number}: {named[number]}"
        assert result(stopped / "run") == expected, f"{number}: {named[number]}"
        shutil.rmtree(stopped)
    return len(distinct(named))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "rerank"])
def test_a_kill_at_a_few_places_changes_nothing(name, tmp_path):
    assert sweep(name, tmp_path, QUICK[name]) > 8


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_kill_at_every_place_changes_nothing(name, tmp_path, short_teaching):
    assert sweep(name, tmp_path) > 8
