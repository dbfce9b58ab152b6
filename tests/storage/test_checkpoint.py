"""Checkpoints: complete or absent, the newest ones kept, everything back bit for bit."""

import shutil
from pathlib import Path

import pytest
import torch

from dupo.errors import UserError
from dupo.learning.optimizer import make_optimizer
from dupo.models.weights import frozen_copy, read_checkpoint_weights
from dupo.run.weights import read_average
from dupo.storage import checkpoint
from dupo.storage.checksums import write_sums
from tests.helpers.worlds import tiny

NOTHING = {name: kind() for name, kind in checkpoint.STATE_KEYS.items()}


def save(run, step, world):
    return checkpoint.save(run, step, world.model, world.tokenizer.hf, None, {**NOTHING, "step": step})


def names(run):
    return sorted(entry.name for entry in run.iterdir())


def test_everything_comes_back_bit_for_bit(tmp_path):
    model, tokenizer, _, config = tiny()
    optimizer = make_optimizer(model, config.optimizer)
    model.get_input_embeddings().weight.sum().backward()
    optimizer.step()
    average = frozen_copy(tiny("--seed", "3").model)
    method = {"pending": [[([1], [2], [-0.1], 0.1 + 0.2, None, "é")]]}
    state = {**NOTHING, "step": 7, "optimizer": optimizer.state_dict(), "method": method}
    checkpoint.save(tmp_path, 7, model, tokenizer.hf, average, state)
    folder = checkpoint.latest(tmp_path)
    assert folder == tmp_path / "checkpoint-7" and checkpoint.read_checked(folder)[1] == ""
    other, other_average = tiny("--seed", "9").model, tiny("--seed", "9").model
    read_checkpoint_weights(other, folder)
    read_average(other_average, folder)
    for saved, loaded in ((model, other), (average, other_average)):
        assert all(torch.equal(p, q) for p, q in zip(saved.parameters(), loaded.parameters(), strict=True))
    read = checkpoint.load_state(folder)
    assert read["method"] == method
    again = make_optimizer(other, config.optimizer)
    again.load_state_dict(read["optimizer"])
    for before, after in zip(optimizer.state.values(), again.state.values(), strict=True):
        assert all(torch.equal(before[k], after[k]) for k in ("exp_avg", "exp_avg_sq", "step"))


@pytest.mark.parametrize("moment", ["weights", "rename", "pointer"])
def test_a_kill_while_saving_leaves_the_last_one(tmp_path, monkeypatch, moment):
    world = tiny()
    save(tmp_path, 1, world)

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "weights":
            patch.setattr(torch, "save", killed)
        elif moment == "rename":
            patch.setattr(Path, "rename", killed)
        else:
            patch.setattr(checkpoint, "write_atomic", killed)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, 2, world)
    newest = checkpoint.latest(tmp_path)
    assert newest == tmp_path / "checkpoint-1" and checkpoint.read_checked(newest)[0]["step"] == 1
    assert save(tmp_path, 2, world) == checkpoint.latest(tmp_path)
    assert names(tmp_path) == ["checkpoint-1", "checkpoint-2", "latest"]


def test_the_newest_are_kept_and_the_first_of_all(tmp_path):
    for step in (0, 5, 50, 100, 1000):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "checkpoint-mine").mkdir()
    checkpoint.prune(tmp_path, 2)
    assert names(tmp_path) == ["checkpoint-0", "checkpoint-100", "checkpoint-1000", "checkpoint-mine"]


def test_what_a_killed_prune_left_is_no_checkpoint_and_goes_with_the_next(tmp_path, monkeypatch):
    for step in (2, 4, 6):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}/weights").touch()

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.prune(tmp_path, 1)
    (tmp_path / "checkpoint-8.tmp").mkdir()  # of a writer that was killed
    (tmp_path / "checkpoint-mine.tmp").mkdir()
    assert all((tmp_path / f"checkpoint-{step}/weights").exists() for step in checkpoint.steps(tmp_path))
    checkpoint.prune(tmp_path, 1)
    assert names(tmp_path) == ["checkpoint-6", "checkpoint-mine.tmp"]


def test_going_back_sets_aside_what_came_after(tmp_path):
    world = tiny()
    for step in (1, 2, 3):
        save(tmp_path, step, world)
    (tmp_path / "metrics.jsonl").write_text('{"step": 3}\n')
    assert checkpoint.set_aside(tmp_path, 2) == tmp_path / "set-aside-1"
    assert checkpoint.latest(tmp_path) == tmp_path / "checkpoint-2" and checkpoint.steps(tmp_path) == [1, 2]
    assert names(tmp_path / "set-aside-1") == ["checkpoint-3", "latest", "metrics.jsonl"]
    assert checkpoint.read_checked(tmp_path / "set-aside-1/checkpoint-3")[0]["step"] == 3
    assert checkpoint.set_aside(tmp_path, 2) is None  # nothing newer: nothing is made


@pytest.mark.parametrize("number", range(1, 7))
def test_setting_aside_goes_on_after_a_kill(tmp_path, monkeypatch, number):
    """Killed at each of its renames: nothing is lost, and the next call completes the work."""
    for step in (0, 1, 2, 3):
        (tmp_path / f"checkpoint-{step}").mkdir()
    checkpoint.point_latest(tmp_path, 3)
    (tmp_path / "metrics.jsonl").write_text('{"step": 3}\n')
    calls, rename = [], Path.rename

    def killed(self, target):
        calls.append(self)
        if len(calls) == number:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        try:
            checkpoint.set_aside(tmp_path, 1)
        except KeyboardInterrupt:
            assert checkpoint.latest(tmp_path) in (tmp_path / "checkpoint-1", tmp_path / "checkpoint-3")
            checkpoint.set_aside(tmp_path, 1)
    aside = tmp_path / "set-aside-1"
    assert checkpoint.steps(tmp_path) == [0, 1] and checkpoint.steps(aside) == [0, 2, 3]
    assert (aside / "metrics.jsonl").read_text() == '{"step": 3}\n'
    assert names(tmp_path) == ["checkpoint-0", "checkpoint-1", "latest", "metrics.jsonl", "set-aside-1"]


def test_latest_names_a_checkpoint_of_the_run_or_is_refused(tmp_path):
    assert checkpoint.latest(tmp_path) is None
    (tmp_path / "checkpoint-2").mkdir()
    assert checkpoint.latest(tmp_path) == tmp_path / "checkpoint-2"  # the first save was killed at its end
    for content in (
        b"",
        b"../run/checkpoint-2",
        b"checkpoint-mine",
        b"\xff\xfe",
        b"checkpoint-2\ncheckpoint-3",
    ):
        (tmp_path / "latest").write_bytes(content)
        with pytest.raises(UserError, match="latest is damaged: expected the name of a checkpoint"):
            checkpoint.latest(tmp_path)
    (tmp_path / "latest").write_text("checkpoint-4\n")
    with pytest.raises(UserError, match="names checkpoint-4, which is not there"):
        checkpoint.latest(tmp_path)


@pytest.mark.parametrize(
    ("state", "number"),
    [({"step": 1}, "1 (or none)"), ({"step": 1, "format": 2}, "2"), ({"step": 1, "format": 4}, "4")],
    ids=["none", "older", "newer"],
)
def test_another_format_is_refused(tmp_path, state, number):
    (tmp_path / "config.json").write_text("{}")
    torch.save(state, tmp_path / checkpoint.STATE)
    write_sums(tmp_path)
    expected = f"it has checkpoint format {number}, this dupo reads format 3"
    assert checkpoint.read_checked(tmp_path) == (None, expected)


def test_the_format_is_written_and_the_state_of_the_caller_is_left_alone(tmp_path):
    world = tiny()
    state = {"step": 1}
    checkpoint.save(tmp_path, 1, world.model, world.tokenizer.hf, None, state)
    assert state == {"step": 1}
    assert torch.load(tmp_path / "checkpoint-1" / checkpoint.STATE)["format"] == checkpoint.FORMAT == 3


def test_no_pickled_code_is_run(tmp_path, capsys):
    class Bad:
        def __reduce__(self):
            return (print, ("run",))

    (tmp_path / "config.json").write_text("{}")
    torch.save({"step": Bad()}, tmp_path / checkpoint.STATE)
    write_sums(tmp_path)
    assert checkpoint.read_checked(tmp_path) == (None, "state.pt cannot be read (UnpicklingError)")
    assert capsys.readouterr().out == ""


def test_a_single_file_belongs_to_one_run_and_shows_its_damage(tmp_path):
    file, origin = tmp_path / "teaching.pt", {"the settings": "a"}
    checkpoint.save_stage(file, origin, {"weight": torch.ones(3)})
    assert torch.equal(checkpoint.load_stage(file, origin)["weight"], torch.ones(3))
    with pytest.raises(UserError, match="is of a run with other settings or other inputs: remove it"):
        checkpoint.load_stage(file, {"the settings": "b"})
    data = file.read_bytes()
    for damaged in (b"", data[:100], data[:-1], bytes([data[0] ^ 1]) + data[1:]):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match="its sha256 differs"):
            checkpoint.load_stage(file, origin)
