"""The check before training: a model is refused if packing changes what it says."""

from typing import Any

import pytest
import torch

from dupo.errors import UserError
from dupo.learning.logprobs import Compute
from dupo.learning.packed_check import check_packed
from dupo.models import agreement, attention
from dupo.models.attention import bucketed_sdpa
from tests.helpers.model_kinds import model_of_kind
from tests.helpers.worlds import tiny

COMPUTE = Compute(1.0, "auto", 16384)


@pytest.mark.parametrize("kind", ["gpt2", "olmo", "cohere", "mixtral", "gemma3_text", "phi3"])
def test_sound_models_pass(kind: str) -> None:
    assert check_packed(model_of_kind(kind), COMPUTE) == 0  # float32 has no noise


def test_the_built_in_model_passes() -> None:
    world = tiny(spread=4.0)
    check_packed(world.model, world.compute)


@pytest.mark.parametrize("kind", ["deepseek_v2", "deepseek_v3"])
def test_heads_of_values_may_have_another_size(kind: str) -> None:
    check_packed(model_of_kind(kind), COMPUTE)


@pytest.mark.parametrize("kind", ["phimoe", "qwen2_moe"])
def test_a_window_that_no_training_sequence_crosses_is_no_reason_to_refuse(kind: str) -> None:
    check_packed(model_of_kind(kind), COMPUTE)


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("gpt_oss", "does not support s_aux"),
        ("gemma2", "does not support softcap"),
        ("bloom", "log-probs differ"),
        ("xglm", "log-probs differ"),
        ("gpt_neox_japanese", "log-probs differ"),
        ("mamba", "log-probs differ"),
        ("bamba", "log-probs differ"),
        ("jamba", "log-probs differ"),
        ("nemotron_h", "log-probs differ|does not support"),
        ("lfm2", "log-probs differ"),
        ("recurrent_gemma", "log-probs differ"),
        ("qwen3_next", "packed sequences|log-probs differ"),  # told by transformers itself, if it is new
    ],
)
def test_models_that_packing_would_change_are_refused_by_name(kind: str, cause: str) -> None:
    model = model_of_kind(kind)
    with pytest.raises(UserError, match=cause) as refusal:
        check_packed(model, COMPUTE)
    line = str(refusal.value)
    assert line.startswith(f"{type(model).__name__} cannot be trained packed") and "\n" not in line


def test_a_leak_is_seen_where_bfloat16_noise_would_hide_it() -> None:
    """Linear attention leaks little; the small model is in float32 whatever the weights are in."""
    with pytest.raises(UserError, match="small model of its class"):
        check_packed(model_of_kind("nemotron_h").bfloat16(), COMPUTE)


def test_a_mask_of_the_models_own_is_kept() -> None:
    """Doge adds learned numbers to its scores; without its mask its packed log-probs are off by nats."""
    doge = model_of_kind("doge")
    check_packed(doge, Compute(1.0, "auto", token_budget=2048))
    # It keeps the best keys of a pack.
    with pytest.raises(UserError, match="or --token_budget 2048, with which they agree"):
        check_packed(doge, COMPUTE)


def leaky(q: Any, k: Any, v: Any, cu_seqlens: Any, max_seqlen: Any, scale: Any, *rest: Any) -> torch.Tensor:
    return bucketed_sdpa(q, k, v, cu_seqlens[[0, -1]], scale)  # as if all were one sequence


def test_a_leak_is_seen_in_the_small_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "packed_attention", leaky)
    with pytest.raises(UserError, match="small model of its class"):
        check_packed(model_of_kind("llama"), COMPUTE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_leak_is_seen_in_the_real_weights(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    monkeypatch.setattr(attention, "packed_attention", leaky)
    monkeypatch.setattr(agreement, "shrunk", lambda model, window: None)
    with pytest.raises(UserError, match="LlamaForCausalLM cannot be trained packed: its log-probs differ"):
        check_packed(model_of_kind("llama").to(dtype), COMPUTE)


def test_bfloat16_is_compared_with_the_noise_of_the_model_itself() -> None:
    noise = check_packed(model_of_kind("llama").bfloat16(), COMPUTE)
    assert 1e-3 < noise < 0.2


def test_the_model_is_left_as_it_was() -> None:
    model = model_of_kind("llama")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    generator = torch.get_rng_state()
    check_packed(model, COMPUTE)
    assert model.config._attn_implementation == attention.NAME
    assert torch.equal(generator, torch.get_rng_state())
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
