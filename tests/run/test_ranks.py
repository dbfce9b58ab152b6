"""Runs of several processes that share one model out: against one process, and when one of them fails."""

import json
import shutil
import time
from pathlib import Path

import pytest
import torch.distributed

from dupo import export
from dupo.distributed.launch import Launch
from dupo.errors import UserError
from tests.helpers.project import RunPython

pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="needs gloo"
)
OPTIONS = ["--num_threads", "1", "--eval_size", "8", "--generation_batch_size", "16", "--quiet"]
OPTIONS += ["--num_generations", "4", "--train_batch_size", "8", "--reward", "random", "--max_steps", "6"]
OPTIONS += ["--learning_rate", "1e-3", "--eval_steps", "2", "--save_steps", "2"]
DUAL = ["--reward", "dual", "--dual_model", "ema", "--beta", "0.05", "--ema_decay", "0.9"]
MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
LORA = ["--use_peft", "--lora_r", "4"]
SECONDS = 60  # for a run to start, to reach its fault and to end, on a slow machine


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


# --- with two processes ---


@pytest.fixture(scope="session")
def two(untrained: Path, tmp_path_factory: pytest.TempPathFactory, run_python: RunPython) -> Path:
    """A run of two ranks that was never stopped. A test that changes the run takes a copy."""
    out = tmp_path_factory.mktemp("ranks") / "two"
    done = train(run_python, untrained, out, "--num_processes", "2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return out


def train(run_python: RunPython, model: Path, out: Path, *options: str):
    paths = ["--model_name_or_path", str(model), "--output_dir", str(out)]
    return run_python("-m", "dupo.train", *OPTIONS, *paths, *options)


def go_on(run_python: RunPython, run: Path, ranks: int, checkpoint: str = "latest"):
    wanted = checkpoint if checkpoint == "latest" else str(run / checkpoint)
    options = ["--output_dir", str(run), "--resume_from_checkpoint", wanted, "--quiet"]
    return run_python("-m", "dupo.train", *options, "--num_processes", str(ranks))


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), tuple(DUAL), (*DUAL, *LORA)], ids=["random", "ema", "lora"])
def test_two_ranks_train_as_one_process(options, untrained, tmp_path, run_python):
    for name, ranks in {"one": "1", "two": "2"}.items():
        done = train(run_python, untrained, tmp_path / name, *options, "--num_processes", ranks)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    check_equal(tmp_path / "one", tmp_path / "two", 1e-5)


@pytest.mark.slow
def test_another_number_of_ranks_goes_on_with_a_run_and_says_so(two, untrained, tmp_path, run_python):
    again, alone = (shutil.copytree(two, tmp_path / name) for name in ("again", "alone"))
    assert go_on(run_python, again, 2, "checkpoint-4").stderr == ""
    for name in ("metrics.jsonl", "samples.jsonl"):
        assert (again / name).read_bytes() == (two / name).read_bytes()
    done = go_on(run_python, alone, 1, "checkpoint-4")
    changed = "figures may differ in the last bits from a run never stopped: ranks 2 is now 1"
    assert (done.returncode, done.stderr) == (0, f"warning: {changed}\n")
    check_equal(alone, two, 1e-5)
    # And back: what one process has written, two ranks read.
    done = go_on(run_python, alone, 2, "checkpoint-6")
    assert done.returncode == 0 and "ranks 1 is now 2" in done.stderr


@pytest.mark.slow
def test_an_export_of_ranks_is_the_model_alone(two, tmp_path):
    assert export.main([str(two), "--output_dir", str(tmp_path / "model")]) == 0
    names = {file.name for file in (tmp_path / "model").iterdir()}
    assert "model.safetensors" in names and not names & {"shards", "state.pt"}


@pytest.mark.slow
def test_a_damaged_shard_is_refused_and_an_older_checkpoint_offered(two, tmp_path, run_python):
    run = shutil.copytree(two, tmp_path / "run")
    shard = next((run / "checkpoint-6" / "shards").glob("*.distcp"))
    shard.write_bytes(shard.read_bytes()[:-100])
    done = go_on(run_python, run, 2)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "is not what was saved" in done.stderr and "checkpoint-4 is sound, go on from it" in done.stderr
    assert go_on(run_python, run, 2, "checkpoint-4").returncode == 0
    check_equal(run, two, 0)


FAULTS = [
    ("fail", "1", 1, "[rank1]: ValueError: the disk of this rank is made of cheese"),
    ("fail", "0", 1, "[rank0]: ValueError: the disk of this rank is made of cheese"),
    ("hangs elsewhere", "1", 1, "the disk of this rank is made of cheese"),
    ("killed", "1", 1, "error: rank 1 of 2 is gone (process "),
    ("spoiled", "1", 1, "step 3 is not finite"),
    ("stopped", "0", 130, "stopped; python -m dupo.train --output_dir"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "rank", "code", "line"), FAULTS, ids=[f"{f[0]} {f[1]}" for f in FAULTS])
def test_all_ranks_end_together_with_one_message(
    fault, rank, code, line, two, untrained, tmp_path, run_python
):
    run, start = tmp_path / "run", time.monotonic()
    paths = ["--model_name_or_path", str(untrained), "--output_dir", str(run)]
    done = run_python("-m", "tests.run.rank_faults", fault, rank, *OPTIONS, *paths, timeout=SECONDS)
    assert done.returncode == code, done.stderr
    assert line in done.stderr, done.stderr
    assert done.stderr.count("error: ") <= 1 and time.monotonic() - start < SECONDS
    # What was saved goes on, by as many ranks, to the bytes of a run never stopped.
    done = go_on(run_python, run, 2)
    assert (done.returncode, done.stderr) == (0, "")
    assert (run / "metrics.jsonl").read_bytes() == (two / "metrics.jsonl").read_bytes()


@pytest.mark.slow
def test_a_signal_to_one_rank_stops_all_after_the_step(two, untrained, tmp_path, run_python):
    run = tmp_path / "run"
    paths = ["--model_name_or_path", str(untrained), "--output_dir", str(run)]
    done = run_python("-m", "tests.run.rank_faults", "asked", "1", *OPTIONS, *paths, timeout=SECONDS)
    assert done.returncode == 130 and len(rows(run)) == 3
    assert go_on(run_python, run, 2).returncode == 0
    assert (run / "metrics.jsonl").read_bytes() == (two / "metrics.jsonl").read_bytes()


@pytest.mark.slow
def test_ranks_that_were_given_other_data_or_options_say_so_once(untrained, tmp_path, run_python):
    wrong = train(run_python, untrained, tmp_path / "a", "--num_processes", "2", "--task", "no task")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    variables = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", **MEETING}
    options = [*OPTIONS, "--model_name_or_path", str(untrained), "--output_dir", str(tmp_path / "b")]
    done = run_python("-m", "dupo.train", *options, "--num_processes", "3", env=variables)
    expected = "error: num_processes: expected 2, as many as were started, got 3\n"
    assert (done.returncode, done.stderr) == (2, expected)
