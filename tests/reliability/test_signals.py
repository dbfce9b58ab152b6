"""Signals and streams: whatever asks a run to stop is as gentle as Ctrl-C, and no run dies of its log."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dupo import audit, rerank, select, train
from tests.helpers.processes import ENVIRONMENT, has_lines, started, wait_for
from tests.helpers.runs import resume, same_files
from tests.helpers.worlds import rows

pytestmark = pytest.mark.slow

SMALL = ["--num_threads", "1", "--generation_batch_size", "16"]
# Nothing is saved on the way: what is saved at the end was saved because of the signal.
TRAIN = [*SMALL, "--eval_size", "8", "--eval_steps", "20", "--save_steps", "50", "--reward", "random"]
TRAIN += ["--max_steps", "40"]
ROWS = [*SMALL, "--num_problems", "60", "--num_generations", "8"]
POOLS = [*SMALL, "--num_problems", "60", "--pool_sizes", "8"]
PROGRAMS = {
    "rerank": (rerank.main, ROWS, "answers.jsonl"),
    "select": (select.main, POOLS, "pass-1.jsonl"),
    "audit": (audit.main, ROWS, "audit.jsonl"),
}
FILES = ["metrics.jsonl", "samples.jsonl", "checkpoint-40/model.safetensors"]


@pytest.fixture(scope="module")
def never_stopped(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("never") / "run"
    assert train.main([*TRAIN, "--model_name_or_path", str(untrained), "--output_dir", str(run)]) == 0
    return run


@pytest.fixture
def training(untrained: Path, tmp_path: Path) -> Callable[..., tuple[Path, subprocess.Popen[str]]]:
    """Starts a training run; returns its folder and the process."""
    run = tmp_path / "run"
    command = [*TRAIN, "--model_name_or_path", str(untrained), "--output_dir", str(run)]
    return lambda **how: (run, started("train", *command, **how))


def others(*values: object) -> list[Any]:
    """What .ci/full tries beside the values that .ci/run tries."""
    return [pytest.param(value, marks=pytest.mark.full) for value in values]


def ignore_hangups() -> None:
    """What nohup does before it starts a program."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


@pytest.mark.parametrize("number", [signal.SIGTERM, *others(signal.SIGHUP)], ids=["TERM", "HUP"])
def test_a_signal_saves_and_the_run_goes_on_to_the_same_bytes(number, training, never_stopped):
    run, process = training()
    wait_for(has_lines(run / "metrics.jsonl", 3), process)
    for _ in range(3):  # a shell and a terminal both tell that they are gone
        process.send_signal(number)
    out, err = process.communicate(timeout=120)
    steps = len(rows(run))
    assert process.returncode == 130 and 3 <= steps < 40, err
    assert err == "warning: stopping after this step; Ctrl-C again stops at once and loses it\n"
    assert f"Stopped after step {steps}; saved." in out
    assert (run / "latest").read_text() == f"checkpoint-{steps}\n" and not (run / "run.lock").exists()
    assert resume(run) == 0
    same_files(never_stopped, run, *FILES)


@pytest.mark.parametrize("program", others("rerank", "select", "audit"))
def test_a_signal_stops_a_program_that_writes_rows(program, untrained, tmp_path):
    main, options, file = PROGRAMS[program]
    run, alone = tmp_path / "run", tmp_path / "alone"
    command = [*options, "--model_name_or_path", str(untrained), "--output_dir"]
    process = started(program, *command, str(run))
    wait_for(has_lines(run / file, 3), process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.startswith("error: stopped; the same command goes on") and err.count("\n") == 1
    assert main([*command, str(run)]) == main([*command, str(alone)]) == 0
    same_files(alone, run, file)


@pytest.mark.full
@pytest.mark.parametrize("has_stderr", [True, False], ids=["stdout", "both"])
def test_a_pipe_whose_reader_is_gone_saves_and_loses_nothing(has_stderr, training, never_stopped):
    """As `python -m dupo.train ... | head -3`, and with `2>&1`."""
    how = {} if has_stderr else {"stderr": subprocess.STDOUT}
    run, process = training(**how)
    for _ in range(3):
        process.stdout.readline()
    process.stdout.close()
    process.wait(timeout=120)
    assert process.returncode == 130
    if has_stderr:
        assert process.stderr.read() == ""
    steps = len(rows(run)) if (run / "metrics.jsonl").is_file() else 0
    assert steps < 40 and (run / "latest").read_text() == f"checkpoint-{steps}\n"
    assert resume(run) == 0
    same_files(never_stopped, run, *FILES)


@pytest.mark.full
def test_under_nohup_a_hangup_changes_nothing(training, never_stopped):
    run, process = training(preexec_fn=ignore_hangups)
    wait_for(has_lines(run / "metrics.jsonl", 3), process)
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    same_files(never_stopped, run, *FILES)


@pytest.mark.full
@pytest.mark.parametrize("closing", ["<&- >&- 2>&-", ">&-", "2>&-", ">&- 2>&-", ">/dev/full 2>/dev/full"])
def test_a_run_without_standard_streams_is_like_any_other(closing, untrained, never_stopped, tmp_path):
    run = tmp_path / "run"
    command = [*TRAIN, "--model_name_or_path", str(untrained), "--output_dir", str(run)]
    script = f'exec "$0" -W ignore -m dupo.train "$@" {closing}'
    done = subprocess.run(
        ["bash", "-c", script, sys.executable, *command], env=ENVIRONMENT, timeout=120, check=False
    )
    assert done.returncode == 0
    same_files(never_stopped, run, *FILES)


def is_importing(process: subprocess.Popen[str]) -> bool:
    """Whether the libraries of torch are being loaded."""
    return "libtorch_cpu" in Path(f"/proc/{process.pid}/maps").read_text()


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="shows no mapped libraries")
@pytest.mark.parametrize("number", [signal.SIGINT, *others(signal.SIGTERM)], ids=["INT", "TERM"])
def test_a_signal_in_the_seconds_of_importing_is_one_line(number, training):
    run, process = training()
    wait_for(lambda: is_importing(process), process)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    # The only line before the imports.
    assert (process.returncode, out) == (130, "dupo train: options and data are read; loading torch ...\n")
    assert err == "error: stopped; nothing was started\n" and not run.exists()


@pytest.mark.parametrize("program", ["train", "merge", "duals", "report"])
def test_help_into_a_pipe_that_is_closed_is_quiet(program: str):
    read, write = os.pipe()
    process = started(program, "--help", stdout=write)
    os.close(write)
    os.close(read)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a disk that is full")
@pytest.mark.parametrize("program", ["train", "merge", "duals", "report"])
def test_a_help_that_is_lost_is_an_error(program: str):
    with open("/dev/full", "w") as full:
        process = started(program, "--help", stdout=full)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and err.startswith("error: ") and err.count("\n") == 1
