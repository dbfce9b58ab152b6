"""Checkpoints: complete or absent, the newest ones kept, everything back bit for bit."""

import shutil
from pathlib import Path

import pytest
import torch

from dupo.errors import UserError
from dupo.learning.optimizer import make_optimizer
from dupo.models.weights import frozen_copy, load_weights
from dupo.storage import checkpoint
from tests.helpers.worlds import tiny


def save(run, step, world):
    return checkpoint.save(run, step, world.model, world.tokenizer.hf, None, {"step": step})


def test_everything_comes_back_bit_for_bit(tmp_path):
    model, tokenizer, _, config = tiny()
    optimizer = make_optimizer(model, config.optimizer)
    model.get_input_embeddings().weight.sum().backward()
    optimizer.step()
    average = frozen_copy(tiny("--seed", "3").model)
    state = {"optimizer": optimizer.state_dict(), "pending": [[([1], [2], [-0.1], 0.1 + 0.2, None, "é")]]}
    checkpoint.save(tmp_path, 7, model, tokenizer.hf, average, state)
    folder = checkpoint.find(tmp_path, "latest")
    assert folder == tmp_path / "checkpoint-7"
    other, other_average = tiny("--seed", "9").model, tiny("--seed", "9").model
    load_weights(other, folder)
    checkpoint.load_ema(folder, other_average)
    for saved, loaded in ((model, other), (average, other_average)):
        assert all(torch.equal(p, q) for p, q in zip(saved.parameters(), loaded.parameters(), strict=True))
    read = checkpoint.load_state(folder)
    assert read["pending"] == state["pending"]
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
    newest = checkpoint.find(tmp_path, "latest")
    assert newest == tmp_path / "checkpoint-1" and checkpoint.load_state(newest)["step"] == 1
    assert save(tmp_path, 2, world) == checkpoint.find(tmp_path, "latest")
    assert not list(tmp_path.glob("*.tmp"))


def test_the_newest_are_kept_and_the_first_of_all(tmp_path):
    for step in (0, 5, 50, 100, 1000):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "checkpoint-mine").mkdir()
    checkpoint.prune(tmp_path, 2)
    names = {folder.name for folder in tmp_path.iterdir()}
    assert names == {"checkpoint-0", "checkpoint-100", "checkpoint-1000", "checkpoint-mine"}


def test_going_back_forgets_what_came_after(tmp_path):
    world = tiny()
    for step in (1, 2, 3):
        save(tmp_path, step, world)
    checkpoint.cut(tmp_path, 2)
    assert checkpoint.find(tmp_path, "latest") == tmp_path / "checkpoint-2"
    assert sorted(f.name for f in tmp_path.glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-2"]


def test_what_cannot_be_resumed_is_refused(tmp_path):
    world = tiny()
    assert checkpoint.find(tmp_path, "latest") is None
    folder = save(tmp_path, 1, world)
    assert checkpoint.find(tmp_path, str(folder)) == folder
    with pytest.raises(UserError, match=r"expected a checkpoint folder with a state\.pt"):
        checkpoint.find(tmp_path, str(tmp_path))
    shutil.rmtree(folder)
    with pytest.raises(UserError, match="checkpoint-1, which is not there"):
        checkpoint.find(tmp_path, "latest")


@pytest.mark.parametrize(
    ("state", "number"),
    [({"step": 1}, r"1 \(or none\)"), ({"step": 1, "format": 1}, "1"), ({"step": 1, "format": 3}, "3")],
    ids=["none", "older", "newer"],
)
def test_another_format_is_refused_in_one_line(tmp_path, state, number):
    torch.save(state, tmp_path / checkpoint.STATE)
    expected = rf"^resume_from_checkpoint: .* has checkpoint format {number}, this dupo reads format 2: start"
    with pytest.raises(UserError, match=expected) as error:
        checkpoint.load_state(tmp_path)
    assert "\n" not in str(error.value)


def test_the_format_is_written_and_the_state_of_the_caller_is_left_alone(tmp_path):
    world = tiny()
    state = {"step": 1}
    checkpoint.save(tmp_path, 1, world.model, world.tokenizer.hf, None, state)
    assert state == {"step": 1}
    assert torch.load(tmp_path / "checkpoint-1" / checkpoint.STATE)["format"] == checkpoint.FORMAT == 2


def test_no_pickled_code_is_run(tmp_path):
    class Bad:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"step": Bad()}, tmp_path / checkpoint.STATE)
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        checkpoint.load_state(tmp_path)
