"""Whole runs of models with windows, sinks, softcap and experts, by both methods."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dupo.train import main
from tests.helpers.model_shapes import SOUND, save_model

SMALL = ["--task", "arithmetic", "--eval_size", "4", "--max_steps", "2", "--num_threads", "1"]
SMALL += ["--learning_rate", "1e-3"]
OF_METHOD = {
    "dupo": ["--reward", "random", "--generation_batch_size", "8", "--max_completion_length", "8"],
    "sft": ["--method", "sft", "--train_batch_size", "8"],
}
WINDOWS_AND_EXPERTS = {"gpt_oss": True, "gemma2": False, "mixtral__window": True}


@pytest.mark.slow
@pytest.mark.parametrize("method", OF_METHOD)
@pytest.mark.parametrize(("name", "has_experts"), WINDOWS_AND_EXPERTS.items())
def test_it_trains_on_policy_and_every_weight_of_attention_moves(
    name: str, has_experts: bool, method: str, tmp_path: Path
) -> None:
    folder, run = save_model(SOUND[name], tmp_path / "model"), tmp_path / "run"
    options = [*SMALL, *OF_METHOD[method], "--model_name_or_path", str(folder), "--output_dir", str(run)]
    assert main(options) == 0
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "grad_norm" in row]
    assert len(steps) == 2 and all(row["grad_norm"] > 0 for row in steps)
    assert all(("aux_loss" in row) == has_experts for row in steps)
    if method == "dupo":
        assert steps[0]["ratio/max"] == pytest.approx(1, abs=1e-4)
    before, after = (load_file(f / "model.safetensors") for f in (folder, run / "checkpoint-2"))
    attention = [key for key in before if "self_attn" in key]
    assert attention and all(not torch.equal(before[key], after[key]) for key in attention)
