"""Two processes in one folder: the first goes on as if it were alone, the second ends with one line."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dupo import audit, rerank, select, train
from dupo.storage.names import first_line
from tests.helpers.processes import files_of, has_lines, owner, started, wait_for
from tests.helpers.worlds import rows

SMALL = ["--num_threads", "1", "--generation_batch_size", "16"]
TRAIN = [*SMALL, "--eval_size", "8", "--eval_steps", "5", "--save_steps", "5"]
TRAIN += ["--reward", "random", "--max_steps", "40"]
ROWS = [*SMALL, "--num_problems", "60", "--num_generations", "8"]
FIRST = {"train": (TRAIN, "metrics.jsonl"), "rerank": (ROWS, "answers.jsonl"), "audit": (ROWS, "audit.jsonl"),
         "select": ([*SMALL, "--num_problems", "60", "--pool_sizes", "8"], "pass-1.jsonl")}  # fmt: skip
MAIN = {"train": train.main, "rerank": rerank.main, "select": select.main, "audit": audit.main}


@pytest.mark.parametrize("program", list(MAIN))
@pytest.mark.parametrize("options", [[], ["--overwrite_output_dir"]], ids=["", "overwrite"])
def test_a_folder_that_another_process_owns_is_refused(program, options, tmp_path, capfd):
    """Whether it is empty, or holds a run that could be overwritten; before data or a model are read."""
    folder = tmp_path / "run"
    if options:
        folder.mkdir()
        (folder / "config.yaml").write_text(first_line(program))
        (folder / "summary.json").write_text("{}")
    with owner(folder) as first:
        try:
            before = files_of(folder)
            command = ["--output_dir", str(folder), "--model_name_or_path", str(tmp_path / "none"), *options]
            assert MAIN[program](command) == 2
            out, err = capfd.readouterr()
            assert err.startswith(f"error: output_dir {folder} is in use by process {first.pid} on ")
            assert err.count("\n") == 1 and out == "" and files_of(folder) == before
        finally:
            first.kill()


@pytest.fixture
def held(request, untrained, tmp_path) -> Iterator[tuple[Path, subprocess.Popen[str], list[str]]]:
    """(folder, process, options) of a program that stands still in the middle of its work."""
    program, folder = request.param, tmp_path / "run"
    options, file = FIRST[program]
    options = [*options, "--model_name_or_path", str(untrained)]
    with started(program, *options, "--output_dir", str(folder), stdout=subprocess.DEVNULL) as process:
        try:
            wait_for(has_lines(folder / file, 6), process)
            process.send_signal(signal.SIGSTOP)
            yield folder, process, options
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.parametrize("held", list(FIRST), indirect=True)
def test_a_second_start_changes_nothing_and_the_first_ends_as_if_alone(held, request, tmp_path, capfd):
    folder, process, options = held
    program = request.node.callspec.params["held"]
    before = files_of(folder)
    goes_on = ["--resume_from_checkpoint", "latest"] if program == "train" else []
    for more in (["--overwrite_output_dir"], goes_on):
        assert MAIN[program]([*options, "--output_dir", str(folder), *more]) == 2
        assert f"is in use by process {process.pid} on " in capfd.readouterr().err
    assert files_of(folder) == before
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0 and err == ""
    alone = tmp_path / "alone"
    assert MAIN[program]([*options, "--output_dir", str(alone)]) == 0
    file = FIRST[program][1]
    assert (folder / file).read_bytes() == (alone / file).read_bytes()
    # What was copied from a run at work goes on in its own folder.
    assert MAIN[program]([*options, "--output_dir", str(copy), *goes_on]) == 0
    assert rows(copy, file) == rows(alone, file)
    assert not list(tmp_path.glob("*/run.lock"))


@pytest.mark.slow
@pytest.mark.full
def test_of_two_that_start_at_once_one_trains(untrained, tmp_path):
    command = [*TRAIN, "--model_name_or_path", str(untrained), "--output_dir", str(tmp_path / "run")]
    processes = [started("train", *command) for _ in range(2)]
    ends = [(process.communicate(timeout=300), process.returncode) for process in processes]
    assert sorted(code for _, code in ends) == [0, 2]
    ((refused, _),) = [end for end in ends if end[1] == 2]
    assert refused[1].count("\n") == 1
    assert [row["step"] for row in rows(tmp_path / "run")] == list(range(1, 41))
