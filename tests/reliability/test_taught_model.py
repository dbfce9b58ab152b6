"""A kill at every moment at which the taught model of a program that does not train is written."""

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from dupo.config.command_line import parse
from dupo.trust.audit import audit
from dupo.trust.rerank import rerank
from dupo.trust.select import select
from tests.helpers.processes import contents
from tests.helpers.runs import same_files

OPTIONS = ["--num_threads", "1", "--num_problems", "4", "--generation_batch_size", "16", "--output_dir"]
PROGRAMS = {
    "rerank": (rerank, "answers.jsonl"),
    "select": (select, "pass-1.jsonl"),
    "audit": (audit, "audit.jsonl"),
}
# Raised by Python before it opens, makes, renames or removes; safetensors writes between two of these.
EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}


class Lesson:
    """A stage of one step that changes a weight."""

    name = "lesson"
    steps = 0

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model

    def step(self) -> None:
        self.steps += 1

    def finished(self) -> bool:
        return self.steps == 1

    def finish(self) -> str:
        with torch.no_grad():
            next(self.model.parameters()).fill_(0.5)
        return "taught"

    def facts(self) -> dict[str, Any]:
        return {}

    def state(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]


def run(program: str, folder: Path) -> None:
    """The program, with a short lesson in place of the teaching."""
    body, _ = PROGRAMS[program]
    body(parse([*OPTIONS, str(folder)], program), teach=lambda config, task, model: Lesson(model))


def is_killed(program: str, folder: Path, moment: int) -> bool:
    """Runs the program in a process that is killed at the n-th touch of the taught model; False if it ended
    before."""
    child = os.fork()
    if not child:
        touches = 0

        def hook(event: str, args: tuple[object, ...]) -> None:
            nonlocal touches
            if event in EVENTS and any("taught_model" in str(argument) for argument in args):
                touches += 1
                if touches == moment:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            run(program, folder)
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


def test_what_a_killed_writer_left_gets_no_place_in_the_model(tmp_path):
    folder = tmp_path / "run"
    run("rerank", folder)
    before = contents(folder)
    # As if the writer had been killed in the middle of its work.
    left = folder / "taught_model.tmp"
    (folder / "taught_model").rename(left)
    (left / "model.safetensors").write_bytes(b"half")
    (left / "model-00002-of-00002.safetensors").write_bytes(b"of another model")
    run("rerank", folder)
    assert contents(folder) == before


@pytest.mark.slow
@pytest.mark.parametrize("program", list(PROGRAMS))
def test_killed_at_every_touch_of_the_taught_model_and_started_again(program, tmp_path):
    never = tmp_path / "never"
    run(program, never)
    moment = 1
    while is_killed(program, tmp_path / "run", moment):
        run(program, tmp_path / "run")
        same_files(never, tmp_path / "run", PROGRAMS[program][1], "taught_model/model.safetensors")
        assert contents(never).keys() == contents(tmp_path / "run").keys()
        shutil.rmtree(tmp_path / "run")
        moment += 1
    assert moment > 10
