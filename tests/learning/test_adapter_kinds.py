"""Adapters on models of several kinds: every way through a model gives what transformers gives."""

from pathlib import Path

import pytest
import torch

from dupo.config.lora_options import LoraOptions
from dupo.learning.adapter_check import check_reached
from dupo.learning.batches import make_batch
from dupo.learning.logprobs import Compute, batch_logprobs
from dupo.models.adapter import Adapter
from dupo.models.adapter_files import AdapterFolder, merged
from dupo.models.own_forward import own_logprobs
from dupo.models.weights import frozen_copy
from dupo.records import Trajectory
from tests.helpers.model_kinds import model_of_kind

IDS = [[7, 31, 5, 80, 12, 44, 9, 63, 2], [15, 71, 3, 28, 90, 6, 55, 41, 18, 77, 4, 36, 60, 23]]
ALL = LoraOptions(use_peft=True, lora_r=4, lora_alpha=8, lora_target_modules="all-linear")


@pytest.mark.slow
# Tensors of experts, a router, latent attention, layers that hold two in one, and another class of layers.
@pytest.mark.parametrize("kind", ["llama", "gpt2", "phi3", "mixtral", "qwen2_moe", "deepseek_v3"])
def test_all_ways_through_a_model_agree(kind: str, tmp_path: Path) -> None:
    model = model_of_kind(kind)
    fresh = frozen_copy(model)
    plain = own_logprobs(model, IDS, "float32")
    adapter, compute = Adapter(model, ALL, 0), Compute(1.0, "float32", 4096)
    check_reached(model, compute)
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in adapter.state_dict().values():
            weight.add_(torch.randn(weight.shape, generator=draws), alpha=0.05)
    own = own_logprobs(model, IDS, "float32")
    rows = [Trajectory(ids[:1], torch.tensor(ids[1:]), torch.zeros(len(ids) - 1), 0.0) for ids in IDS]
    learner, _ = batch_logprobs(model, make_batch(rows, model.device), compute)
    assert (learner.detach().double() - own).abs().max() < 2e-5
    assert torch.equal(own_logprobs(adapter.base, IDS, "float32"), plain)
    adapter.save_pretrained(tmp_path)
    whole = merged(fresh, AdapterFolder(tmp_path, "", None), "the adapter")
    assert (own_logprobs(whole, IDS, "float32") - own).abs().max() < 2e-5
    assert (own - plain).abs().max() > 0.1
