"""Checkpoints of several ranks that are written in the background: equal bytes, and what a failure leaves."""

import os
import pickle
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch.distributed

from dupo import train
from dupo.methods.dupo import DuPO
from dupo.storage import checkpoint, shards
from tests.helpers.ranks import Ended, run_ranks
from tests.helpers.runs import same_files
from tests.helpers.worlds import rows

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("few_problems"),
    pytest.mark.skipif(
        not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="needs gloo"
    ),
]
OPTIONS = ["--num_threads", "1", "--eval_size", "8", "--generation_batch_size", "16", "--quiet"]
OPTIONS += ["--num_generations", "4", "--train_batch_size", "8", "--dual_model", "ema", "--ema_decay", "0.9"]
# Weights that are not taught are right about nothing: random rewards move them.
OPTIONS += ["--reward", "dual,random", "--max_steps", "6", "--learning_rate", "1e-3", "--eval_steps", "2"]
OPTIONS += ["--save_steps", "2", "--save_total_limit", "5"]
FULL = "No space left on device"


def start(
    model: Path, run: Path, *options: str, before: Callable[[int], None] = lambda rank: None, size: int = 2
) -> Ended:
    argv = [*OPTIONS, "--model_name_or_path", str(model), "--output_dir", str(run), *options]
    return run_ranks(partial(train.main, argv), run.with_suffix(".said"), size, before)


def go_on(run: Path, checkpoint: str = "latest", *, size: int = 2) -> Ended:
    wanted = checkpoint if checkpoint == "latest" else str(run / checkpoint)
    argv = ["--output_dir", str(run), "--resume_from_checkpoint", wanted, "--quiet"]
    return run_ranks(partial(train.main, argv), run.with_suffix(".said"), size)


@pytest.fixture(scope="module")
def waited(few_problems: None, untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two ranks that waits for its checkpoints. A test that changes the run takes a copy."""
    run = tmp_path_factory.mktemp("saves") / "waited"
    ended = start(untrained, run, "--async_save", "false")
    assert (ended.codes, ended.err) == ([0, 0], "")
    # Else no copy that is taken too late would be told.
    for name in ("model.safetensors", "shards/__0_0.distcp", "shards/__1_0.distcp"):
        assert len({(run / f"checkpoint-{step}" / name).read_bytes() for step in (2, 4, 6)}) == 3, name
    return run


@pytest.fixture(scope="module")
def gone_on_alone(waited: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run from checkpoint-2 on, by one process."""
    run = shutil.copytree(waited, tmp_path_factory.mktemp("alone") / "run")
    assert go_on(run, "checkpoint-2", size=1).codes == [0]
    # Sums of one process are rounded in another order.
    for one, two in zip(rows(run), rows(waited), strict=True):
        assert one == pytest.approx(two, rel=1e-5, abs=1e-5)
    return run


def same_checkpoint(first: Path, second: Path) -> None:
    """Fails unless two checkpoints hold the same bytes, but for seconds and the names of saves."""
    names = sorted(str(file.relative_to(first)) for file in first.rglob("*"))
    assert names == sorted(str(file.relative_to(second)) for file in second.rglob("*"))
    assert {"shards/__0_0.distcp", "shards/__1_0.distcp", "model.safetensors"} <= set(names)
    named = {"state.pt", "SHA256SUMS", "shards", f"shards/{shards.METADATA}"}
    same_files(first, second, *(name for name in names if name not in named))
    states = [torch.load(folder / "state.pt", weights_only=True) for folder in (first, second)]
    for state in states:
        del state["record"]["seconds"], state["rows"]["timings.jsonl"]
    assert str(states[0]) == str(states[1])
    saved = [pickle.loads((folder / "shards" / shards.METADATA).read_bytes()) for folder in (first, second)]
    for name in ("state_dict_metadata", "planner_data", "storage_data"):
        assert getattr(saved[0], name) == getattr(saved[1], name), name


def slow_disk(rank: int) -> None:
    """The weights have moved before a byte of a checkpoint in the background is written."""
    save, update, has_moved = shards.save, DuPO.update, threading.Event()

    def moves(self: DuPO, batch: Any, step: int) -> dict[str, float]:
        metrics = update(self, batch, step)
        has_moved.set()
        return metrics

    def late(*values: Any, **options: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            has_moved.clear()
            assert has_moved.wait(60)
        return save(*values, **options)

    shards.save, DuPO.update = late, moves


def test_both_ways_write_the_same_bytes(waited: Path, untrained: Path, tmp_path: Path) -> None:
    ended = start(untrained, tmp_path / "run", "--async_save", "true", before=slow_disk)
    assert (ended.codes, ended.err) == ([0, 0], "")
    same_files(waited, tmp_path / "run", "metrics.jsonl", "samples.jsonl")
    for step in (2, 4, 6):
        same_checkpoint(waited / f"checkpoint-{step}", tmp_path / "run" / f"checkpoint-{step}")
    assert (tmp_path / "run" / "latest").read_text() == "checkpoint-6\n"


def full(first: int, last: int, rank: int) -> Callable[[int], None]:
    """The disk of a rank takes no byte of the shards from one step to another."""

    def before(here: int) -> None:
        steps = range(first, last + 1)
        files = {f"checkpoint-{step}.shards/__{rank}_0.distcp" for step in steps if here == rank}

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            path = str(arguments[0]) if event == "open" else ""
            if (name := "/".join(path.split("/")[-2:])) in files:
                files.remove(name)
                os.symlink("/dev/full", path)

        sys.addaudithook(hook)

    return before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize("how", ["true", pytest.param("false", marks=pytest.mark.full)])
def test_a_full_disk_of_one_rank_is_told_by_both_in_the_next_step(
    how: str, waited: Path, untrained: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    ended = start(untrained, run, "--async_save", how, before=full(4, 4, 1))
    assert ended.codes == [1, 1]
    assert ended.err.count("\n") == 1 and ended.err.startswith("error: rank 1: "), ended.err
    assert f"checkpoint-4.shards could not be written: {FULL}; checkpoint-" in ended.err, ended.err
    # The step that was made meanwhile is saved at the end, as there is room again.
    last = {"true": 5, "false": 4}[how]
    assert [row["step"] for row in rows(run)] == list(range(1, last + 1))
    assert (run / "latest").read_text() == f"checkpoint-{last}\n"
    assert not list(run.glob("*.shards")) and not list(run.glob("*.tmp"))
    assert go_on(run).codes == [0, 0]
    same_files(waited, run, "metrics.jsonl", "samples.jsonl", "checkpoint-6/model.safetensors")


@pytest.mark.full
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_disk_that_stays_full_leaves_the_older_checkpoint(
    waited: Path, untrained: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    ended = start(untrained, run, "--async_save", "true", before=full(4, 6, 1))
    assert ended.codes == [1, 1] and ended.err.count("error: rank 1: ") == 1, ended.err
    assert (run / "latest").read_text() == "checkpoint-2\n"
    assert sorted(folder.name for folder in run.glob("checkpoint-*")) == ["checkpoint-2"]
    assert go_on(run).codes == [0, 0]
    same_files(waited, run, "metrics.jsonl", "samples.jsonl", "checkpoint-6/model.safetensors")


def killed(waits: str, rank: int) -> Callable[[int], None]:
    """A rank is killed when it opens a file of checkpoint-4, while both train on."""

    def before(here: int) -> None:
        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if event == "open" and waits in str(arguments[0]):
                time.sleep(1.0)  # the training is in a later step
                os.kill(os.getpid(), signal.SIGKILL)

        if here == rank:
            sys.addaudithook(hook)

    return before


# A rank in its shards, the first in its shards, the first when the shards of all are whole.
KILLS = [("checkpoint-4.shards/__1", 1), ("checkpoint-4.shards/__0", 0), ("checkpoint-4.tmp/SHA256SUMS", 0)]


@pytest.mark.full
@pytest.mark.parametrize(("waits", "rank"), KILLS)
def test_a_kill_while_the_threads_write_leaves_the_older_checkpoint(
    waits: str, rank: int, waited: Path, gone_on_alone: Path, untrained: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    ended = start(untrained, run, "--async_save", "true", before=killed(waits, rank))
    assert ended.codes == [-signal.SIGKILL if here == rank else 1 for here in range(2)], ended.err
    told = f"error: rank {rank} of 2 is gone"
    assert ended.err.count("error: ") == 1 and told in ended.err and "Traceback" not in ended.err, ended.err
    assert (run / "latest").read_text() == "checkpoint-2\n"
    alone = shutil.copytree(run, tmp_path / "alone")
    assert go_on(run).codes == [0, 0]
    same_files(waited, run, "metrics.jsonl", "samples.jsonl")
    same_checkpoint(waited / "checkpoint-6", run / "checkpoint-6")
    assert go_on(alone, size=1).codes == [0]
    same_files(gone_on_alone, alone, "metrics.jsonl", "samples.jsonl", "checkpoint-6/model.safetensors")


@pytest.mark.full
def test_a_run_that_is_asked_to_stop_waits_for_its_checkpoint(
    waited: Path, untrained: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"

    def before(rank: int) -> None:
        slow_disk(rank)
        point = checkpoint.point_latest

        def asked(folder: Path, step: int) -> None:
            if step == 2:
                signal.raise_signal(signal.SIGTERM)
                time.sleep(0.5)
            point(folder, step)

        checkpoint.point_latest = asked

    ended = start(untrained, run, "--async_save", "true", before=before)
    assert ended.codes == [130, 130], ended.err
    assert (run / "latest").read_text() == f"checkpoint-{len(rows(run))}\n"
    same_checkpoint(waited / "checkpoint-2", run / "checkpoint-2")
    assert go_on(run).codes == [0, 0]
    same_files(waited, run, "metrics.jsonl", "samples.jsonl")
