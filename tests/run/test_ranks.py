"""Runs of several processes that share one model out: against one process, and when one of them fails."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch.distributed

from dupo import export, train
from dupo.distributed.launch import Launch
from dupo.distributed.watch import joined_ranks
from dupo.errors import UserError
from dupo.methods.dupo import DuPO
from dupo.models.sharding import local
from dupo.run import weights
from tests.helpers.ranks import Ended, run_ranks

pytestmark = [
    pytest.mark.usefixtures("few_problems"),
    pytest.mark.skipif(
        not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="needs gloo"
    ),
]
OPTIONS = ["--num_threads", "1", "--eval_size", "8", "--generation_batch_size", "16", "--quiet"]
OPTIONS += ["--num_generations", "4", "--train_batch_size", "8", "--reward", "random", "--max_steps", "6"]
OPTIONS += ["--learning_rate", "1e-3", "--eval_steps", "2", "--save_steps", "2"]
DUAL = ["--reward", "dual,random", "--dual_model", "ema", "--beta", "0.05", "--ema_decay", "0.9"]
MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
LORA = ["--use_peft", "--lora_r", "4"]


def rows(run: Path, name: str = "metrics.jsonl") -> list[dict]:
    return [json.loads(line) for line in (run / name).read_text().splitlines()]


def check_equal(run: Path, other: Path, tolerance: float) -> None:
    """The same samples, and the same metrics but for the order of sums."""
    assert len(rows(run)) == len(rows(other)) > 0
    for one, two in zip(rows(run), rows(other), strict=True):
        assert one.keys() == two.keys()
        for name, value in one.items():
            assert abs(value - two[name]) <= tolerance * max(1, abs(value)), (name, value, two[name])
    for one, two in zip(rows(run, "samples.jsonl"), rows(other, "samples.jsonl"), strict=True):
        assert (one["problem"], one["completion"]) == (two["problem"], two["completion"])


# --- without processes ---


def test_a_launch_is_read_from_the_variables_of_torchrun():
    variables = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", **MEETING}
    assert Launch.of(variables) == Launch(5, 8, 1, 4)
    assert Launch.of({}) == Launch.of({"WORLD_SIZE": "1", "SLURM_NTASKS": "4"}) == Launch(0, 1, 0, 1)


@pytest.mark.parametrize(
    "variables",
    [
        {"RANK": "1"},
        {"OMPI_COMM_WORLD_SIZE": "4"},
        {"WORLD_SIZE": "2", "RANK": "2", "LOCAL_RANK": "0"},
        {"WORLD_SIZE": "2", "LOCAL_RANK": "0"},
        {"WORLD_SIZE": "two", "RANK": "0"},
        {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"},
    ],
)
def test_variables_of_another_kind_are_one_line(variables):
    with pytest.raises(UserError, match=r"^expected one process, or the variables of torchrun"):
        Launch.of(variables)


def test_more_ranks_than_gpus_are_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    message = r"^num_processes: expected at most 2, the GPUs of this machine \(or --device cpu\), got 3$"
    with pytest.raises(UserError, match=message), joined_ranks(Launch(0, 3, 0, 3), 1.0):
        pass


# --- with several processes ---


def start(model: Path, out: Path, *options: str, size: int = 2, **how: Any) -> Ended:
    paths = ["--model_name_or_path", str(model), "--output_dir", str(out)]
    argv = [*OPTIONS, *paths, *options]
    return run_ranks(partial(train.main, argv), out.with_suffix(".said"), size, **how)


def go_on(run: Path, checkpoint: str = "latest", *, size: int = 2) -> Ended:
    wanted = checkpoint if checkpoint == "latest" else str(run / checkpoint)
    argv = ["--output_dir", str(run), "--resume_from_checkpoint", wanted, "--quiet"]
    return run_ranks(partial(train.main, argv), run.with_suffix(".said"), size)


def succeeded(ended: Ended) -> bool:
    return set(ended.codes) == {0} and ended.err == ""


@pytest.fixture(scope="module")
def two(few_problems: None, untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two ranks that was never stopped. A test that changes the run takes a copy."""
    out = tmp_path_factory.mktemp("ranks") / "two"
    assert succeeded(start(untrained, out))
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [pytest.param((), marks=pytest.mark.full), tuple(DUAL), (*DUAL, *LORA)],
    ids=["random", "ema", "lora"],
)
def test_two_ranks_train_as_one_process(options, untrained, tmp_path):
    for size in (1, 2):
        assert succeeded(start(untrained, tmp_path / str(size), *options, size=size))
    check_equal(tmp_path / "1", tmp_path / "2", 1e-5)


@pytest.mark.slow
@pytest.mark.full
def test_weights_are_repeated_over_groups_of_ranks(two, untrained, tmp_path):
    assert succeeded(start(untrained, tmp_path / "four", "--data_parallel_shard_degree", "2", size=4))
    check_equal(tmp_path / "four", two, 1e-5)


@pytest.mark.slow
@pytest.mark.full
def test_on_a_cpu_there_is_nothing_to_offload(two, untrained, tmp_path):
    assert succeeded(start(untrained, tmp_path / "run", "--cpu_offload"))
    check_equal(tmp_path / "run", two, 0)


FILES: dict[str, list[dict[str, Any]]] = {
    "sft": [{"prompt": f"{n}+1=", "completion": str(n + 1)} for n in range(40)],
    # Of several sizes, and one that no other of the step has.
    "reward_model": [
        {"prompt": f"{n}+1=", "completions": [f"{n + k}" for k in range(2 + n % 3)]} for n in range(40)
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("method", FILES)
def test_what_reads_a_file_is_shared_out(method, tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in FILES[method]))
    options = ["--method", method, "--dataset", str(tmp_path / "rows.jsonl"), "--max_steps", "3", "--quiet"]
    options += ["--eval_size", "4", "--num_threads", "1", "--learning_rate", "1e-3", "--token_budget", "64"]
    for size in (1, 2):
        argv = [*options, "--output_dir", str(tmp_path / str(size))]
        assert succeeded(run_ranks(partial(train.main, argv), tmp_path / f"{size}.said", size))
    for one, other in zip(rows(tmp_path / "1"), rows(tmp_path / "2"), strict=True):
        assert one == pytest.approx(other, rel=1e-5, abs=1e-6)


@pytest.mark.slow
def test_another_number_of_ranks_goes_on_with_a_run_and_says_so(two, tmp_path):
    again, alone = (shutil.copytree(two, tmp_path / name) for name in ("again", "alone"))
    assert succeeded(go_on(again, "checkpoint-4"))
    for name in ("metrics.jsonl", "samples.jsonl", "checkpoint-6/model.safetensors"):
        assert (again / name).read_bytes() == (two / name).read_bytes()
    ended = go_on(alone, "checkpoint-4", size=1)
    changed = "figures may differ in the last bits from a run never stopped: ranks 2 is now 1"
    assert ended.codes == [0] and ended.err == f"warning: {changed}\n"
    check_equal(alone, two, 1e-5)
    # And back: what one process has written, two ranks read.
    ended = go_on(alone, "checkpoint-6")
    assert ended.codes == [0, 0] and "ranks 1 is now 2" in ended.err


@pytest.mark.slow
def test_an_export_of_ranks_is_the_model_alone(two, tmp_path):
    assert export.main([str(two), "--output_dir", str(tmp_path / "model")]) == 0
    names = {file.name for file in (tmp_path / "model").iterdir()}
    assert "model.safetensors" in names and not names & {"shards", "state.pt"}


@pytest.mark.slow
def test_a_damaged_shard_is_refused_and_an_older_checkpoint_offered(two, tmp_path):
    run = shutil.copytree(two, tmp_path / "run")
    shard = next((run / "checkpoint-6" / "shards").glob("*.distcp"))
    shard.write_bytes(shard.read_bytes()[:-100])
    ended = go_on(run)
    assert ended.codes == [2, 2] and ended.err.count("\n") == 1
    assert "is not what was saved" in ended.err and "checkpoint-4 is sound, go on from it" in ended.err
    assert succeeded(go_on(run, "checkpoint-4"))
    check_equal(run, two, 0)


# --- when something happens to one rank ---

CHEESE = "the disk of this rank is made of cheese"


def fail(method: DuPO) -> None:
    raise ValueError(CHEESE)


def kill(method: DuPO) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stop(method: DuPO) -> None:
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)


def ask(method: DuPO) -> None:
    signal.raise_signal(signal.SIGTERM)


def spoil(method: DuPO) -> None:
    """A weight becomes NaN in the part of this rank alone."""
    local(next(method.model.parameters()).data).view(-1)[0] = float("nan")


def wait_for_ever(method: DuPO) -> None:
    while True:
        time.sleep(0.1)


def happens(own: Callable[[DuPO], None], others: Callable[[DuPO], None] | None, rank: int):
    """Something happens on a rank, just before the third optimizer step."""

    def before(here: int) -> None:
        update = DuPO.update

        def changed(self: DuPO, batch: Any, step: int) -> dict[str, float]:
            fault = own if here == rank else others
            if step == 2 and fault is not None:
                fault(self)
            return update(self, batch, step)

        DuPO.update = changed

    return before


FAULTS = [
    pytest.param(fail, None, 1, 1, CHEESE, marks=pytest.mark.full),
    pytest.param(fail, None, 0, 1, CHEESE, marks=pytest.mark.full),
    pytest.param(fail, wait_for_ever, 1, 1, CHEESE, marks=pytest.mark.full),
    (kill, None, 1, 1, "error: rank 1 of 2 is gone (process "),
    pytest.param(kill, wait_for_ever, 0, 1, "is gone", marks=pytest.mark.full),
    (spoil, None, 1, 1, "is not finite (loss nan"),
    pytest.param(stop, None, 0, 130, "stopped; ", marks=pytest.mark.full),
]


@pytest.mark.slow
@pytest.mark.parametrize(("own", "others", "rank", "code", "line"), FAULTS)
def test_all_ranks_end_together_with_one_message(own, others, rank, code, line, two, untrained, tmp_path):
    run = tmp_path / "run"
    ended = start(untrained, run, before=happens(own, others, rank))
    expected = [-signal.SIGKILL if own is kill and r == rank else code for r in range(2)]
    assert ended.codes == expected, ended.err
    assert line in ended.err and ended.err.count("error: ") + ended.err.count("Traceback") <= 2, ended.err
    # What was saved goes on, by as many ranks, to the bytes of a run never stopped.
    assert succeeded(go_on(run))
    assert (run / "metrics.jsonl").read_bytes() == (two / "metrics.jsonl").read_bytes()


@pytest.mark.slow
@pytest.mark.full
def test_a_signal_to_one_rank_stops_all_after_the_step(two, untrained, tmp_path):
    run = tmp_path / "run"
    ended = start(untrained, run, before=happens(ask, None, 1))
    assert ended.codes == [130, 130] and len(rows(run)) == 3
    assert succeeded(go_on(run))
    assert (run / "metrics.jsonl").read_bytes() == (two / "metrics.jsonl").read_bytes()


@pytest.mark.slow
def test_machines_of_other_sizes_are_one_line(untrained, tmp_path):
    def before(rank: int) -> None:
        os.environ |= {"LOCAL_RANK": str(rank % 2), "LOCAL_WORLD_SIZE": "1" if rank == 2 else "2"}

    ended = start(untrained, tmp_path / "run", size=3, before=before, timeout=60.0)
    assert ended.codes == [2, 2, 2] and ended.err.count("\n") == 1
    assert "ranks: expected the same number of processes on its machine (else give --data_parall" in ended.err


@pytest.mark.slow
def test_the_last_work_of_the_first_rank_may_take_longer_than_an_exchange(untrained, tmp_path):
    limit, run = 2.0, tmp_path / "run"

    def before(rank: int) -> None:
        write = weights.write_merged

        def slowly(*arguments: Any) -> Path:
            time.sleep(2 * limit)
            return write(*arguments)

        weights.write_merged = slowly

    options = [*LORA, "--merge_lora", "--max_steps", "1", "--ddp_timeout", str(limit)]
    assert succeeded(start(untrained, run, *options, before=before))
    assert (run / "merged" / "model.safetensors").is_file()
