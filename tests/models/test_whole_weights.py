"""The weights of a model with adapters, as an engine without adapters gets them."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dupo.config.lora_options import LoraOptions
from dupo.models.adapter import Adapter
from dupo.models.adapter_files import ADAPTER_WEIGHTS, base_weights, whole_weights, write_adapter_of
from tests.helpers.worlds import tiny

pytest.importorskip("peft")


def test_without_adapters_they_are_the_state() -> None:
    model = tiny().model
    for (name, weight), (own, expected) in zip(whole_weights(model), model.state_dict().items(), strict=True):
        assert name == own and weight is not None and torch.equal(weight, expected)


@pytest.mark.parametrize("targets", ["all-linear", "q_proj,down_proj"])
def test_a_model_with_them_says_what_the_adapters_say(targets: str) -> None:
    model = tiny().model
    plain = copy.deepcopy(model)
    Adapter(model, LoraOptions(use_peft=True, lora_r=3, lora_alpha=7, lora_target_modules=targets), seed=0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    weights = dict(whole_weights(model))
    assert weights.keys() == plain.state_dict().keys()
    moved = [name for name, weight in plain.state_dict().items() if not torch.equal(weight, weights[name])]
    assert moved and all(name.endswith("proj.weight") for name in moved)
    ids = torch.tensor([[1, 5, 7, 2, 9]])
    with torch.no_grad():
        expected, untrained = model(ids).logits, plain(ids).logits
        plain.load_state_dict(weights)
        torch.testing.assert_close(plain(ids).logits, expected, rtol=1e-4, atol=1e-4)
        assert (untrained - expected).abs().max() > 0.1
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_what_lies_beneath_and_the_adapter_alone(tmp_path: Path) -> None:
    model = tiny().model
    plain = {name: weight.clone() for name, weight in model.state_dict().items()}
    adapter = Adapter(model, LoraOptions(use_peft=True, lora_target_modules="all-linear"), seed=0)
    beneath = dict(base_weights(model))
    assert beneath.keys() == plain.keys()
    assert all(torch.equal(weight, plain[name]) for name, weight in beneath.items())
    write_adapter_of(model, tmp_path)
    saved = load_file(tmp_path / ADAPTER_WEIGHTS)
    assert saved.keys() == adapter.state_dict().keys()
    assert all(torch.equal(weight, saved[name]) for name, weight in adapter.state_dict().items())
