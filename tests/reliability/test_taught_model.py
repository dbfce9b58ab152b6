"""A kill at every moment at which the taught model of a program that does not train is written."""

import shutil
from pathlib import Path

import pytest

from dupo.config.command_line import parse
from dupo.trust.audit import audit
from dupo.trust.rerank import rerank
from dupo.trust.select import select
from tests.helpers.kills import kill_at, places
from tests.helpers.lessons import Lesson
from tests.helpers.runs import same_files
from tests.helpers.small_world import contents

OPTIONS = ["--num_threads", "1", "--num_problems", "4", "--generation_batch_size", "16", "--output_dir"]
PROGRAMS = {
    "rerank": (rerank, "answers.jsonl"),
    "select": (select, "pass-1.jsonl"),
    "audit": (audit, "audit.jsonl"),
}


def run(program: str, folder: Path) -> int:
    """The program, with a short lesson in place of the teaching."""
    body, _ = PROGRAMS[program]
    body(parse([*OPTIONS, str(folder)], program), teach=lambda config, task, model: Lesson(model, 1))
    return 0


@pytest.mark.slow
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
@pytest.mark.full
@pytest.mark.parametrize("program", list(PROGRAMS))
def test_killed_at_every_touch_of_the_taught_model_and_started_again(program, tmp_path):
    never, stopped = tmp_path / "never", tmp_path / "run"
    named = places(lambda: run(program, never), never / "taught_model", tmp_path / "places.txt")
    assert len(named) > 10
    for number, name in enumerate(named):
        kill_at(number, lambda: run(program, stopped), stopped / "taught_model")
        run(program, stopped)
        same_files(never, stopped, PROGRAMS[program][1], "taught_model/model.safetensors")
        assert contents(never).keys() == contents(stopped).keys(), name
        shutil.rmtree(stopped)
