"""Runs of several ranks with moments of 8 bits: checkpoints that any number of ranks reads."""

import shutil
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch.distributed

from dupo import train
from dupo.storage.shards import read_metadata
from tests.helpers.ranks import Ended, run_ranks
from tests.helpers.runs import same_files
from tests.helpers.worlds import rows

pytestmark = [
    pytest.mark.slow,
    pytest.mark.full,
    pytest.mark.skipif(
        not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="needs gloo"
    ),
    pytest.mark.skipif(find_spec("torchao") is None, reason="needs torchao"),
]
OPTIONS = ["--num_threads", "1", "--eval_size", "8", "--generation_batch_size", "16", "--quiet"]
OPTIONS += ["--num_generations", "4", "--train_batch_size", "8", "--reward", "random", "--max_steps", "6"]
OPTIONS += ["--learning_rate", "1e-3", "--eval_steps", "2", "--save_steps", "2", "--save_total_limit", "5"]
OPTIONS += ["--optim", "adamw_torch_8bit"]
STEPS_AFTER = 4  # the checkpoint that runs go on from


def eager(rank: int) -> None:
    """torchao compiles its step, which takes minutes on a CPU; what the step computes is the same."""
    torch.compiler.set_stance("force_eager")


def start(model: Path, run: Path, *options: str, size: int) -> Ended:
    argv = [*OPTIONS, "--model_name_or_path", str(model), "--output_dir", str(run), *options]
    return run_ranks(partial(train.main, argv), run.with_suffix(".said"), size, eager)


def go_on(run: Path, *, size: int) -> Ended:
    wanted = str(run / f"checkpoint-{STEPS_AFTER}")
    argv = ["--output_dir", str(run), "--resume_from_checkpoint", wanted, "--quiet"]
    return run_ranks(partial(train.main, argv), run.with_suffix(".said"), size, eager)


@pytest.fixture(scope="module")
def runs(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Number of ranks -> their run, never stopped. A test that changes a run takes a copy."""
    folder = tmp_path_factory.mktemp("eight")
    for size in (1, 2, 3):
        # Of 128 rows three ranks have 43, 43 and 42: no multiple of a block on two of them.
        how = "true" if size == 2 else "false"
        ended = start(untrained, folder / str(size), "--async_save", how, size=size)
        assert set(ended.codes) == {0}, ended.err
    return {size: folder / str(size) for size in (1, 2, 3)}


def close(run: Path, other: Path, tolerance: float) -> None:
    """The same metrics but for the order of sums, and for moments that were rounded anew."""
    assert len(rows(run)) == len(rows(other)) == 6
    for one, two in zip(rows(run), rows(other), strict=True):
        assert one == pytest.approx(two, rel=tolerance, abs=tolerance)


def test_two_ranks_train_as_one_process(runs: dict[int, Path]) -> None:
    close(runs[1], runs[2], 1e-3)


def test_some_parts_of_three_ranks_are_in_eight_bits_and_others_in_float32(runs: dict[int, Path]) -> None:
    names = set(read_metadata(runs[3] / "checkpoint-6" / "shards").state_dict_metadata)
    scales = [{name for name in names if name.endswith(f".rank-{rank}-of-3")} for rank in range(3)]
    assert scales[2] and len(scales[2]) > len(scales[0]) == len(scales[1])


@pytest.mark.parametrize("size", [2, 3])
def test_as_many_ranks_go_on_to_the_same_bits(size: int, runs: dict[int, Path], tmp_path: Path) -> None:
    run = shutil.copytree(runs[size], tmp_path / "run")
    assert set(go_on(run, size=size).codes) == {0}
    names = [f"checkpoint-6/shards/__{rank}_0.distcp" for rank in range(size)]
    same_files(runs[size], run, "metrics.jsonl", "samples.jsonl", "checkpoint-6/model.safetensors", *names)


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3), (3, 2)])
def test_any_number_of_ranks_goes_on(before: int, after: int, runs: dict[int, Path], tmp_path: Path) -> None:
    run = shutil.copytree(runs[before], tmp_path / "run")
    ended = go_on(run, size=after)
    assert set(ended.codes) == {0} and f"ranks {before} is now {after}" in ended.err, ended.err
    close(run, runs[before], 1e-3)
