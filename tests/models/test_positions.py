"""How far a model can read, by its config: positions, windows, and the border of its angles."""

from typing import Any

import pytest
from transformers import AutoConfig

from dupo.models.positions import position_limit, window_of
from tests.helpers.model_kinds import KINDS, LONGROPE


def config_of(kind: str, **changes: Any) -> Any:
    return AutoConfig.for_model(kind, **(KINDS.get(kind, {}) | changes))


def test_positions_end_where_the_config_says() -> None:
    assert position_limit(config_of("llama")) == 512
    assert position_limit(config_of("gpt2", n_positions=77)) == 77
    assert position_limit(config_of("bloom")) is None


def test_no_sequence_reaches_the_border_of_longrope() -> None:
    """Beyond the border a long neighbour changes the angles of a short sequence."""
    assert position_limit(config_of("phi3")) == 96
    by_layer = {"full_attention": LONGROPE, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}
    nested = config_of("gemma3_text")
    nested.rope_parameters = by_layer
    assert position_limit(nested) == 96


@pytest.mark.parametrize("kind", ["yarn", "llama3", "linear"])
def test_angles_that_depend_on_no_length_have_no_border(kind: str) -> None:
    rope = dict(rope_type=kind, rope_theta=1e4, factor=4.0, original_max_position_embeddings=96)
    rope |= dict(low_freq_factor=1.0, high_freq_factor=4.0) if kind == "llama3" else {}
    assert position_limit(config_of("llama", rope_parameters=rope)) == 512


def test_dynamic_angles_change_beyond_the_positions() -> None:
    rope = dict(rope_type="dynamic", rope_theta=1e4, factor=4.0)
    assert position_limit(config_of("llama", max_position_embeddings=96, rope_parameters=rope)) == 96


@pytest.mark.parametrize(
    ("kind", "changes", "window"),
    [
        ("llama", {}, None),
        ("gemma3_text", {}, 64),
        ("phimoe", {}, 128),
        ("qwen2_moe", {}, 128),
        ("qwen2_moe", {"use_sliding_window": False}, None),
        ("doge", {}, 2048),
        ("llama4_text", {"attention_chunk_size": 40}, 40),
        ("recurrent_gemma", {}, 64),
    ],
)
def test_windows_have_many_names(kind: str, changes: dict[str, Any], window: int | None) -> None:
    assert window_of(config_of(kind, **changes)) == window
