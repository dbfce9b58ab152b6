"""The truth of the checks: what the model says alone, with the attention that transformers wrote for it."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from dupo.models import attention
from dupo.models.own_forward import own_logprobs, own_noise
from tests.helpers.model_kinds import model_of_kind

IDS = [[7, 3, 90, 41, 5], [1, 2]]


@pytest.mark.parametrize("kind", ["llama", "gpt_oss", "gemma2"])
def test_it_has_the_attention_of_transformers_and_nothing_of_ours(kind: str) -> None:
    """Sinks and softcap change what SDPA would say."""
    model = model_of_kind(kind)
    plain = AutoModelForCausalLM.from_config(model.config, attn_implementation="eager").eval()
    plain.load_state_dict(model.state_dict())
    with torch.no_grad():
        logprobs = [plain(torch.tensor([ids])).logits[0, :-1].log_softmax(-1) for ids in IDS]
    expected = [
        row[t, i].item() for row, ids in zip(logprobs, IDS, strict=True) for t, i in enumerate(ids[1:])
    ]
    model.set_attn_implementation(attention.NAME)  # both models share their config
    assert own_logprobs(model, IDS, "auto").tolist() == pytest.approx(expected, abs=1e-5)


def test_the_model_gets_its_attention_back_after_an_error() -> None:
    model = model_of_kind("llama")
    with pytest.raises(IndexError):
        own_logprobs(model, [[1, 10_000]], "auto")
    assert model.config._attn_implementation == attention.NAME


def test_float32_has_no_noise_and_bfloat16_has_some() -> None:
    model = model_of_kind("llama")
    truth, noise = own_noise(model, IDS, "float32")
    assert noise is None and torch.equal(truth, own_logprobs(model, IDS, "float32"))
    rounded, noise = own_noise(model.bfloat16(), IDS, "float32")
    assert noise is not None and 0 < noise < 0.2 and (rounded - truth).abs().max() < 1
