"""The weights beneath adapters in bfloat16: which they are, and that under autocast no bit changes."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dupo.config.lora_options import LoraOptions
from dupo.config.model_options import ModelOptions
from dupo.models.frozen_base import halve_base, halved_weights
from dupo.models.load import Model, load_model, model_config
from tests.helpers.model_kinds import model_of_kind
from tests.helpers.worlds import CPU, save_tiny, tiny

IDS = torch.arange(3, 18)[None]


def logits(model: Model) -> torch.Tensor:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        return model(IDS).logits


def as_a_file_in_bfloat16(kind: str) -> Model:
    model = model_of_kind(kind)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.bfloat16())
    return model


# gpt2 and gemma3_text tie their heads; gemma3_text scales its rows; mixtral has experts.
@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3_text", "mixtral", "phi3", "cohere"])
def test_under_autocast_no_bit_changes(kind: str) -> None:
    model = as_a_file_in_bfloat16(kind)
    before = copy.deepcopy(model)
    halve_base(model)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32, torch.bfloat16}
    assert torch.equal(logits(model), logits(before))
    assert torch.equal(logits(copy.deepcopy(model)), logits(before))  # as a judge or an average has it


def test_rows_that_are_not_widened_would_change_bits() -> None:
    model = as_a_file_in_bfloat16("llama")
    expected = logits(model)
    halve_base(model)
    model.get_input_embeddings()._forward_hooks.clear()
    assert not torch.equal(logits(model), expected)


def test_the_weights_are_those_of_linear_layers_and_the_embedding() -> None:
    model = model_of_kind("llama")
    names = {name for name, weight in model.named_parameters() if weight.dim() == 2}
    halved = {id(weight) for weight in halved_weights(model)}
    assert {name for name, weight in model.named_parameters() if id(weight) in halved} == names
    halve_base(model)
    assert not halved_weights(model)
    # The rotary angles of bfloat16 would be wrong.
    assert all(buffer.dtype != torch.bfloat16 for buffer in model.buffers())


def test_a_tied_weight_stays_tied_and_one_that_scales_stays_whole() -> None:
    tied, scaled = model_of_kind("gpt2"), model_of_kind("gemma3_text")
    for model, dtype in ((tied, torch.bfloat16), (scaled, torch.float32)):
        halve_base(model)
        head, embedding = model.get_output_embeddings().weight, model.get_input_embeddings().weight
        assert head is embedding and head.dtype == dtype


def test_only_a_model_that_gets_adapters_and_computes_in_bfloat16_is_halved(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model")
    tokenizer = tiny().tokenizer

    def loaded(name: str, dtype: str, *, gets_adapters: bool) -> Model:
        options = ModelOptions(model_name_or_path=name, compute_dtype=dtype)
        lora = LoraOptions(use_peft=gets_adapters)
        return load_model(options, model_config(options, tokenizer), CPU, 0, lora=lora)

    file = load_file(folder / "model.safetensors")
    halved = loaded(str(folder), "bfloat16", gets_adapters=True)
    for name, weight in halved.named_parameters():
        expected = file[name] if weight.dim() == 1 else file[name].bfloat16()
        assert torch.equal(weight, expected) and weight.dtype == expected.dtype, name
    others = [(str(folder), "bfloat16", False), (str(folder), "auto", True), ("tiny", "bfloat16", True)]
    for name, dtype, gets_adapters in others:
        model = loaded(name, dtype, gets_adapters=gets_adapters)
        assert {weight.dtype for weight in model.parameters()} == {torch.float32}
