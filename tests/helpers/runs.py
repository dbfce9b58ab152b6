"""Whole runs: short options, the loop around a method of the test, and a run that is killed."""

import os
import signal
from pathlib import Path
from typing import Any

from dupo.config.catalogue import METHODS, load
from dupo.config.command_line import parse
from dupo.config.config import Config
from dupo.methods.base import Method
from dupo.records import StepBatch
from dupo.run.training import TrainingRun
from dupo.train import main
from tests.helpers.project import RunPython

SMALL = ["--num_threads", "1", "--eval_size", "100", "--generation_batch_size", "32"]
SMALL += ["--eval_steps", "2", "--save_steps", "2"]
KILLED_AFTER = 5  # steps
KILL = "import sys; from tests.helpers.runs import run_until_killed; run_until_killed(sys.argv[1:])"


def start(model: Path, out: Path, *options: str) -> Path:
    """A run of the door `train`, from a folder with a model; returns the folder of the run."""
    assert main([*SMALL, "--model_name_or_path", str(model), "--output_dir", str(out), *options]) == 0
    return out


def resume(run: Path, *options: str) -> int:
    """Goes on with a run at the door `train`; returns the exit code."""
    return main(["--output_dir", str(run), "--resume_from_checkpoint", "latest", *options])


def loop(
    config: Config, method: Method | None = None, run_class: type[TrainingRun] = TrainingRun
) -> dict[str, Any]:
    """The loop of `dupo/train.py`, around a method or in a run that the test hands in."""
    method = method or load(METHODS[config.method].path)(config)
    with run_class(config, method) as run:
        while run.goes_on():
            batch = method.next_batch(run.step)
            run.after_step(batch, method.update(batch, run.step))
    return run.finish()


class KilledRun(TrainingRun):
    """Is killed between two steps, as by the system."""

    def after_step(self, batch: StepBatch, metrics: dict[str, float]) -> None:
        super().after_step(batch, metrics)
        if self.step == KILLED_AFTER:
            os.kill(os.getpid(), signal.SIGKILL)


def run_until_killed(argv: list[str]) -> None:
    """What the process that is killed does."""
    loop(parse(argv), run_class=KilledRun)


def killed(run_python: RunPython, out: Path, *options: str) -> Path:
    """A run of `options` in a process of its own that is killed after `KILLED_AFTER` steps."""
    done = run_python("-c", KILL, "--output_dir", str(out), *options)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return out


def same_files(first: Path, second: Path, *names: str) -> None:
    """Fails unless the named files of two runs hold the same bytes."""
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
