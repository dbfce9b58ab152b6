"""The real vLLM on a CPU: training, rerank, and weights that arrive after every update.

`DUPO_VLLM_PYTHON` names the Python of an environment with vLLM (built for CPUs, beside the packages of dupo).
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from transformers import Qwen3ForCausalLM

from tests.helpers.project import ROOT
from tests.helpers.worlds import tiny

PYTHON = os.environ.get("DUPO_VLLM_PYTHON")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="DUPO_VLLM_PYTHON names no environment with vLLM"),
]
# vLLM's own variables: a cache of 1 GB, threads that no core is bound to.
VARIABLES = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
SMALL = ["--engine", "vllm", "--vllm_max_model_length", "64", "--num_threads", "1", "--num_generations", "4"]
STEPS = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in model with heads of 32, as vLLM has no attention for its heads of 16 on a CPU."""
    path, world = tmp_path_factory.mktemp("model"), tiny()
    shape = world.model.config
    shape.head_dim, shape.num_attention_heads, shape.num_key_value_heads = 32, 4, 4
    torch.manual_seed(0)
    Qwen3ForCausalLM(shape).save_pretrained(path)
    world.tokenizer.hf.save_pretrained(path)
    return path


def dupo(*arguments: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, **VARIABLES, "PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}"}
    command = [str(PYTHON), "-m", *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=550)


@pytest.mark.parametrize(
    "options",
    [
        ["--reward", "random"],
        ["--reward", "random", "--use_peft", "--lora_r", "4", "--train_batch_size", "16"],
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


def test_rerank(folder: Path, tmp_path: Path) -> None:
    options = ["--num_problems", "6", "--output_dir", str(tmp_path / "run")]
    done = dupo("dupo.rerank", *SMALL, "--model_name_or_path", str(folder), *options)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len((tmp_path / "run/answers.jsonl").read_text().splitlines()) == 6
