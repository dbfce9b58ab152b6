"""The check of the sampler: what it reports must be what the model itself says, in every program."""

import warnings
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from dupo.engines.reading import cache_name
from dupo.engines.sampled_check import check_sampled
from dupo.errors import UserError
from dupo.models import agreement, attention
from tests.helpers.model_kinds import SMALL, model_of_kind, spread_out
from tests.helpers.slow import with_slow
from tests.helpers.worlds import tiny

SOUND = ["gpt2", "olmo", "mixtral", "gemma3_text", "doge", "deepseek_v2", "deepseek_v3", "phi3"]


@pytest.mark.parametrize("kind", with_slow(SOUND, quick=("gpt2", "gemma3_text", "deepseek_v3")))
def test_sound_models_pass(kind: str) -> None:
    check_sampled(model_of_kind(kind), "auto")


@pytest.mark.parametrize(
    "kind",
    with_slow(["phimoe", "qwen2_moe", "mistral", "gemma2", "qwen2", "gpt_oss"], quick=("gemma2", "gpt_oss")),
)
def test_windows_are_crossed_by_sampling_and_are_right_there(kind: str) -> None:
    check_sampled(model_of_kind(kind), "auto")


def test_a_config_that_wants_router_logits_stops_no_sampling() -> None:
    check_sampled(model_of_kind("mixtral", output_router_logits=True), "auto")


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("bloom", "log-probs differ"),
        ("xglm", "log-probs differ"),
        ("gpt_neox_japanese", "log-probs differ"),
        ("mamba", "LinearAttentionLayer|takes no cache"),
        ("lfm2", "LinearAttentionLayer"),
    ],
)
def test_models_that_would_be_sampled_as_others_are_refused_by_name(kind: str, cause: str) -> None:
    model = model_of_kind(kind)
    with pytest.raises(UserError, match=cause) as refusal:
        check_sampled(model, "auto")
    line = str(refusal.value)
    assert line.startswith(f"{type(model).__name__} cannot be sampled from") and "\n" not in line


def llama(model_class: type[LlamaForCausalLM]) -> PreTrainedModel:
    attention.register()
    torch.manual_seed(0)
    return spread_out(
        model_class._from_config(LlamaConfig(**SMALL), attn_implementation=attention.NAME).eval()
    )


class Forgetful(LlamaForCausalLM):
    """Swallows its cache, as a model does that knows the cache by another name."""

    def forward(self, input_ids: Any = None, past_key_values: Any = None, **kwargs: Any) -> Any:
        return super().forward(input_ids=input_ids, **kwargs)


class Renamed(LlamaForCausalLM):
    """Knows its cache by a name that nobody else knows; whatever else comes is swallowed."""

    def forward(self, input_ids: Any = None, memory: Any = None, **kwargs: Any) -> Any:
        return super().forward(input_ids=input_ids)


def test_a_sampler_that_lost_its_context_is_refused() -> None:
    with pytest.raises(UserError, match=r"Forgetful cannot be sampled from.*log-probs differ"):
        check_sampled(llama(Forgetful), "auto")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_it_is_refused_by_the_real_weights_as_well(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(agreement, "shrunk", lambda model, window: None)
    check_sampled(llama(LlamaForCausalLM).to(dtype), "auto")
    with pytest.raises(UserError, match="Forgetful cannot be sampled from: its log-probs differ"):
        check_sampled(llama(Forgetful).to(dtype), "auto")


def test_a_name_of_the_cache_that_nobody_knows_is_refused() -> None:
    with pytest.raises(UserError, match="Renamed takes no cache by a name that is known"):
        check_sampled(llama(Renamed), "auto")


def test_the_cache_has_the_name_that_the_signature_has() -> None:
    def new(cache: Any = None, past_key_values: Any = None, **kwargs: Any) -> None: ...
    def old(past_key_values: Any = None, **kwargs: Any) -> None: ...

    model = model_of_kind("llama")
    for forward, name in ((new, "cache"), (old, "past_key_values")):
        model.forward = forward
        assert cache_name(model) == name


def test_sampling_warns_of_nothing() -> None:
    world = tiny(spread=4.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_sampled(world.model, "auto")
