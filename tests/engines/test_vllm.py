"""The vLLM engine: what it asks of vLLM and in what order, with a stand-in; and the real vLLM where it is."""

import sys
from typing import Any

import pytest
import torch
from torch import nn

from dupo.config.vllm_options import VllmOptions
from dupo.engines.base import FollowUps, Sampling
from dupo.engines.vllm import VllmEngine
from dupo.engines.vllm_instance import VllmInstance
from dupo.engines.weight_files import makes_head, without_head
from dupo.errors import UserError
from dupo.records import Completion
from tests.helpers.fake_vllm import FakeLLM, put_in_place
from tests.helpers.sampled_rows import check_followed, check_rows
from tests.helpers.worlds import World, tiny

PROMPTS = ["#321+654=", "#100-200=", "#321+654="]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place(monkeypatch)


@pytest.fixture
def world() -> World:
    return tiny(spread=1.5)


def engine_of(world: World, **options: object) -> VllmEngine:
    instance = VllmInstance(world.model, VllmOptions(**options), dtype="float32", seed=0)  # type: ignore[arg-type]
    return VllmEngine(world.model, world.tokenizer, instance)


def train(world: World) -> None:
    """What an optimizer does."""
    with torch.no_grad():
        for weight in world.model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))


@pytest.mark.usefixtures("fake")
def test_rows_are_those_of_the_model(world: World) -> None:
    engine = engine_of(world)
    check_rows(engine, world, PROMPTS)


@pytest.mark.slow
@pytest.mark.usefixtures("fake")
def test_what_follows_is_what_two_calls_give(world: World) -> None:
    check_followed(engine_of(world), PROMPTS)


@pytest.mark.usefixtures("fake")
def test_a_fault_among_what_follows_leaves_nothing_under_way(world: World) -> None:
    def after(number: int, group: list[Completion]) -> list[str]:
        raise ValueError("cannot be read")

    engine = engine_of(world)
    follow = FollowUps(after, 1, Sampling(0.0, 2), 5, "others", 3)
    with pytest.raises(ValueError, match="cannot be read"):
        engine.sample_and_follow(PROMPTS, 1, Sampling(1.0, 2), 1, follow)
    assert engine.instance.llm.waiting == []


@pytest.mark.usefixtures("fake")
def test_what_vllm_breaks_off_or_loses_is_no_completion(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(world)
    engine.sample(PROMPTS, 1, Sampling(1.0, 2), seed=1)
    monkeypatch.setattr(FakeLLM, "has_unfinished_requests", lambda self: False)
    follow = FollowUps(lambda number, group: [], 1, Sampling(0.0, 2), 5, "others", 3)
    with pytest.raises(RuntimeError, match="vLLM lost 3 prompts"):
        engine.sample_and_follow(PROMPTS, 1, Sampling(1.0, 2), 1, follow)
    row = FakeLLM._row

    def broken(self: FakeLLM, *arguments: Any) -> Any:
        output = row(self, *arguments)
        output.finish_reason = "abort"
        return output

    monkeypatch.setattr(FakeLLM, "_row", broken)
    with pytest.raises(RuntimeError, match="vLLM broke completions off: abort"):
        engine.sample(PROMPTS, 1, Sampling(1.0, 2), seed=2)


@pytest.mark.usefixtures("fake")
def test_greedy_takes_the_likeliest(world: World) -> None:
    (group,) = engine_of(world).sample(PROMPTS[:1], 2, Sampling(0.0, 4), seed=1)
    (expected,) = world.engine.sample(PROMPTS[:1], 2, Sampling(0.0, 4), seed=1)
    assert [row.text for row in group] == [row.text for row in expected]


@pytest.mark.usefixtures("fake")
def test_weights_go_over_once_for_each_update(world: World) -> None:
    engine = engine_of(world)
    assert engine.instance.llm.calls == []  # nothing before somebody samples
    engine.sample(PROMPTS, 1, Sampling(1.0, 2), seed=1)
    engine.sample(PROMPTS, 1, Sampling(1.0, 2), seed=2)
    assert engine.instance.llm.calls == ["reload_weights", "reset_prefix_cache"]
    for _ in range(2):  # two steps on one rollout are one hand-over
        train(world)
        engine.load_weights(world.model)
    engine.sample(PROMPTS, 1, Sampling(1.0, 2), seed=3)
    assert engine.instance.llm.calls == 2 * ["reload_weights", "reset_prefix_cache"]


@pytest.mark.usefixtures("fake")
def test_a_forgotten_update_is_an_error(world: World) -> None:
    engine = engine_of(world)
    engine.sample(PROMPTS, 1, Sampling(1.0, 2), seed=1)
    train(world)
    with pytest.raises(RuntimeError, match="load_weights was not called"):
        engine.sample(PROMPTS, 1, Sampling(1.0, 2), seed=1)


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("lost", [1, 2])
def test_weights_that_do_not_arrive_are_an_error(
    lost: int, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeLLM, "ignores", frozenset({lost}))
    engine = engine_of(world)
    if lost == 2:
        engine.sample(PROMPTS, 1, Sampling(1.0, 2), seed=1)
        train(world)
        engine.load_weights(world.model)
    with pytest.raises(UserError, match="vllm cannot sample Qwen3ForCausalLM: its log-probs differ by"):
        engine.sample(PROMPTS, 1, Sampling(1.0, 2), seed=1)


@pytest.mark.usefixtures("fake")
def test_a_sleeper_wakes_for_weights_before_its_cache(world: World) -> None:
    engine = engine_of(world, vllm_enable_sleep_mode=True)
    engine.release_memory()
    assert engine.instance.llm.calls == []  # vLLM sleeps on CUDA alone
    engine.instance.sleeps = True
    engine.sample(PROMPTS, 1, Sampling(1.0, 2), seed=1)
    engine.instance.llm.calls.clear()
    engine.release_memory()
    engine.release_memory()
    assert engine.instance.llm.calls == ["sleep 2"]
    engine.sample(PROMPTS, 1, Sampling(1.0, 2), seed=1)
    assert engine.instance.llm.calls[1:] == [
        "wake_up weights",
        "reload_weights",
        "wake_up kv_cache",
        "reset_prefix_cache",
    ]


@pytest.mark.usefixtures("fake")
def test_a_prompt_without_room_is_told(world: World) -> None:
    engine = engine_of(world, vllm_max_model_length=12)
    with pytest.raises(UserError, match=r"vllm \(--vllm_max_model_length\) has 12"):
        engine.sample(PROMPTS, 1, Sampling(1.0, 8), seed=1)


def test_without_vllm_it_is_one_line(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="expected vLLM for --engine vllm"):
        engine_of(world)


def test_a_head_goes_over_where_vllm_makes_one() -> None:
    """A tied head has two names in transformers; a class of vLLM may know one of them."""
    embedding = nn.Embedding(3, 2)
    weights = [("model.embed_tokens.weight", embedding.weight), ("lm_head.weight", embedding.weight)]
    tied, bare = nn.Module(), nn.Module()
    tied.embed_tokens = tied.lm_head = embedding
    bare.embed_tokens = embedding
    assert [name for name, _ in without_head(weights, makes_head(tied))] == [name for name, _ in weights]
    assert [name for name, _ in without_head(weights, makes_head(bare))] == ["model.embed_tokens.weight"]
