"""SHA256SUMS of a checkpoint: what was added to the folder of a run matters where a library would read it."""

from pathlib import Path

import pytest

from dupo.storage.checksums import broken_sums, write_sums


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two files and their checksums."""
    (tmp_path / "state.pt").write_bytes(b"state")
    (tmp_path / "config.json").write_text("{}")
    write_sums(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["README.md", "results.json", "trainer_state.json", "notes.txt"])
def test_what_a_user_lays_beside_a_checkpoint_does_no_harm(folder: Path, name: str) -> None:
    (folder / name).write_text("{}")
    assert broken_sums(folder) is None


@pytest.mark.parametrize(
    "name",
    [
        "pytorch_model.bin",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "adapter_config.json",
        "generation_config.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "modeling_own.py",
    ],
)
def test_what_a_library_would_read_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("{}")
    assert broken_sums(folder) == f"{name} was added to it: remove it"
