"""Logits of the sampler in bfloat16: rounded as learning rounds them, and only there."""

import pytest
import torch

from dupo.engines.float32_head import float32_logits
from dupo_kernels import linear_token_logprobs
from tests.helpers.model_kinds import model_of_kind

IDS = torch.arange(3, 40)[None]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_bfloat16_logits_are_those_that_learning_makes(kind: str) -> None:
    model = model_of_kind(kind).bfloat16()
    with torch.no_grad():
        hidden = model.base_model(IDS).last_hidden_state[0, :-1]
        learned, _ = linear_token_logprobs(hidden, model.get_output_embeddings().weight, IDS[0, 1:])
        rounded = model(IDS).logits
        with float32_logits(model):
            logits = model(IDS).logits
        after = model(IDS).logits
    assert rounded.dtype == after.dtype == torch.bfloat16 and logits.dtype == torch.float32
    sampled = logits[0, :-1].log_softmax(-1).gather(-1, IDS[0, 1:, None])[:, 0]
    assert (sampled - learned).abs().max() < 1e-5
    off = rounded.float()[0, :-1].log_softmax(-1).gather(-1, IDS[0, 1:, None])[:, 0]
    assert (off - learned).abs().max() > 1e-3


def test_mixed_precision_rounds_weights_and_hidden_states_alike() -> None:
    model = model_of_kind("llama")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), float32_logits(model):
        hidden = model.base_model(IDS).last_hidden_state[0]
        expected = hidden.bfloat16().double() @ model.lm_head.weight.bfloat16().double().T
        assert (model(IDS).logits[0] - expected).abs().max() < 1e-4


def test_float32_is_left_alone() -> None:
    model = model_of_kind("llama")
    with float32_logits(model):
        assert "forward" not in vars(model.lm_head)
