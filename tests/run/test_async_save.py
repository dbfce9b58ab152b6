"""Checkpoints that are written in the background: the same bytes; a failure is told in the next step."""

import os
import signal
import threading
import time
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dupo import train
from dupo.config.command_line import parse
from dupo.distributed.ranks import ALONE, Ranks
from dupo.errors import StorageError
from dupo.run.background import Background
from dupo.run.training import TrainingRun
from dupo.storage import checkpoint
from dupo.storage.tensors import Snapshot, host_copy
from tests.helpers.kills import in_child
from tests.helpers.runs import loop, same_files
from tests.helpers.small_world import RESUME, TRAIN, inside, make_inputs
from tests.helpers.worlds import rows, tiny

OPTIONS = [*TRAIN, "--max_steps", "6", "--async_save", "true"]


def test_work_is_one_at_a_time_and_its_failure_is_raised_once() -> None:
    background, may_end, log = Background(), Event(), list[str]()

    def slow() -> None:
        may_end.wait()
        log.append("written")

    background.look()
    background.run(slow, lambda: log.append("after"), in_background=True)
    background.look()
    assert log == []
    may_end.set()
    background.run(lambda: 1 / 0, lambda: log.append("never"), in_background=True)
    assert log == ["written", "after"]
    with pytest.raises(ZeroDivisionError):
        background.wait()
    background.wait()
    background.look()
    assert log == ["written", "after"]


def test_a_failure_is_told_once_the_threads_of_all_ranks_have_ended() -> None:
    others = [False]

    class Two(Ranks):
        def gather(self, value: Any) -> list[Any]:
            return [value, others[0]]

    background = Background(Two(0, 2))
    background.run(lambda: 1 / 0, lambda: None, in_background=True)
    for thread in threading.enumerate():
        if thread.name == "checkpoint":
            thread.join()
    background.look()  # this rank is done, the other writes
    others[0] = True
    with pytest.raises(ZeroDivisionError):
        background.look()


def test_a_failure_hides_no_error_and_a_lost_rank_is_not_told_twice() -> None:
    told = list[str]()
    for ranks, problem in ((ALONE, OSError("full")), (Ranks(0, 2), RuntimeError("connection closed"))):
        background = Background(ranks)

        def work(problem: Exception = problem) -> None:
            raise problem

        background.run(work, lambda: None, in_background=True)
        background.end(ValueError(), told.append)
    assert told == ["full"]
    background.run(work, lambda: None, in_background=True)
    with pytest.raises(RuntimeError):
        background.end(None, told.append)


def test_a_copy_keeps_ties_and_takes_no_part_in_what_follows(tmp_path: Path) -> None:
    model = tiny().model
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    snapshot, state = Snapshot(model), {"state": {0: {"step": torch.tensor(1.0)}}, "lr": [0.5, (1, None)]}
    copied = host_copy(state)
    model.save_pretrained(tmp_path / "plain")
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1)
    state["state"][0]["step"].add_(1)  # type: ignore[index]
    assert copied == {"state": {0: {"step": torch.tensor(1.0)}}, "lr": [0.5, (1, None)]}
    snapshot.save_pretrained(tmp_path / "copy")
    same_files(tmp_path / "plain", tmp_path / "copy", "model.safetensors", "config.json")
    assert all(torch.equal(weight, before[name]) for name, weight in snapshot.state_dict().items())
    assert len(load_file(tmp_path / "copy/model.safetensors")) < len(before)  # the head is tied


@pytest.fixture(scope="module")
def synchronous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = make_inputs(tmp_path_factory.mktemp("async") / "world")
    with inside(world):
        loop(parse([*OPTIONS, "--async_save", "false", "--save_total_limit", "5"]))
    return world


def world_of(synchronous: Path, place: Path) -> Path:
    place.mkdir()
    for name in ("data.jsonl", "model"):
        (place / name).symlink_to(synchronous / name)
    return place


def same_checkpoints(first: Path, second: Path, *steps: int) -> None:
    for step in steps:
        here, there = first / f"checkpoint-{step}", second / f"checkpoint-{step}"
        assert {f.name for f in here.iterdir()} == {f.name for f in there.iterdir()}
        same_files(here, there, *(f.name for f in here.iterdir() if f.name not in ("state.pt", "SHA256SUMS")))
        states = [torch.load(folder / "state.pt", weights_only=True) for folder in (here, there)]
        for state in states:
            del state["record"]["seconds"], state["rows"]["timings.jsonl"]
        assert str(states[0]) == str(states[1])
        moments = [s["optimizer"]["state"] for s in states]
        assert all(torch.equal(v, moments[1][i][k]) for i, m in moments[0].items() for k, v in m.items())


@pytest.mark.slow
def test_both_ways_write_the_same_bytes(synchronous: Path, tmp_path: Path, monkeypatch) -> None:
    save = checkpoint.save

    def late(*arguments: Any) -> Path:
        time.sleep(0.5)  # until the weights have moved
        return save(*arguments)

    monkeypatch.setattr(checkpoint, "save", late)
    with inside(world_of(synchronous, tmp_path / "world")):
        loop(parse([*OPTIONS, "--save_total_limit", "5"]))
        same_files(synchronous / "run", Path("run"), "metrics.jsonl", "samples.jsonl")
        same_checkpoints(synchronous / "run", Path("run"), 2, 4, 6)


@pytest.mark.slow
def test_a_failure_in_the_background_is_told_in_the_next_step(
    synchronous: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    save = checkpoint.save

    def full(run: Path, step: int, *rest: Any) -> Path:
        if step == 4:
            raise StorageError("run/checkpoint-4 could not be written: No space left on device")
        return save(run, step, *rest)

    monkeypatch.setattr(checkpoint, "save", full)
    with inside(world_of(synchronous, tmp_path / "world")):
        assert train.main(OPTIONS) == 1
        told = capsys.readouterr().err
        assert "run/checkpoint-4 could not be written: No space left on device" in told
        # The step that was made meanwhile is saved at the end, as there is room again.
        assert [row["step"] for row in rows(Path("run"))] == [1, 2, 3, 4, 5]
        assert checkpoint.latest(Path("run")) == Path("run/checkpoint-5")
        monkeypatch.setattr(checkpoint, "save", save)
        assert train.main(RESUME) == 0
        same_files(synchronous / "run", Path("run"), "metrics.jsonl", "checkpoint-6/model.safetensors")


@pytest.mark.slow
def test_a_kill_while_the_thread_writes_leaves_the_older_checkpoint(
    synchronous: Path, tmp_path: Path
) -> None:
    def killed() -> int:
        point = checkpoint.point_latest
        is_written = Event()

        def hold(run: Path, step: int) -> None:
            if step == 4:
                is_written.set()
                time.sleep(60)  # the folder is there, and `latest` has not moved
            point(run, step)

        checkpoint.point_latest = hold

        class Killed(TrainingRun):
            def after_step(self, *rest: Any) -> Any:
                row = super().after_step(*rest)
                if self.step == 5:
                    is_written.wait()
                    os.kill(os.getpid(), signal.SIGKILL)
                return row

        loop(parse(OPTIONS), run_class=Killed)
        return 0

    with inside(world_of(synchronous, tmp_path / "world")):
        assert os.waitstatus_to_exitcode(in_child(killed)) == -signal.SIGKILL
        assert Path("run/latest").read_text() == "checkpoint-2\n"
        assert train.main(RESUME) == 0
        same_files(synchronous / "run", Path("run"), "metrics.jsonl", "samples.jsonl")
        same_checkpoints(synchronous / "run", Path("run"), 6)
