"""The signature names what produced a result."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers

import dupo
from dupo.storage import signature as signatures
from dupo.storage.signature import git_revision, signature, signature_line


def test_signature_names_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures, "git_revision", lambda file: "abc1234")
    fields = signature("0123abcd", "cpu", 2)
    assert fields["torch"] == str(torch.__version__)
    assert fields["transformers"] == transformers.__version__
    assert signature_line(fields) == (
        f"dupo:{dupo.__version__}|git:abc1234|torch:{torch.__version__}|triton:{fields['triton']}|"
        f"transformers:{transformers.__version__}|python:{sys.version.split()[0]}|device:cpu|threads:2|config:0123abcd"
    )


def test_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert signature("", "cpu", 1)["triton"] == "none"


def test_revision_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "log.py").write_text("1")
    assert git_revision(tmp_path / "log.py") == "none"
    git("init", "-q")
    git("add", "log.py")
    assert git_revision(tmp_path / "log.py") == "none"  # tracked, but no commit yet
    git("commit", "-qm", "first")
    head = git("rev-parse", "--short", "HEAD")
    assert git_revision(tmp_path / "log.py") == head
    (tmp_path / "site.py").write_text("installed below a checkout that does not track it")
    assert git_revision(tmp_path / "site.py") == "none"
    assert git_revision(tmp_path / "log.py") == head
    (tmp_path / "log.py").write_text("2")
    assert git_revision(tmp_path / "log.py") == f"{head}+dirty"
    monkeypatch.setenv("PATH", "")
    assert git_revision(tmp_path / "log.py") == "none"
