"""Files are whole or absent, and a torn one is still read."""

import os
from pathlib import Path

import pytest

from dupo.storage.files import read_mapping, read_rows, write_atomic


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomic(tmp_path / "summary.json", b"old")

    def no_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_disk)
    with pytest.raises(OSError, match="No space"):
        write_atomic(tmp_path / "summary.json", b"new")
    assert (tmp_path / "summary.json").read_bytes() == b"old"


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
