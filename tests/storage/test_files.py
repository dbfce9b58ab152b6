"""Files are whole or absent, whatever the disk does, and a torn one is still read."""

import os
from pathlib import Path

import pytest

from dupo.errors import StorageError
from dupo.storage.files import (
    append,
    check_disk_space,
    read_mapping,
    read_rows,
    whole_folder,
    write_atomic,
    writing,
)
from tests.helpers.kills import kill_at, places
from tests.helpers.project import RunPython

# No file of the process may grow beyond 1,000 bytes, as on a disk that is full.
NO_ROOM = """
import resource, sys
from pathlib import Path
from dupo.errors import StorageError
from dupo.storage.files import append
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    append(Path(sys.argv[1]), b"x" * 199 + b"\\n")
except StorageError as problem:
    print(problem)
"""


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomic(tmp_path / "summary.json", b"old")

    def no_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_disk)
    with pytest.raises(StorageError, match="No space"):
        write_atomic(tmp_path / "summary.json", b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]
    assert (tmp_path / "summary.json").read_bytes() == b"old"


@pytest.mark.parametrize("there", [900, 0])
def test_a_row_that_has_no_room_leaves_no_half_of_itself(
    there: int, tmp_path: Path, run_python: RunPython
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"y" * (there - 1) + b"\n" if there else b"")
    done = run_python("-c", NO_ROOM, str(path))
    told = f"{path} could not be written: File too large\n" if there else ""
    assert (done.stdout, done.stderr, done.returncode) == (told, "", 0)
    assert path.read_bytes() == (b"y" * 899 + b"\n" if there else b"x" * 199 + b"\n")


def test_a_first_row_that_has_no_room_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        append(tmp_path / "gone" / "metrics.jsonl", b"{}\n")
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(StorageError, match="No space left"):
        append(tmp_path / "full", b"{}\n")


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-2"
    with whole_folder(folder) as temporary:
        (temporary / "old").touch()
    full = pytest.raises(StorageError, match=r"checkpoint-2 could not be written: No space")
    with full, whole_folder(folder) as temporary:
        (temporary / "new").touch()
        raise OSError(28, "No space left on device")
    assert [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*")] == [
        "checkpoint-2", "checkpoint-2/old",
    ]  # fmt: skip
    (tmp_path / "checkpoint-2.tmp").mkdir()
    (tmp_path / "checkpoint-2.tmp" / "stale").touch()  # of a writer that was killed
    with whole_folder(folder) as temporary:
        (temporary / "new").touch()
    assert [file.name for file in tmp_path.rglob("*")] == ["checkpoint-2", "new"]


def test_files_of_a_folder_are_for_whoever_the_umask_allows(tmp_path: Path) -> None:
    for umask, mode in ((0o022, 0o644), (0o027, 0o640), (0o077, 0o600)):
        before = os.umask(umask)
        try:
            with whole_folder(tmp_path / f"{umask}") as temporary:
                (temporary / "model.safetensors").touch(0o600)
        finally:
            os.umask(before)
        assert (tmp_path / f"{umask}" / "model.safetensors").stat().st_mode & 0o777 == mode


def test_a_kill_at_any_place_leaves_the_old_folder_or_the_new_one(tmp_path: Path) -> None:
    folder, log = tmp_path / "run/model", tmp_path / "places.txt"

    def write(content: str) -> int:
        with whole_folder(folder) as temporary:
            (temporary / "a").write_text(content)
            (temporary / "b").write_text(content)
        return 0

    def kept() -> set[str]:
        """What each file of the name holds; of the retired folder where nothing has the name."""
        there = folder if folder.exists() else folder.with_name("model.gone")
        return {(there / name).read_text() for name in "ab"}

    folder.parent.mkdir()
    write("old")
    number = len(places(lambda: write("old"), folder.parent, log))
    assert number > 6
    for place in range(number):
        write("old")
        kill_at(place, lambda: write("new"), folder.parent)
        assert kept() in ({"old"}, {"new"}), log.read_text().splitlines()[place]
        write("next")
        assert kept() == {"next"} and [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rename = tmp_path / "model", Path.rename
    folder.mkdir()
    (folder / "old").touch()

    def refused(self: Path, target: Path) -> Path:
        if self.suffix == ".tmp":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(StorageError), whole_folder(folder) as temporary:
        (temporary / "new").touch()
    assert [file.name for file in tmp_path.rglob("*")] == ["model", "old"]


def test_what_a_library_says_of_the_disk_is_told_and_other_errors_pass(tmp_path: Path) -> None:
    full = pytest.raises(StorageError, match=r"model could not be written: No space left on device$")
    with full, writing(tmp_path / "model"):
        raise Exception("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(ValueError, match="of another kind"), writing(tmp_path):
        raise ValueError("of another kind")


def test_room_is_asked_for_before_a_byte_is_written(tmp_path: Path) -> None:
    check_disk_space(tmp_path / "checkpoint-1", 1)
    with pytest.raises(StorageError, match=r"checkpoint-1 needs about 1,000,000,000,000.0 MB of room"):
        check_disk_space(tmp_path / "checkpoint-1", 10**18)
    assert not list(tmp_path.iterdir())


def test_read_rows_skips_what_is_torn_or_no_row(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_rows(path) == []
    deep = b"[" * 100_000
    path.write_bytes(deep + b'\n{"step": 1}\n[1]\n\xff\xfe\n{"step": 2}\n{"st')
    assert read_rows(path) == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize(
    "content",
    ["", "- 1\n", "a: [", "\x00\xff", "[" * 100_000, "a: 2026-99-99\n" + "- " * 3000],
    ids=["empty", "list", "broken", "binary", "deep", "odd"],
)
@pytest.mark.parametrize("name", ["config.yaml", "summary.json"])
def test_what_is_no_mapping_reads_as_an_empty_one(tmp_path: Path, name: str, content: str) -> None:
    assert read_mapping(tmp_path / name) == {}
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    assert read_mapping(tmp_path / name) == {}
    (tmp_path / name).write_text('{"seed": 3}')
    # Scalars of YAML stay texts.
    assert read_mapping(tmp_path / name) == {"seed": "3" if name.endswith("yaml") else 3}
