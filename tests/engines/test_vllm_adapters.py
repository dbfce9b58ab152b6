"""Adapters in vLLM: the base goes over once, adapters alone after every update, and none may be stale."""

from typing import NamedTuple

import pytest
import torch

from dupo.config.lora_options import LoraOptions
from dupo.config.vllm_options import VllmOptions
from dupo.engines import weight_handover
from dupo.engines.base import Engine, Sampling
from dupo.engines.vllm import VllmEngine
from dupo.engines.vllm_adapters import trial_adapter
from dupo.engines.vllm_instance import VllmInstance
from dupo.errors import UserError
from dupo.models.adapter import Adapter, AdapterPlan
from dupo.models.own_forward import own_logprobs
from tests.helpers.fake_vllm import FakeLLM, put_in_place
from tests.helpers.sampled_rows import check_rows
from tests.helpers.worlds import World, tiny

pytest.importorskip("peft")
PROMPTS = ["#321+654=", "#100-200=", "#321+654="]
LORA = LoraOptions(
    use_peft=True, lora_r=3, lora_alpha=7, lora_target_modules="q_proj,v_proj,o_proj", use_rslora=True
)
PLAN = AdapterPlan(("q_proj", "v_proj", "o_proj"), LORA.lora_r, 0, 0)


class Side(NamedTuple):
    """A model with adapters and an engine that samples from it."""

    world: World
    adapter: Adapter
    engine: VllmEngine

    @property
    def calls(self) -> list[str]:
        """What vLLM was asked since they were cleared."""
        return self.engine.instance.llm.calls

    def train(self) -> None:
        """What an optimizer does, and telling the engine."""
        with torch.no_grad():
            for weight in self.adapter.state_dict().values():
                weight.add_(0.3 * torch.randn_like(weight))
        self.engine.load_weights(self.world.model)


def sampled(engine: Engine, seed: int = 1) -> list[list[str]]:
    return [[row.text for row in group] for group in engine.sample(PROMPTS, 1, Sampling(1.0, 2), seed)]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch):
    put_in_place(monkeypatch)

    def started(plan: AdapterPlan = PLAN, **options: bool) -> Side:
        torch.manual_seed(0)
        world = tiny(spread=1.5)
        # As in a run: the engine is there before the adapters.
        instance = VllmInstance(world.model, VllmOptions(**options), dtype="float32", seed=0, adapter=plan)
        engine = VllmEngine(world.model, world.tokenizer, instance)
        return Side(world, Adapter(world.model, LORA, seed=0), engine)

    return started


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the comparisons, where the order of the calls alone is under test."""
    monkeypatch.setattr(weight_handover, "compare_with_own", lambda *arguments: 0.0)


@pytest.mark.usefixtures("unchecked")
def test_the_base_goes_over_once_and_adapters_one_by_one(start) -> None:
    side = start()
    side.engine.load_weights(side.world.model)
    sampled(side.engine)
    sampled(side.engine)
    trial = ["reload_weights", "add_lora 1", "reset_prefix_cache"]
    assert side.calls == [*trial, "remove_lora 1", "add_lora 2", "reset_prefix_cache"]
    for number in (3, 4):
        side.calls.clear()
        side.train()
        side.train()  # two steps on one rollout are one hand-over
        sampled(side.engine)
        assert side.calls == [f"remove_lora {number - 1}", f"add_lora {number}", "reset_prefix_cache"]
        assert side.engine.instance.llm.list_loras() == {number}  # nothing piles up


@pytest.mark.slow
def test_a_base_that_is_changed_goes_over_again(start) -> None:
    side = start()
    side.engine.load_weights(side.world.model)
    sampled(side.engine)
    with torch.no_grad():
        side.world.model.get_input_embeddings().weight.mul_(1.1)
    side.engine.load_weights(side.world.model)
    side.calls.clear()
    sampled(side.engine)  # compares
    assert side.calls.count("reload_weights") == 1


@pytest.mark.slow
def test_policy_and_judge_answer_from_the_same_vllm(start) -> None:
    side = start()
    side.train()
    judge, plain = side.engine.beside(side.adapter.base), side.world._replace(model=side.adapter.base)
    for _ in range(2):
        check_rows(side.engine, side.world, PROMPTS)
        check_rows(judge, plain, PROMPTS)
        side.train()
    assert side.calls.count("reload_weights") == 1
    assert sampled(judge) != sampled(side.engine)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lost", "message"),
    [
        (1, "vllm with an adapter cannot sample Qwen3ForCausalLM"),  # no adapter ever arrives
        (2, "vllm cannot sample Qwen3ForCausalLM"),  # the first one stays
        (3, "vllm cannot sample Qwen3ForCausalLM"),  # the one of the start stays
    ],
)
def test_an_adapter_that_does_not_arrive_is_an_error(
    lost: int, message: str, start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeLLM, "ignored_adapters", frozenset({lost}))
    side = start()
    side.engine.load_weights(side.world.model)
    if lost == 3:
        sampled(side.engine)
        side.train()
    with pytest.raises(UserError, match=f"{message}: its log-probs differ by"):
        sampled(side.engine)


def test_an_adapter_that_stays_is_an_error(start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeLLM, "keeps_adapters", True)
    side = start()
    side.engine.load_weights(side.world.model)
    with pytest.raises(RuntimeError, match=r"has \[1, 2\]"):
        sampled(side.engine)


@pytest.mark.usefixtures("unchecked")
def test_a_forgotten_update_is_an_error(start) -> None:
    side = start()
    side.engine.load_weights(side.world.model)
    sampled(side.engine)
    with torch.no_grad():
        next(iter(side.adapter.state_dict().values())).add_(0.1)
    with pytest.raises(RuntimeError, match="load_weights was not called"):
        sampled(side.engine)


@pytest.mark.usefixtures("unchecked")
def test_a_sleeper_keeps_the_base(start) -> None:
    side = start(vllm_enable_sleep_mode=True)
    side.engine.instance.sleeps = True  # vLLM sleeps on CUDA alone
    side.train()
    judge = side.engine.beside(side.adapter.base)
    sampled(side.engine)
    sampled(judge)
    side.calls.clear()
    for engine in (side.engine, judge):
        engine.release_memory()
    side.train()
    sampled(judge)
    woken = ["wake_up weights", "wake_up kv_cache", "reset_prefix_cache"]
    assert side.calls[-4:] == ["sleep 1", *woken]
    side.calls.clear()
    sampled(side.engine)
    assert side.calls == ["remove_lora 2", "add_lora 3", "reset_prefix_cache"]


def test_the_trial_is_seen_and_leaves_no_trace(start) -> None:
    side = start()
    model = side.world.model
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    without = own_logprobs(model, [[1, 5, 7, 2, 9, 3]], "float32")
    with pytest.raises(ZeroDivisionError), trial_adapter(model):
        off = (own_logprobs(model, [[1, 5, 7, 2, 9, 3]], "float32") - without).abs()
        assert off.max() > 0.05  # 50 times what the comparison allows
        _ = 1 / 0
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_ranks_are_those_of_vllm(start) -> None:
    assert start().engine.instance.llm.settings["max_lora_rank"] == 8
    assert start(PLAN._replace(rank=16)).engine.instance.llm.settings["max_lora_rank"] == 16
    with pytest.raises(UserError, match="lora_r: expected at most 16, as in vLLM, got 17; --vllm_merge_ad"):
        start(PLAN._replace(rank=17))


def test_layers_that_take_no_adapter_in_vllm_are_named(start) -> None:
    message = r"on which vLLM takes adapters \(k_proj, o_proj, q_proj, v_proj\), got gate_proj, up_proj; --vl"
    with pytest.raises(UserError, match=message):
        start(PLAN._replace(layers=("q_proj", "gate_proj", "up_proj")))


def test_a_refusal_of_vllm_is_one_line(start, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: FakeLLM, request: object) -> bool:
        raise ValueError("expected target modules in ...")

    monkeypatch.setattr(FakeLLM, "add_lora", refuse)
    side = start()
    side.engine.load_weights(side.world.model)
    with pytest.raises(
        UserError, match="use_peft: vLLM cannot take the adapter: ValueError: expected target"
    ):
        sampled(side.engine)
