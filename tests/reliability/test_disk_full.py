"""A disk that is full: one line, what was saved is kept, and the same command goes on to the same bytes.

The disk is real: a tmpfs of 24 MB in a name space of this test alone, which needs no rights.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.full_disk import POINTS
from tests.helpers.processes import ENVIRONMENT
from tests.helpers.project import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.full]

# Pages are made last, from files that are complete: the run has not failed.
COMPLETE = {"report", "audit page"}
INSIDE = (
    'mount -t tmpfs -o size=24m none "$1" && exec "$2" -W ignore -m tests.helpers.full_disk "$1" "$3" "$4"'
)
READ_ONLY = (
    'mount -t tmpfs none "$1" && mount -o remount,ro "$1" && '
    'exec "$2" -W ignore -m dupo.train --reward random --model_name_or_path "$3" --output_dir "$1/run"'
)


def on_a_small_disk(script: str, tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs a shell script that may mount; its words are the place of the disk, Python, and `words`."""
    may_mount = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*may_mount, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [*may_mount, "bash", "-c", script, "bash", str(disk), sys.executable, *words]
    return subprocess.run(
        command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.fixture(scope="module")
def trials(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Point -> what happened there."""
    tmp_path = tmp_path_factory.mktemp("full")
    done = on_a_small_disk(INSIDE, tmp_path, str(untrained), str(tmp_path / "never"))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["name"]: row for row in rows}


@pytest.mark.parametrize("name", list(POINTS))
def test_a_full_disk_is_one_line_and_loses_nothing(name: str, trials: dict[str, dict[str, Any]]) -> None:
    trial = trials[name]
    assert trial["was_full"], "the point was not met"
    lines = trial["err"].splitlines()
    assert trial["left"] == []
    # The page of a run that a full disk has stopped may be a warning of its own.
    assert all(line.startswith("warning: ") and "report.html could not be" in line for line in lines[:-1])
    if name in COMPLETE:
        assert trial["code"] == 0 and "all other files are whole; make the page with: " in trial["err"]
    else:
        told = lines[-1]
        assert trial["code"] == 1 and told.startswith("error: ")
        assert os.strerror(28) in told or "of room, the disk has" in told
        assert "the same command" in told or "--resume_from_checkpoint latest goes on" in told
    assert (trial["again"], trial["other"]) == (0, []), trial["told"]


def test_a_good_checkpoint_outlives_the_next_that_has_no_room(trials: dict[str, dict[str, Any]]) -> None:
    for name in ("second checkpoint, no room", "second checkpoint, state"):
        assert trials[name]["saved"] == "checkpoint-2\n"
        assert "checkpoint-2 and the rows before it are kept" in trials[name]["err"]


def test_a_disk_that_cannot_be_written_is_refused_before_the_data_are_read(
    untrained: Path, tmp_path: Path
) -> None:
    done = on_a_small_disk(READ_ONLY, tmp_path, str(untrained))
    line = f"error: output_dir {tmp_path}/disk/run cannot be written: Read-only file system\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
