"""How a program ends: its exit code, and one line about what is kept and how to go on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dupo import audit, report, rerank, select, train
from dupo.config.command_line import parse
from dupo.errors import StorageError, UserError
from dupo.run import training
from dupo.run import weights as run_weights
from dupo.run.program import run_program
from dupo.storage.lock import own
from tests.helpers.runs import SMALL, resume, start
from tests.helpers.worlds import summary

MAIN = {"train": train.main, "rerank": rerank.main, "select": select.main, "audit": audit.main}
MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
LAUNCHES = [
    {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", **MEETING},
    {"RANK": "1"},
    {"OMPI_COMM_WORLD_SIZE": "4"},
]


@pytest.mark.parametrize("variables", LAUNCHES, ids=["torchrun", "rank", "mpirun"])
@pytest.mark.parametrize("program", [program for program in MAIN if program != "train"])
def test_a_distributed_launch_of_what_does_not_train_is_one_line(
    variables, program, tmp_path, monkeypatch, capfd
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert MAIN[program](["--output_dir", str(tmp_path / "run"), "--model_name_or_path", "none"]) == 2
    out, err = capfd.readouterr()
    assert err.startswith("error: expected one process") and err.count("\n") == 1
    assert out == "" and not (tmp_path / "run").exists()


@pytest.mark.slow
def test_one_process_of_torchrun_and_a_job_of_slurm_are_no_distributed_launch(
    untrained, tmp_path, monkeypatch
):
    for name, value in {"WORLD_SIZE": "1", "RANK": "0", "SLURM_NTASKS": "4"}.items():
        monkeypatch.setenv(name, value)
    start(untrained, tmp_path / "run", "--max_steps", "1", "--reward", "random")


def raising(error: BaseException) -> Callable[..., object]:
    def body(*_: object) -> object:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("seed: expected a number"), 2, "error: seed: expected a number"),
        (FloatingPointError("step 3 is not finite"), 1, "error: step 3 is not finite"),
        (KeyboardInterrupt(), 130, "error: stopped; nothing was started"),
        (
            StorageError("x could not be written: No space left on device"),
            1,
            "error: x could not be written: No space left on device; nothing was started; "
            "free space or give write permission, then run the same command again",
        ),
        (
            OSError(122, "Disk quota exceeded", "/cache/model"),
            1,
            "error: /cache/model: Disk quota exceeded; nothing was started; "
            "free space or give write permission, then run the same command again",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("program", list(MAIN))
def test_every_end_has_its_exit_code_and_one_line(error, code, line, program, capfd):
    assert run_program(program, raising(error), []) == code
    assert capfd.readouterr().err == f"{line}\n"


@pytest.mark.parametrize(
    ("program", "end"),
    [
        ("train", "python -m dupo.train --output_dir '{run}' --resume_from_checkpoint latest goes on"),
        ("audit", "the same command goes on, with its --output_dir {run}, without --overwrite_output_dir"),
    ],
)
def test_a_full_disk_says_what_is_kept_and_how_to_go_on(program, end, tmp_path, capfd):
    run = tmp_path / "my run"  # a shell must read the command as it stands
    run.mkdir()
    (run / "config.yaml").touch()
    (run / "latest").write_text("checkpoint-7\n")

    def body(_: object) -> None:
        own(run)
        raise StorageError("disk full")

    assert run_program(program, body, []) == 1
    kept = "checkpoint-7 and the rows before it are kept; free space or give write permission, then "
    assert capfd.readouterr().err == f"error: disk full; {kept}{end.format(run=run)}\n"


@pytest.mark.slow
def test_a_page_that_fails_does_not_fail_a_finished_run(untrained, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(training, "write_report", raising(ZeroDivisionError("no scale")))
    run = start(untrained, tmp_path / "run", "--max_steps", "1", "--reward", "random")
    err = capfd.readouterr().err
    told = (
        "warning: report.html could not be written (ZeroDivisionError: no scale); all other files are whole"
    )
    assert f"{told}; make the page with: python -m dupo.report {run}" in " ".join(err.split())
    assert summary(run)["steps"] == 1 and resume(run) == 0


def test_a_disk_without_room_for_a_checkpoint_is_told_before_the_first_step(untrained, tmp_path, monkeypatch):
    asked = []

    def no_room(path: Path, size: int) -> None:
        asked.append((path.name, size))
        raise StorageError("no room")

    monkeypatch.setattr(run_weights, "check_disk_space", no_room)
    run = tmp_path / "run"
    options = [*SMALL, "--model_name_or_path", str(untrained), "--output_dir", str(run), "--max_steps", "1"]
    with pytest.raises(StorageError):
        train.train(parse([*options, "--reward", "random"]))
    weights = (untrained / "model.safetensors").stat().st_size
    # The weights, and two moments of Adam for each of them.
    ((_, size),) = asked
    assert 2.9 * weights < size < 3.1 * weights and not (run / "metrics.jsonl").exists()


def test_a_report_on_a_disk_that_takes_no_file_is_one_line(tmp_path, monkeypatch, capfd):
    def full(*_: object) -> Path:
        raise StorageError("report.html could not be written: No space left on device")

    monkeypatch.setattr(report, "write_page", full)
    assert report.main([str(tmp_path)]) == 1
    assert capfd.readouterr().err == "error: report.html could not be written: No space left on device\n"
