"""A run that is killed in an update samples nothing again, and ends with the bytes of one never stopped."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dupo.config.command_line import parse
from dupo.engines.builtin import BuiltinEngine
from dupo.methods.dupo import DuPO
from dupo.records import DualExchange, Exchange, StepBatch
from dupo.seeds import derive
from tests.helpers.kills import in_child
from tests.helpers.runs import loop, same_files
from tests.helpers.small_world import TRAIN, inside, make_inputs
from tests.helpers.worlds import rows

# Two optimizer steps a rollout, and one checkpoint, after the sixth.
OPTIONS = [*TRAIN, "--max_steps", "6", "--save_steps", "6", "--save_rollout_seconds", "0"]
RESUME = ["--output_dir", "run", "--resume_from_checkpoint", "latest"]
FILES = ["metrics.jsonl", "samples.jsonl", "checkpoint-6/model.safetensors", "checkpoint-6/ema.safetensors"]


class Counting(DuPO):
    """Remembers the steps whose rollouts it has sampled."""

    def new_rollout(self, step: int) -> list[StepBatch]:
        self.sampled = [*getattr(self, "sampled", []), step]
        return super().new_rollout(step)


def killed_in_update(number: int, argv: list[str]) -> Callable[[], int]:
    """A run that ends before the weights of step `number` move."""

    class Killed(DuPO):
        def update(self, batch: StepBatch, step: int) -> dict[str, float]:
            if step == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().update(batch, step)

    def run() -> int:
        config = parse(argv)
        loop(config, Killed(config))
        return 0

    return run


def gone_on(argv: list[str]) -> list[int]:
    """Runs to the end; the steps whose rollouts were sampled."""
    config = parse(argv)
    method = Counting(config)
    loop(config, method)
    return getattr(method, "sampled", [])


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data, the model, and the run."""
    world = make_inputs(tmp_path_factory.mktemp("rollouts") / "world")
    with inside(world):
        assert gone_on(OPTIONS) == [0, 2, 4]
    assert not (world / "run/rollouts").exists()
    return world


def world_of(never_stopped: Path, place: Path) -> Path:
    """The inputs alone, in another place."""
    place.mkdir(exist_ok=True)
    for name in ("data.jsonl", "model"):
        (place / name).symlink_to(never_stopped / name)
    return place


def kill(place: Path, number: int, argv: list[str] = OPTIONS) -> None:
    assert os.waitstatus_to_exitcode(in_child(killed_in_update(number, argv))) == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("number", [3, *(pytest.param(n, marks=pytest.mark.full) for n in (0, 5))])
def test_what_was_sampled_is_not_sampled_again(number: int, never_stopped: Path, tmp_path: Path) -> None:
    with inside(world_of(never_stopped, tmp_path / "world")):
        kill(Path.cwd(), number)
        assert sorted(int(f.name) for f in Path("run/rollouts").iterdir()) == list(range(0, number + 1, 2))
        assert len(rows(Path("run"))) == number if number else not Path("run/metrics.jsonl").exists()
        assert gone_on(RESUME) == list(range(number + 2 - number % 2, 6, 2))
        same_files(never_stopped / "run", Path("run"), *FILES)
        assert not Path("run/rollouts").exists()


@pytest.mark.slow
def test_a_rollout_that_a_checkpoint_outlived_is_removed(never_stopped: Path, tmp_path: Path) -> None:
    # A kill came between the last checkpoint and the removal of its rollouts.
    run = Path(shutil.copytree(never_stopped / "run", tmp_path / "world/run"))
    with inside(world_of(never_stopped, run.parent)):
        Path("run/rollouts/4").mkdir(parents=True)
        assert gone_on(RESUME) == [] and not Path("run/rollouts").exists()


class KilledInRollout(DuPO):
    """Ends when the second rollout has been answered, and not yet rewarded."""

    def reward_inputs(self, *rest: Any) -> Any:
        if self.num_rollouts == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().reward_inputs(*rest)


@pytest.mark.slow
@pytest.mark.parametrize(
    "torn", [pytest.param(0, marks=pytest.mark.full, id="whole"), pytest.param(10, id="torn")]
)
def test_a_rollout_in_progress_goes_on(
    torn: int, never_stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed() -> int:
        config = parse(OPTIONS)
        loop(config, KilledInRollout(config))
        return 0

    sample, seeds = BuiltinEngine.sample, list[int]()

    def counted(self: BuiltinEngine, prompts: Any, n: int, sampling: Any, seed: int) -> Any:
        seeds.append(seed)
        return sample(self, prompts, n, sampling, seed)

    with inside(world_of(never_stopped, tmp_path / "world")):
        assert os.waitstatus_to_exitcode(in_child(killed)) == -signal.SIGKILL
        file = Path("run/rollouts/2.jsonl")
        keys = [json.loads(line)["key"] for line in file.read_text().splitlines()]
        assert keys[0] == "origin" and len(keys) == 2  # the answers; nobody asks duals
        file.write_bytes(file.read_bytes()[: file.stat().st_size - torn])
        monkeypatch.setattr(BuiltinEngine, "sample", counted)
        assert gone_on(RESUME) == [2, 4]
        same_files(never_stopped / "run", Path("run"), *FILES)
        assert not Path("run/rollouts").exists()
    assert (derive(0, "primal", 1) in seeds) == bool(torn)
    assert derive(0, "primal", 2) in seeds


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


REFUSED = {
    "damaged": (lambda: flip(Path("run/rollouts/2/rollout.pt")), []),
    "no sums": (lambda: Path("run/rollouts/2/SHA256SUMS").unlink(), []),
    "more exchanges": (lambda: None, ["--num_exchanges_to_log", "2"]),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "reason", ["damaged", *(pytest.param(r, marks=pytest.mark.full) for r in REFUSED if r != "damaged")]
)
def test_another_rollout_is_sampled_again(reason: str, never_stopped: Path, tmp_path: Path, capfd) -> None:
    change, more = REFUSED[reason]
    with inside(world_of(never_stopped, tmp_path / "world")):
        kill(Path.cwd(), 3)
        change()
        capfd.readouterr()
        sampled = gone_on([*RESUME, *more])
        assert sampled == ([0, 2, 4] if more else [2, 4])
        assert "run/rollouts/2 is not used (" in capfd.readouterr().out
        same_files(never_stopped / "run", Path("run"), FILES[0], *FILES[2:])


@pytest.mark.slow
def test_a_rollout_of_a_moment_is_not_saved(never_stopped: Path, tmp_path: Path) -> None:
    argv = [word if word != "0" else "100" for word in OPTIONS]
    with inside(world_of(never_stopped, tmp_path / "world")):
        kill(Path.cwd(), 3, argv)
        assert not Path("run/rollouts").exists()
        assert gone_on(RESUME) == [0, 2, 4]
        same_files(never_stopped / "run", Path("run"), *FILES)


def test_an_exchange_comes_back_with_the_same_row() -> None:
    duals = [DualExchange("2 + ? =", "5", "3", 0.1 + 0.2), DualExchange("p", "é\ud800", "u", None, "plain")]
    exchange = Exchange(
        "id",
        "prompt",
        "completion",
        None,
        1 / 3,
        True,
        duals,
        -0.7,
        "gold",
        0.5,
        {"a/b": [1, None]},
        "x",
        "y",
    )
    again = Exchange.from_json(exchange.to_json())
    assert again == exchange
    for held_out in (True, False):
        assert again.row(3, held_out=held_out) == exchange.row(3, held_out=held_out)
