"""The check before training: a model is refused if packing changes what it says."""

from typing import Any

import pytest
import torch

from dupo.errors import UserError
from dupo.learning.logprobs import Compute
from dupo.learning.packed_check import check_packed
from dupo.models import agreement, attention
from dupo.models.bucketed_attention import bucketed_attention
from tests.helpers.model_kinds import model_of_kind
from tests.helpers.slow import with_slow
from tests.helpers.worlds import tiny

COMPUTE = Compute(1.0, "auto", 16384)


@pytest.mark.parametrize(
    "kind",
    with_slow(
        ["gpt2", "olmo", "cohere", "mixtral", "phi3", "mistral", "gemma2", "gemma3_text", "qwen2", "gpt_oss"],
        quick=("gpt2", "gemma2", "gpt_oss"),
    ),
)
def test_sound_models_pass(kind: str) -> None:
    assert check_packed(model_of_kind(kind), COMPUTE) == 0  # float32 has no noise


def test_the_built_in_model_passes() -> None:
    world = tiny(spread=4.0)
    check_packed(world.model, world.compute)


@pytest.mark.parametrize("kind", with_slow(["deepseek_v2", "deepseek_v3"], quick=("deepseek_v3",)))
def test_heads_of_values_may_have_another_size(kind: str) -> None:
    check_packed(model_of_kind(kind), COMPUTE)


@pytest.mark.parametrize("kind", with_slow(["phimoe", "qwen2_moe"], quick=("phimoe",)))
def test_a_class_that_does_not_tell_its_layers_of_their_window_is_used_within_it(kind: str) -> None:
    model = model_of_kind(kind)
    check_packed(model, Compute(1.0, "auto", token_budget=128))
    with pytest.raises(UserError, match=r"log-probs differ.*or --token_budget 128, with which they agree"):
        check_packed(model, COMPUTE)


@pytest.mark.parametrize("kind", with_slow(["mistral", "gemma2", "qwen2", "gpt_oss"], quick=("mistral",)))
def test_a_window_off_by_one_is_seen(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    honest = attention.packed_attention

    def shorter(*inputs: Any) -> torch.Tensor:
        window = inputs[-1].window
        return honest(*inputs[:-1], inputs[-1]._replace(window=window and window - 1))

    monkeypatch.setattr(attention, "packed_attention", shorter)
    with pytest.raises(UserError, match="small model of its class"):
        check_packed(model_of_kind(kind), COMPUTE)


@pytest.mark.parametrize(("kind", "name"), [("gemma2", "softcap"), ("gpt_oss", "sinks_K")])
def test_what_a_layer_wants_and_does_not_get_is_seen(
    monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    honest = attention.packed_attention

    def forgetful(*inputs: Any) -> torch.Tensor:
        return honest(*inputs[:-1], inputs[-1]._replace(**{name: None}))

    monkeypatch.setattr(attention, "packed_attention", forgetful)
    with pytest.raises(UserError, match="small model of its class"):
        check_packed(model_of_kind(kind), COMPUTE)


def test_without_a_small_model_the_window_of_the_weights_is_crossed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "shrunk", lambda model, window: None)
    check_packed(model_of_kind("mistral", sliding_window=310), COMPUTE)
    with pytest.raises(UserError, match="log-probs differ"):
        check_packed(model_of_kind("phimoe", sliding_window=310), COMPUTE)


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("bloom", "log-probs differ"),
        pytest.param("xglm", "log-probs differ", marks=pytest.mark.slow),
        pytest.param("gpt_neox_japanese", "log-probs differ", marks=pytest.mark.slow),
        ("mamba", "log-probs differ"),
        pytest.param("bamba", "log-probs differ", marks=pytest.mark.slow),
        pytest.param("jamba", "log-probs differ", marks=pytest.mark.slow),
        pytest.param("nemotron_h", "log-probs differ|does not support", marks=pytest.mark.slow),
        pytest.param("lfm2", "log-probs differ", marks=pytest.mark.slow),
        pytest.param("recurrent_gemma", "log-probs differ", marks=pytest.mark.slow),
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


def leaky(q: Any, k: Any, v: Any, cu_seqlens: Any, max_seqlen: Any, options: Any) -> torch.Tensor:
    return bucketed_attention(q, k, v, cu_seqlens[[0, -1]], options)  # as if all were one sequence


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


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt_oss"])
def test_bfloat16_is_compared_with_the_noise_of_the_model_itself(kind: str) -> None:
    noise = check_packed(model_of_kind(kind).bfloat16(), COMPUTE)
    assert 1e-3 < noise < 0.2


def test_the_model_is_left_as_it_was() -> None:
    model = model_of_kind("llama")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    generator = torch.get_rng_state()
    check_packed(model, COMPUTE)
    assert model.config._attn_implementation == attention.NAME
    assert torch.equal(generator, torch.get_rng_state())
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
