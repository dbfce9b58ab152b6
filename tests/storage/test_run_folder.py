"""The folder of a run: what is refused, what is replaced, and what a killed run leaves readable."""

import json
import math
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from dupo.errors import UserError
from dupo.storage.files import read_rows
from dupo.storage.names import check_format
from dupo.storage.run_folder import RunFolder

HEAD = b"# python -m dupo.train, format 3\n"


def make_run(path: Path) -> RunFolder:
    return RunFolder.create(path, "task: arithmetic\n", overwrite=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- create, open ---


def test_create_writes_the_settings_and_makes_parents(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "a")
    assert contents(run.path) == {"config.yaml": HEAD + b"task: arithmetic\n"}
    assert RunFolder.open(run.path).path == run.path


def test_another_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    make_run(tmp_path / "a").metrics({"step": 1})
    before = contents(tmp_path / "a")
    with pytest.raises(UserError, match=r"already holds a run: --overwrite_output_dir replaces it, --resume"):
        make_run(tmp_path / "a")
    assert contents(tmp_path / "a") == before


def test_overwrite_removes_the_run_and_nothing_else(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.metrics({"step": 1})
    run.samples([{"step": 1}])
    run.timings({"step": 1})
    run.summary({"steps": 1})
    (tmp_path / "report.html").write_text("old")
    (tmp_path / "nonfinite-2.json").write_text("{}")
    (tmp_path / "metrics.jsonl.tmp").write_text("a kill left this")
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-5" / "model.safetensors").write_text("old")
    (tmp_path / "latest").symlink_to("checkpoint-5")
    (tmp_path / "notes.md").write_text("mine")
    RunFolder.create(tmp_path, "seed: 1\n", overwrite=True)
    assert contents(tmp_path) == {"config.yaml": HEAD + b"seed: 1\n", "notes.md": b"mine"}
    assert not os.path.lexists(tmp_path / "latest")
    assert not (tmp_path / "checkpoint-5").exists()


def test_overwrite_never_follows_a_link_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "model").write_text("precious")
    run = make_run(tmp_path / "a")
    (run.path / "checkpoint-1").symlink_to(tmp_path / "kept")
    RunFolder.create(run.path, "", overwrite=True)
    assert contents(tmp_path / "kept") == {"model": b"precious"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_run_is_never_touched(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "metrics.jsonl").write_text("thesis")
    with pytest.raises(UserError, match="holds no run"):
        RunFolder.create(tmp_path, "", overwrite)
    assert contents(tmp_path) == {"metrics.jsonl": b"thesis"}


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(UserError, match="expected a folder, got a file"):
        make_run(tmp_path / "a")
    with pytest.raises(UserError, match="cannot be"):
        make_run(tmp_path / "a" / "b")


def test_check_raises_as_create_and_makes_nothing(tmp_path: Path) -> None:
    RunFolder.check(tmp_path / "new", overwrite=False)
    assert not (tmp_path / "new").exists()
    make_run(tmp_path / "a")
    RunFolder.check(tmp_path / "a", overwrite=False)  # only settings: a start that failed
    (tmp_path / "a" / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match="already holds a run"):
        RunFolder.check(tmp_path / "a", overwrite=False)
    RunFolder.check(tmp_path / "a", overwrite=True)
    assert (tmp_path / "a" / "config.yaml").is_file()


def test_open_wants_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run to continue"):
        RunFolder.open(tmp_path)


# --- rows ---


def test_floats_read_back_bit_for_bit(tmp_path: Path) -> None:
    values = [
        0.1 + 0.2,
        5e-324,
        1.7976931348623157e308,
        -0.0,
        1e-6,
        math.pi,
        struct.unpack("f", b"\x01\0\0\0")[0],
    ]
    run = make_run(tmp_path)
    run.metrics({"step": 1, "values": values})
    (row,) = read_rows(tmp_path / "metrics.jsonl")
    assert [struct.pack("d", v) for v in row["values"]] == [struct.pack("d", v) for v in values]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused_whole(tmp_path: Path, bad: float) -> None:
    run = make_run(tmp_path)
    with pytest.raises(ValueError, match=r"metrics.jsonl at step 3: .* got loss = -?(nan|inf)"):
        run.metrics({"step": 3, "reward": 1.0, "loss": bad})
    with pytest.raises(ValueError, match=r"duals.1.distance"):
        run.samples([{"step": 3}, {"step": 3, "duals": [{"distance": 0.0}, {"distance": bad}]}])
    with pytest.raises(ValueError, match="reward_auc"):
        run.summary({"reward_auc": bad})
    assert contents(tmp_path).keys() == {"config.yaml"}


def test_a_row_needs_its_step(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="step"):
        make_run(tmp_path).metrics({"loss": 1.0})


@pytest.mark.parametrize(
    "text", ["日本語 ü", "a\nb\r\x00\x1b", "\u2028\u0085", "\ud800 alone", '"}\\'], ids=ascii
)
def test_any_text_is_one_line_and_comes_back(tmp_path: Path, text: str) -> None:
    run = make_run(tmp_path)
    run.samples([{"step": 1, "completion": text}, {"step": 1, "completion": "next"}])
    data = (tmp_path / "samples.jsonl").read_bytes()
    assert data.count(b"\n") == 2
    assert [row["completion"] for row in read_rows(tmp_path / "samples.jsonl")] == [text, "next"]


def test_rows_survive_a_kill_right_after_the_call(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from dupo.storage.run_folder import RunFolder\n"
        "run = RunFolder.create(Path(sys.argv[1]), '', False)\n"
        "run.metrics({'step': 1}); run.metrics({'step': 2}); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a")], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert read_rows(tmp_path / "a" / "metrics.jsonl") == [{"step": 1}, {"step": 2}]


# --- the summary ---


def test_summary_replaces_the_old_one(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.summary({"eval/accuracy_before": 0.5})
    run.summary({"eval/accuracy_before": 0.1 + 0.2, "reward_auc": None})
    assert json.loads((tmp_path / "summary.json").read_text()) == {
        "eval/accuracy_before": 0.30000000000000004,
        "reward_auc": None,
    }
    assert contents(tmp_path).keys() == {"config.yaml", "summary.json"}


@pytest.mark.parametrize("opening", ["", "# python -m dupo.audit\n", "# python -m dupo.train, format 2\n"])
def test_the_run_of_another_format_is_refused(tmp_path, opening):
    (tmp_path / "config.yaml").write_text(opening + "seed: 1\n")
    with pytest.raises(
        UserError, match=r"holds a run of format [12], this dupo continues format 3: start anew"
    ):
        check_format(tmp_path)


def test_a_run_of_this_format_is_continued(tmp_path):
    RunFolder.create(tmp_path / "run", "seed: 1\n", overwrite=False)
    check_format(tmp_path / "run")
