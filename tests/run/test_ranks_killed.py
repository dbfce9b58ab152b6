"""A run of two ranks, of which one or both are killed anywhere, goes on with two ranks and with one."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dupo import train
from dupo.engines import builtin
from tests.helpers.kills import distinct, in_call, watch_changes
from tests.helpers.ranks import Ended, run_ranks
from tests.helpers.small_world import TRAIN, inside, make_inputs, result

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="needs gloo"
    ),
]
# At a higher rate, the first steps of Adam make more than 1e-6 of the order of a sum.
ARGV = [*TRAIN, "--max_steps", "4", "--learning_rate", "1e-4", "--save_rollout_seconds", "0", "--quiet"]
RESUME = ["--output_dir", "run", "--resume_from_checkpoint", "latest", "--quiet"]
Die = Callable[[], None]
Arm = Callable[[Die], None]


def program() -> int:
    """What a person types to get the run done: the same command until there is a run, then a resume."""
    return train.main(RESUME if Path("run/config.yaml").is_file() else ARGV)


def run_in(world: Path, size: int, before: Callable[[int], None] = lambda rank: None) -> Ended:
    with inside(world):
        return run_ranks(program, world / "said", size, before)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_inputs(tmp_path_factory.mktemp("killed") / "base")


@pytest.fixture(scope="module")
def named(base: Path) -> list[list[str]]:
    """The places at which each rank changes the folder of a run never stopped, which is left in `never`."""
    never = Path(shutil.copytree(base, base.parent / "never"))

    def note(rank: int) -> None:
        log = (base.parent / f"places{rank}").open("w", buffering=1)
        watch_changes(never / "run", lambda name: log.write(f"{name}\n"))

    assert run_in(never, 2, note).codes == [0, 0]
    return [(base.parent / f"places{rank}").read_text().splitlines() for rank in range(2)]


def in_method(number: int, owner: type, name: str) -> Arm:
    """In call `number` of a method, counted from 0."""

    def arm(die: Die) -> None:
        method, count = getattr(owner, name), in_call(number, die)

        def counted(*arguments: object, **options: object) -> object:
            count()
            return method(*arguments, **options)

        setattr(owner, name, counted)

    return arm


def in_the_middle_of_an_optimizer_step(die: Die) -> None:
    """In the second step, after some weights moved."""

    def half(optimizer: torch.optim.Optimizer, *_: object) -> None:
        with torch.no_grad():
            for weight in optimizer.param_groups[0]["params"][:3]:
                weight.add_(1.0)
        die()

    step, steps = torch.optim.AdamW.step, list[None]()

    def counted(self: torch.optim.AdamW, closure: Any = None) -> Any:
        steps.append(None)
        return half(self) if len(steps) == 2 else step(self, closure)

    torch.optim.AdamW.step = counted


def at_change(number: int) -> Arm:
    """Just before change `number` of the folder of the run."""
    return lambda die: watch_changes(Path("run"), in_call(number, die))


def of_ranks(run: Path) -> dict[str, object]:
    """What must be equal; torch writes a random name of the save into the metadata of its shards."""
    return {name: data for name, data in result(run).items() if not name.endswith("shards/.metadata")}


def check(never: Path, stopped: Path, size: int) -> None:
    """That the run that goes on with `size` ranks is the one that was never stopped."""
    ended = run_in(stopped, size)
    assert set(ended.codes) == {0}, ended.err
    if size == 2:
        assert of_ranks(stopped / "run") == of_ranks(never / "run")
        return
    rows = [(world / "run" / "metrics.jsonl").read_text().splitlines() for world in (stopped, never)]
    assert len(rows[0]) == len(rows[1]) == 4
    for row, expected in zip(*(map(json.loads, lines) for lines in rows), strict=True):
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-6)
    saved = [load_file(world / "run" / "checkpoint-4" / "model.safetensors") for world in (stopped, never)]
    for name, weight in saved[0].items():
        torch.testing.assert_close(weight, saved[1][name], rtol=0, atol=1e-6)


def kill_and_go_on(base: Path, folder: Path, rank: int, arm: Arm, *, both: bool) -> None:
    """Kills one rank, or both at once, and goes on with two ranks and with one.

    Args:
        rank: that comes to the place, of 0 and 1.
    """
    stopped = Path(shutil.copytree(base, folder / "stopped"))
    (stopped / "said").mkdir()

    def die() -> None:
        others = [int(file.read_text()) for file in (stopped / "said").glob("pid*")] if both else []
        for process in {*others} - {os.getpid()}:
            os.kill(process, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    def before(here: int) -> None:
        (stopped / "said" / f"pid{here}").write_text(str(os.getpid()))
        if here == rank:
            arm(die)

    ended = run_in(stopped, 2, before)
    expected = [-signal.SIGKILL if both or here == rank else 1 for here in range(2)]
    assert ended.codes == expected, ended.err
    # Whoever is left tells which rank is gone.
    told = [line for line in ended.err.splitlines() if line.startswith(("error: ", "Traceback"))]
    assert both or (len(told) == 1 and f"rank {rank} of 2 is gone" in told[0]), ended.err
    alone = Path(shutil.copytree(stopped, folder / "alone"))
    check(base.parent / "never", stopped, 2)
    check(base.parent / "never", alone, 1)
    shutil.rmtree(stopped), shutil.rmtree(alone)


COMPUTING: dict[str, Arm] = {
    "sampling": in_method(5, builtin._Decoding, "_choose"),
    "backward": in_method(3, torch.Tensor, "backward"),
    "optimizer": in_the_middle_of_an_optimizer_step,
}


IN_CI = {("sampling", 0, False), ("optimizer", 1, True)}
CASES = [(place, rank, both) for place in COMPUTING for rank in (0, 1) for both in (False, True)]


@pytest.mark.parametrize(
    ("place", "rank", "both"),
    [pytest.param(*case, marks=() if case in IN_CI else pytest.mark.full) for case in CASES],
)
def test_a_kill_while_a_rank_computes_changes_nothing(place, rank, both, base, named, tmp_path):
    kill_and_go_on(base, tmp_path, rank, COMPUTING[place], both=both)


@pytest.mark.full
def test_a_kill_while_the_shards_are_written_changes_nothing(base, named, tmp_path):
    shards = [number for number in distinct(named[1]) if "shards" in named[1][number]]
    kill_and_go_on(base, tmp_path, 1, at_change(shards[-1]), both=False)
    assert [name for name in named[1] if "shards" not in name] == [], "the first rank alone writes the rest"


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("both", [False, True], ids=["alone", "both"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_kill_at_every_change_of_the_folder_changes_nothing(rank, both, base, named, tmp_path):
    for number in distinct(named[rank]):
        try:
            kill_and_go_on(base, tmp_path / str(number), rank, at_change(number), both=both)
        except AssertionError as problem:
            raise AssertionError(f"{number}: {named[rank][number]}") from problem
