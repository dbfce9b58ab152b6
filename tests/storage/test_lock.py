"""One owner of a folder: the second is told who the first is, and a killed owner bars nobody."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dupo.errors import UserError
from dupo.storage.lock import own, release_all
from dupo.storage.names import LOCK
from tests.helpers.processes import files_of, owner


@pytest.fixture(autouse=True)
def release() -> Iterator[None]:
    yield
    release_all()


def test_a_second_process_is_told_who_owns_the_folder_and_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with owner(folder) as first:
        try:
            before = files_of(folder)
            named = json.loads(before[LOCK])
            with pytest.raises(UserError) as caught:
                own(folder)
            expected = f"is in use by process {first.pid} on {named['host']}, since {named['start']}"
            assert named["pid"] == first.pid and expected in str(caught.value)
            assert files_of(folder) == before
        finally:
            first.kill()


def test_a_killed_owner_and_a_copied_lock_bar_nobody(tmp_path: Path) -> None:
    folder, copy = tmp_path / "run", tmp_path / "copy"
    with owner(folder) as first:
        shutil.copytree(folder, copy)
        own(copy)  # the owner of the original is still at work
        first.kill()
        first.wait()
    assert (folder / LOCK).is_file()
    own(folder)


def test_nothing_is_left_of_a_lock_that_is_released(tmp_path: Path) -> None:
    own(tmp_path / "deep" / "run").release()
    assert list(tmp_path.iterdir()) == []
    lock = own(tmp_path / "run")
    (tmp_path / "run" / "config.yaml").touch()
    lock.release()
    lock.release()  # twice does no harm
    assert list(files_of(tmp_path)) == ["run/config.yaml"]


def test_a_process_keeps_its_own_folder_for_its_next_run(tmp_path: Path) -> None:
    assert own(tmp_path) is own(tmp_path / "." / "x" / "..")
    (tmp_path / LOCK).read_bytes()  # reading the file gives the lock up no more than copying the folder does
    with pytest.raises(AssertionError), owner(tmp_path):
        pass


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no file system that refuses everybody")
def test_a_folder_that_cannot_be_made_is_one_line() -> None:
    with pytest.raises(UserError, match=r"output_dir /proc/run cannot be written: [A-Z]"):
        own(Path("/proc/run"))
