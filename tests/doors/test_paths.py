"""Paths that lead to no file (a pipe, a device, a loop, NUL, 5,000 characters): one line, no wait."""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from dupo import audit, duals, export, merge, report, rerank, select, train
from dupo.errors import UserError
from dupo.user_files import FILE, FOLDER, NOTHING, list_folder, path_kind, read_file

DOORS: dict[str, Callable[[Sequence[str]], int]] = {
    door.__name__.removeprefix("dupo."): door.main
    for door in (train, select, rerank, audit, duals, report, export, merge)
}
WORDS = ["--task", "word_problems", "--eval_size", "0", "--dataset"]
GOOD = '{"question": "Ann has 5 pens and gets 8 more. How many?", "answer": "13"}\n'
# Door -> words before the path.
PLACES = [
    *((door, WORDS) for door in ("train", "select", "rerank", "audit")),
    *((door, [*WORDS, "GOOD", "--eval_dataset"]) for door in ("train", "rerank", "audit")),
    *((door, ["--config"]) for door in ("train", "select", "rerank", "audit")),
    *((door, [*WORDS, "GOOD", "--selected_duals"]) for door in ("train", "audit")),
    *((door, [*WORDS, "GOOD", "--output_dir"]) for door in ("train", "select", "rerank", "audit")),
    ("train", ["--task", "translation", "--dataset"]),
    ("train", ["--task", "translation", "--dataset", "PAIRS", "--eval_dataset"]),
    ("train", ["--method", "sft", "--dataset"]),
    ("train", ["--resume_from_checkpoint"]),
    ("train", ["--resume_from_checkpoint", "latest", "--output_dir"]),
    ("train", [*WORDS, "GOOD", "--model_name_or_path"]),
    ("train", [*WORDS, "GOOD", "--tokenizer_name"]),
    ("train", [*WORDS, "GOOD", "--dual_model"]),
    ("duals", ["--dataset"]),
    ("report", []),
    ("export", ["--output_dir", "out"]),
    ("export", ["GOOD", "--output_dir"]),
    ("merge", ["--output_dir", "out"]),
    ("merge", ["GOOD", "GOOD", "--output_dir"]),
]
CAN_BE_MADE = ("bad bytes", "folder")  # folders of a run; the second is refused for what stands in it


@pytest.fixture(scope="module")
def bad_paths(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Name of a kind -> a path of that kind."""
    folder = tmp_path_factory.mktemp("paths")
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "dangling").symlink_to(folder / "nowhere")
    (folder / "bytes").write_bytes(b"\xff\xfe\x00[1]")
    (folder / "good.jsonl").write_text(GOOD)
    (folder / "pairs.jsonl").write_text('{"en": "Good day.", "de": "Guten Tag."}\n')
    with socket.socket(socket.AF_UNIX) as bound:
        # The name of a socket has at most about 100 bytes.
        here = os.open(".", os.O_RDONLY)
        os.chdir(folder)
        bound.bind("socket")
        os.fchdir(here)
        os.close(here)
        yield {
            **{name: str(folder / name) for name in ("pipe", "loop", "dangling", "socket", "bytes")},
            "device": "/dev/zero",
            "folder": str(folder),
            "below a file": str(folder / "bytes" / "x"),
            "NUL": "a\0b",
            "5,000 characters": "/" + "a/" * 2500,
            "long name": "x" * 300,
            "bad bytes": "/nowhere/\udcff.jsonl",
        }


@pytest.mark.timeout(60)  # a pipe is waited for without an end
@pytest.mark.parametrize(("door", "words"), PLACES, ids=lambda value: "".join(value))
def test_a_path_that_is_no_file_is_refused_in_one_line(
    door: str,
    words: list[str],
    bad_paths: dict[str, str],
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path(bad_paths["folder"])
    files = {"GOOD": str(folder / "good.jsonl"), "PAIRS": str(folder / "pairs.jsonl")}
    words = [files.get(word, word) for word in words]
    for kind, path in bad_paths.items():
        if words[-1:] == ["--output_dir"] and "latest" not in words and kind in CAN_BE_MADE:
            continue
        code = DOORS[door]([*words, path])
        out, err = capfd.readouterr()
        assert code == 2, (kind, err)
        assert err.startswith("error: ") and err.count("\n") == 1, (kind, err)
        assert "Traceback" not in out + err, (kind, err)
        # A text that is no path on any machine is never repeated whole.
        assert kind != "5,000 characters" or len(err) < 1000, err
    assert list(tmp_path.iterdir()) == []


def test_kinds_are_told_apart(bad_paths: dict[str, str]) -> None:
    kinds = {name: path_kind(path) for name, path in bad_paths.items()}
    assert kinds["pipe"] == "a pipe" and kinds["device"] == "a device" and kinds["socket"] == "a socket"
    assert kinds["bytes"] == FILE and kinds["folder"] == FOLDER and kinds["below a file"] == NOTHING
    assert kinds["dangling"] == "a link to nothing" and "Too many levels" in kinds["loop"]
    assert kinds["NUL"] == "a text with a NUL character"
    assert kinds["5,000 characters"] == "a path of 5,001 bytes with a name of 1"
    assert kinds["long name"] == "a path of 300 bytes with a name of 300"
    assert path_kind("\ud800") == "a text that is no UTF-8"


def test_what_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    # The rights of a file do not stop root, so the system call is made to fail.
    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(UserError, match=r"expected a readable file, got an error \(Permission denied\)"):
        read_file(tmp_path / "file")
    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(UserError, match=r"expected a readable folder, got an error \(Permission denied\)"):
        list_folder(tmp_path)
    monkeypatch.setattr(os, "stat", denied)
    assert path_kind(tmp_path / "file") == "an error (Permission denied)"
