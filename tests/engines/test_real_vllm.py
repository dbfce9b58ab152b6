"""The real vLLM in the process that trains, on a CPU: training, rerank, weights after every update."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from tests.helpers.project import ROOT
from tests.helpers.real_vllm import PYTHON, VARIABLES, needs_vllm, save_model

pytestmark = [pytest.mark.slow, needs_vllm]
SMALL = ["--engine", "vllm", "--vllm_max_model_length", "64", "--num_threads", "1", "--num_generations", "4"]
STEPS = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))


def dupo(*arguments: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, **VARIABLES, "PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}"}
    command = [str(PYTHON), "-m", *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=550)


@pytest.mark.parametrize(
    "options",
    [
        ["--reward", "random"],
        ["--reward", "random", "--use_peft", "--lora_r", "4", "--train_batch_size", "16"],
        ["--reward", "random", "--use_peft", "--vllm_merge_adapters"],
    ],
    ids=str,
)
def test_engine_and_learner_agree_before_and_after_every_update(
    options: list[str], folder: Path, tmp_path: Path
) -> None:
    # A high rate: weights that did not arrive would be far off.
    options = [*options, "--learning_rate", "3e-3", "--max_steps", str(STEPS), "--eval_size", "8", "--strict"]
    options += ["--generation_batch_size", "32", "--eval_steps", "5", "--output_dir", str(tmp_path / "run")]
    done = dupo("dupo.train", *SMALL, "--model_name_or_path", str(folder), *options)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert len(rows) == STEPS
    for row in rows:
        assert 0 < row["sampling/sampling_logp_difference/max"] < 1e-4
        assert row["sampling/importance_sampling_ratio/mean"] == pytest.approx(1, abs=1e-4)
    moved = torch.tensor([row["ratio/max"] - 1 for row in rows]).abs().max()
    assert "--train_batch_size" not in options or moved > 1e-3


def test_each_of_two_ranks_has_a_vllm_of_its_own(folder: Path, tmp_path: Path) -> None:
    options = ["--reward", "random", "--learning_rate", "3e-3", "--max_steps", "3", "--eval_size", "8"]
    options += ["--strict", "--generation_batch_size", "32", "--model_name_or_path", str(folder)]
    for size in "12":
        out = ["--output_dir", str(tmp_path / size), "--num_processes", size]
        done = dupo("dupo.train", *SMALL, *options, *out)
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr[-3000:]
    one, two = (
        [json.loads(line) for line in (tmp_path / size / "metrics.jsonl").read_text().splitlines()]
        for size in "12"
    )
    assert len(one) == 3
    for row, other in zip(one, two, strict=True):
        assert other == pytest.approx(row, rel=1e-4, abs=1e-4)


def test_adapters_go_over_alone_and_the_judge_has_none(folder: Path) -> None:
    done = dupo("tests.helpers.real_adapters", str(folder))
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    # Before and after every update, in one vLLM: the base was sent once, and adapters do not pile up.
    assert len(told["policy"]) == 4 and max(told["policy"] + told["frozen"]) < 1e-4
    assert told["moved"] > 0.1 and told["reloads"] == 1 and told["held"] == [1, 1, 1, 1]
    assert "vLLM was handed adapter" in told["forgotten"]
    assert told["cached"] > 0  # prefixes were there to be taken for those of another adapter


FOLLOWED = """
import sys
from dupo.config.command_line import parse
from dupo.engines.load import load_engine
from dupo.models.tokenizers import load_tokenizer
from tests.helpers.sampled_rows import check_followed
import torch
config = parse(["--engine", "vllm", "--vllm_max_model_length", "64", "--model_name_or_path", sys.argv[1]])
engine = load_engine(config, config.model, load_tokenizer(config.model, None), torch.device("cpu"))
check_followed(engine, ["#321+654=", "#100-200=", "#321+654="])
"""


def test_what_follows_is_what_two_calls_give(folder: Path) -> None:
    variables = {**os.environ, **VARIABLES, "PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}"}
    command = [str(PYTHON), "-c", FOLLOWED, str(folder)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr[-3000:]


def test_rerank(folder: Path, tmp_path: Path) -> None:
    options = ["--num_problems", "6", "--output_dir", str(tmp_path / "run")]
    done = dupo("dupo.rerank", *SMALL, "--model_name_or_path", str(folder), *options)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len((tmp_path / "run/answers.jsonl").read_text().splitlines()) == 6
