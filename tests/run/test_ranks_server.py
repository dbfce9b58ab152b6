"""Several ranks and one server: the first rank alone asks it, and all ranks train as one process does."""

import errno
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch.distributed
from torch.distributed import HashStore
from transformers import AutoModelForCausalLM

from dupo import train
from dupo.distributed import meeting
from dupo.distributed.meeting import Meeting
from dupo.distributed.ranks import Ranks, Wait
from dupo.engines import vllm_server
from dupo.errors import UserError
from tests.helpers.ranks import Ended, run_ranks
from tests.helpers.stub_server import MODEL, Reply, StubServer, serving
from tests.helpers.vllm_stub import VllmStub

pytestmark = [
    pytest.mark.usefixtures("few_problems"),
    pytest.mark.skipif(
        not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="needs gloo"
    ),
]
OPTIONS = ["--num_threads", "1", "--eval_size", "4", "--generation_batch_size", "16", "--quiet"]
OPTIONS += ["--num_generations", "4", "--train_batch_size", "8", "--max_steps", "4", "--eval_steps", "2"]
OPTIONS += [
    "--learning_rate",
    "1e-3",
    "--save_steps",
    "2",
    "--max_completion_length",
    "6",
    "--max_retries",
    "1",
]
# Every group is on the disk as it ends, however fast the stub is.
OPTIONS += ["--save_rollout_seconds", "0"]
RANDOM = ["--reward", "random"]
DUALS = ["--reward", "dual", "--dual_max_completion_length", "6"]


def rows(run: Path, name: str = "metrics.jsonl") -> list[dict]:
    return [json.loads(line) for line in (run / name).read_text().splitlines()]


def check_equal(run: Path, other: Path) -> None:
    """The same samples, and the same metrics but for the order of sums."""
    assert len(rows(run)) == len(rows(other)) == 4
    for one, two in zip(rows(run), rows(other), strict=True):
        assert one == pytest.approx(two, rel=1e-4, abs=1e-4)
    for one, two in zip(rows(run, "samples.jsonl"), rows(other, "samples.jsonl"), strict=True):
        assert (one["problem"], one["completion"]) == (two["problem"], two["completion"])


class Counting:
    """Notes the bodies of all completions of rollouts that a stub gives, and dies when told to.

    Attributes:
        left: completions that are still given; None: any number.
    """

    def __init__(self) -> None:
        self.answered = list[str]()
        self.left: int | None = None

    def __call__(self, route: str, body: dict[str, Any]) -> Reply | None:
        # Evaluation is greedy, and whatever is tried has another number of completions.
        if not route.endswith("/completions") or body.get("n") != 4 or body["temperature"] != 1.0:
            return None
        if self.left == 0:
            return Reply(0, None)
        self.left = self.left - 1 if self.left is not None else None
        self.answered.append(json.dumps(body, sort_keys=True))
        return None


@contextmanager
def stub_of(model: Path, folder: Path) -> Iterator[tuple[VllmStub, Counting]]:
    stub, counting = VllmStub(AutoModelForCausalLM.from_pretrained(model), str(folder)), Counting()
    stub.before = counting
    with serving(stub):
        yield stub, counting


def start(model: Path, out: Path, *options: str, size: int = 2, **how: Any) -> Ended:
    paths = ["--model_name_or_path", str(model), "--output_dir", str(out)]
    return run_ranks(partial(train.main, [*OPTIONS, *paths, *options]), out.with_suffix(".said"), size, **how)


def no_room(rank: int) -> None:
    """The disk of the first rank is full after the first weight."""

    def write(folder: Path, weights: Any, dtype: Any) -> str:
        next(iter(weights))
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    if rank == 0:
        vllm_server.write_weights = write


def killed(here: int) -> Callable[[int], None]:
    """A rank is killed where the others wait for the answers of the server."""

    def before(rank: int) -> None:
        wait = Meeting.wait

        def changed(self: Meeting, what: str, patience: float) -> None:
            if rank == here and what.startswith("answers of"):
                os.kill(os.getpid(), signal.SIGKILL)
            wait(self, what, patience)

        Meeting.wait = changed

    return before


def succeeded(ended: Ended) -> bool:
    return set(ended.codes) == {0} and ended.err == ""


KINDS = {
    "random": RANDOM,
    "policy": [*DUALS, "--dual_model", "policy"],  # duals beside answers
    "ema": [*DUALS, "--dual_model", "ema", "--ema_decay", "0.9", "--beta", "0.05"],
    "frozen": [*DUALS, "--dual_model", "frozen", "--use_peft", "--lora_r", "4"],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["policy", *(pytest.param(k, marks=pytest.mark.full) for k in KINDS if k != "policy")]
)
def test_two_ranks_train_through_a_server_as_one_process(kind: str, untrained: Path, tmp_path: Path) -> None:
    asked = list[Counter[str]]()
    for size in (1, 2):
        with stub_of(untrained, tmp_path / f"config{size}") as (stub, counting):
            server = ["--engine", "server", "--base_url", stub.url]
            ended = start(untrained, tmp_path / str(size), *server, *KINDS[kind], size=size)
            assert succeeded(ended), ended.err
            # For the evaluations before the first step, after the second and after the last.
            assert stub.calls == 3 * ["dupo_receive_weights", "reset_prefix_cache"]
            asked.append(Counter(counting.answered))
    check_equal(tmp_path / "1", tmp_path / "2")
    # The server is asked for nothing twice.
    assert asked[0] == asked[1] and set(asked[1].values()) == {1}


@pytest.mark.slow
@pytest.mark.parametrize("num_left", [6, pytest.param(10, marks=pytest.mark.full)])
def test_a_server_that_dies_ends_all_ranks_and_a_resumed_run_asks_nothing_twice(
    num_left: int, untrained: Path, tmp_path: Path
) -> None:
    with stub_of(untrained, tmp_path / "config") as (stub, counting):
        server = ["--engine", "server", "--base_url", stub.url, "--max_concurrent_requests", "1"]
        assert succeeded(start(untrained, tmp_path / "whole", *server, *RANDOM))
        whole, counting.answered = Counter(counting.answered), []
        # Four groups are of the measurement before the first step, four of each rollout.
        counting.left = num_left
        ended = start(untrained, tmp_path / "run", *server, *RANDOM)
        assert ended.codes == [1, 1] and ended.err.count("\n") == ended.err.count("error: ") == 1, ended.err
        assert "does not answer" in ended.err and "goes on" in ended.err and "rank 0" in ended.err
        assert len(counting.answered) == num_left
        counting.left = None
        argv = ["--output_dir", str(tmp_path / "run"), "--resume_from_checkpoint", "latest", "--quiet"]
        assert succeeded(run_ranks(partial(train.main, argv), tmp_path / "again.said"))
    assert Counter(counting.answered) == whole
    check_equal(tmp_path / "whole", tmp_path / "run")


@pytest.mark.slow
@pytest.mark.full
def test_a_full_weight_folder_of_the_first_rank_ends_all(untrained: Path, tmp_path: Path) -> None:
    with stub_of(untrained, tmp_path / "config") as (stub, _):
        server = ["--engine", "server", "--base_url", stub.url]
        ended = start(untrained, tmp_path / "run", *server, *RANDOM, before=no_room)
    assert ended.codes == [1, 1] and ended.err.count("\n") == 1, ended.err
    assert "weight_folder: " in ended.err and "No space left on device" in ended.err


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_killed_at_a_wait_ends_the_other(rank: int, untrained: Path, tmp_path: Path) -> None:
    with stub_of(untrained, tmp_path / "config") as (stub, _):
        server = ["--engine", "server", "--base_url", stub.url]
        ended = start(untrained, tmp_path / "run", *server, *RANDOM, before=killed(rank))
    assert ended.codes == [-signal.SIGKILL if rank == r else 1 for r in range(2)], ended.err
    # torch adds warnings of its own where the first rank takes the store with it.
    assert ended.err.count("error: ") == 1 and "Traceback" not in ended.err, ended.err
    assert "is gone" in ended.err


@pytest.mark.slow
@pytest.mark.full
def test_a_server_judges_for_all_ranks(untrained: Path, tmp_path: Path) -> None:
    asked = list[Counter[str]]()
    for size in (1, 2):
        with serving(StubServer(lambda text, seed: f"{len(text) % 7}{seed % 10}")) as stub:
            judge = [*DUALS, "--dual_model", f"{stub.url}#{MODEL}"]
            ended = start(untrained, tmp_path / str(size), *judge, size=size)
            assert succeeded(ended), ended.err
            asked.append(stub.counts())
    check_equal(tmp_path / "1", tmp_path / "2")
    assert asked[0] == asked[1] and sum(asked[1].values()) > 0


@pytest.mark.slow
@pytest.mark.full
def test_a_server_may_take_longer_than_ranks_wait_for_each_other(untrained: Path, tmp_path: Path) -> None:
    limit = 8.0
    with stub_of(untrained, tmp_path / "config") as (stub, counting):
        server = ["--engine", "server", "--base_url", stub.url, "--ddp_timeout", str(limit)]

        def slow(route: str, body: dict[str, Any]) -> Reply | None:
            if body.get("n") == 4 and not counting.answered:
                time.sleep(1.5 * limit)
            return counting(route, body)

        stub.before = slow
        ended = start(untrained, tmp_path / "run", *server, *RANDOM, "--max_concurrent_requests", "1")
    assert succeeded(ended) and ended.seconds > 1.5 * limit, ended.err


# --- waiting, without processes ---


def test_ranks_wait_as_long_as_there_are_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "SIGN_SECONDS", 0.0)
    store, limit = HashStore(), 0.1
    waiting, working = (Meeting(store, rank, 2, limit) for rank in range(2))
    came = list[float]()

    def work() -> None:
        for _ in range(10):
            time.sleep(limit / 4)
            working.sign()
        came.append(time.monotonic())
        working.wait("work", 0.0)

    start, thread = time.monotonic(), Thread(target=work)
    thread.start()
    waiting.wait("work", 0.0)
    thread.join()
    assert time.monotonic() >= came[0] > start + 2 * limit


def test_a_rank_that_gives_no_sign_is_named() -> None:
    ranks = Ranks(1, 2, 2, Meeting(HashStore(), 1, 2, 0.02))
    message = r"^ranks: expected a sign of sampling from rank 0 of 2 within 0.05 s, got none: give more than "
    with pytest.raises(UserError, match=message + "--ddp_timeout 0.02"):
        ranks.on_first(lambda: None, Wait("sampling", 0.05))
