"""The small model of a class: its kinds of layers, its window, and nothing of its size."""

from typing import Any

import pytest
import torch

from dupo.models.shrunk import shrunk
from tests.helpers.model_kinds import LONGROPE, model_of_kind


def small_of(kind: str, window: int = 8, **changes: Any) -> Any:
    model = model_of_kind(kind, **changes)
    small = shrunk(model, window)
    assert small is not None and type(small) is type(model)
    return small


def test_two_layers_of_each_kind_are_kept() -> None:
    gemma = small_of("gemma3_text").config
    assert (
        gemma.layer_types.count("sliding_attention") >= 2 and gemma.layer_types.count("full_attention") == 2
    )
    deepseek = small_of("deepseek_v3", num_hidden_layers=9, first_k_dense_replace=3)
    kinds = [type(layer.mlp).__name__ for layer in deepseek.model.layers]
    assert kinds == ["DeepseekV3MLP", "DeepseekV3MLP", "DeepseekV3MoE", "DeepseekV3MoE"]
    bamba = small_of("bamba", num_hidden_layers=6, attn_layer_indices=[2, 4])
    assert sum(hasattr(layer, "self_attn") for layer in bamba.model.layers) == 2


def test_windows_are_set_and_angles_cut() -> None:
    assert small_of("phimoe").config.sliding_window == 8
    unused = small_of("qwen2_moe", use_sliding_window=False).config
    assert unused.sliding_window != 8
    longrope = LONGROPE | dict(short_factor=[1.0] * 20, long_factor=[4.0] * 20)
    phi = small_of("phi3", hidden_size=160, rope_parameters=longrope).config
    assert len(phi.rope_parameters["long_factor"]) == phi.hidden_size // phi.num_attention_heads // 2


@pytest.mark.parametrize("heads", [(4, 4), (4, 1), (8, 2)])
def test_the_sharing_of_heads_is_kept(heads: tuple[int, int]) -> None:
    small = small_of("llama", num_attention_heads=heads[0], num_key_value_heads=heads[1]).config
    expected = {4: 4, 1: 1, 2: 2}[heads[1]]
    assert (small.num_attention_heads, small.num_key_value_heads) == (4, expected)


def test_its_log_probs_differ_by_nats() -> None:
    small = small_of("llama")
    with torch.no_grad():
        logits = small(torch.arange(20)[None]).logits
    assert logits.std() > 1 and sum(p.numel() for p in small.parameters()) < 300_000


def test_a_class_that_cannot_be_built_small_has_none() -> None:
    assert shrunk(model_of_kind("llama", hidden_act="silu"), 8) is not None
    odd = model_of_kind("llama")
    odd.config.hidden_act = "an activation of tomorrow"
    assert shrunk(odd, 8) is None
