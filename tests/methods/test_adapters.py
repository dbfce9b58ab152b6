"""Methods that train adapters: who samples, who judges, what moves, and what stays as it was, bit for bit."""

import gc
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dupo.config.command_line import parse
from dupo.engines.base import Sampling
from dupo.engines.builtin import BuiltinEngine
from dupo.errors import UserError
from dupo.learning import adapter_check
from dupo.learning.adapter_check import check_reached
from dupo.learning.batches import make_batch
from dupo.learning.logprobs import batch_logprobs
from dupo.methods.dupo import DuPO
from dupo.methods.sft import SFT
from dupo.models.own_forward import own_logprobs
from dupo.models.weights import frozen_copy
from dupo.records import Trajectory
from tests.helpers.worlds import tiny

SMALL = ["--num_threads", "1", "--eval_size", "0", "--generation_batch_size", "32", "--num_generations", "4"]
SMALL += ["--use_peft", "--learning_rate", "0.02", "--lora_target_modules", "q_proj,v_proj,down_proj"]
STEPS, PROMPTS = 3, [[2, 5, 9], [4, 4, 7, 11, 3]]
Started = Callable[..., DuPO]


@pytest.fixture
def started(untrained: Path) -> Started:
    """A method that is ready for its first step."""

    def start(*options: str) -> DuPO:
        method = DuPO(parse([*SMALL, "--model_name_or_path", str(untrained), *options]))
        method.load()
        method.start()
        return method

    return start


def steps(method: DuPO) -> list[dict[str, float]]:
    return [method.update(method.next_batch(step), step) for step in range(STEPS)]


def trained_of(method: DuPO) -> dict[str, torch.Tensor]:
    assert method.adapter is not None
    return {name: weight.detach().clone() for name, weight in method.adapter.state_dict().items()}


@pytest.mark.slow
def test_after_some_steps_the_engine_samples_what_the_learner_computes(started: Started) -> None:
    method = started("--reward", "random")
    before, adapters = frozen_copy(method.adapter.base), trained_of(method)  # type: ignore[union-attr]
    whole = {name: weight.clone() for name, weight in before.named_parameters()}
    metrics = steps(method)
    # The step on which nothing had moved: the ratio of every token is 1.
    assert all(row["ratio/max"] == pytest.approx(1, abs=1e-5) for row in metrics)
    after = trained_of(method)
    moved = [name for name in after if not torch.equal(after[name], adapters[name])]
    assert len(moved) == len(after) == 12
    weights = dict(method.adapter.base.named_parameters())  # type: ignore[union-attr]
    assert all(torch.equal(weights[name], weight) for name, weight in whole.items())

    groups = method.engine.sample(PROMPTS, 3, Sampling(1.0, 6), seed=1)
    for prompt, group in zip(PROMPTS, groups, strict=True):
        for completion in group:
            ids, n = completion.ids.tolist(), len(completion.ids)
            own = own_logprobs(method.model, [prompt + ids], "float32")[-n:]
            trajectory = Trajectory(prompt, completion.ids, completion.logprobs, 0.0)
            learner, _ = batch_logprobs(
                method.model, make_batch([trajectory], method.model.device), method.compute
            )
            assert (completion.logprobs.double() - own).abs().max() < 1e-5
            assert (learner.detach().double() - own).abs().max() < 1e-5
            plain = own_logprobs(before, [prompt + ids], "float32")[-n:]
            assert (own - plain).abs().max() > 1e-3  # the adapters do something


def test_the_judge_without_adapters_says_what_a_frozen_copy_says(started: Started) -> None:
    method = started()
    copy = frozen_copy(method.adapter.base.requires_grad_(True))  # type: ignore[union-attr]
    method.adapter.base.requires_grad_(False)  # type: ignore[union-attr]
    assert method.judge is not None and method.reference is method.adapter.base  # type: ignore[union-attr]
    with torch.no_grad():
        for name, weight in method.model.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.05)
    sampling = Sampling(1.0, 6)
    answers = method.judge.engine.sample(PROMPTS, 4, sampling, seed=2)
    method.judge.engine.load_weights(copy)
    expected = method.judge.engine.sample(PROMPTS, 4, sampling, seed=2)
    policy = method.engine.sample(PROMPTS, 4, sampling, seed=2)
    assert [[c.ids.tolist() for c in group] for group in answers] == [
        [c.ids.tolist() for c in group] for group in expected
    ]
    for group, copies, others in zip(answers, expected, policy, strict=True):
        for completion, again, other in zip(group, copies, others, strict=True):
            assert torch.equal(completion.logprobs, again.logprobs)
            assert not torch.equal(completion.logprobs, other.logprobs)


IN_CI = ("frozen judge, reference", "in bfloat16")
JUDGES = {
    "frozen judge, reference": ("--beta", "0.05"),
    "ema": ("--dual_model", "ema", "--beta", "0.05"),
    "policy": (
        "--dual_model",
        "policy",
    ),
    "in bfloat16": ("--compute_dtype", "bfloat16", "--beta", "0.05"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "judge", [j if j in IN_CI else pytest.param(j, marks=pytest.mark.full) for j in JUDGES]
)
def test_the_weights_beneath_are_in_memory_once(started: Started, judge: str) -> None:
    """Counted over all live tensors, while prompts are answered and judged, and after the step."""
    gc.collect()
    before = live_tensors()
    method = started("--reward", "dual,random", "--max_completion_length", "6", *JUDGES[judge])
    assert method.adapter is not None and method.judge is not None
    weights = [weight for weight in method.adapter.base.parameters() if weight.dim() > 1]
    asked, counts = dict[tuple[int, bool], int](), list[int]()

    def count(model: torch.nn.Module, *_: object) -> None:
        # A model answers token by token: its first passes are enough, and those with a gradient.
        key = id(model), torch.is_grad_enabled()
        asked[key] = asked.get(key, 0) + 1
        if asked[key] <= 2:
            counts.append(most_copies(weights, before))

    models = [method.model, method.reference, method.ema, method.judge.engine.model]  # type: ignore[attr-defined]
    for model in {id(model): model for model in models if model is not None}.values():
        model.base_model.register_forward_hook(count)
    method.update(method.next_batch(0), 0)
    counts.append(most_copies(weights, before))
    assert set(counts) == {1} and len(counts) >= 4
    # Adapters, their gradients and moments, and the average of adapters.
    trained = sum(weight.nbytes for weight in method.adapter.state_dict().values())
    total = sum(weight.nbytes for weight in method.adapter.base.parameters())
    assert total < num_bytes(new_tensors(before)) < 1.1 * total + 5 * trained


def live_tensors() -> list[torch.Tensor]:
    """All dense tensors of the process. Whoever holds the list keeps their addresses from being used again.

    Libraries that other tests loaded may hold tensors without a memory of their own: sparse ones, and fakes.
    """
    # By type: `isinstance` asks objects for their class, and some warn of that.
    tensors = [thing for thing in gc.get_objects() if type(thing) in (torch.Tensor, torch.nn.Parameter)]
    return [tensor for tensor in tensors if tensor.layout == torch.strided and tensor.device.type == "cpu"]


def new_tensors(before: list[torch.Tensor]) -> list[torch.Tensor]:
    """A tensor in each memory that came since; several may share it."""
    old = {tensor.untyped_storage().data_ptr() for tensor in before}
    by_address = {tensor.untyped_storage().data_ptr(): tensor for tensor in live_tensors()}
    return [tensor for address, tensor in by_address.items() if address not in old]


def num_bytes(tensors: list[torch.Tensor]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


def most_copies(weights: list[torch.Tensor], before: list[torch.Tensor]) -> int:
    """In how many memories the values of a weight stand, rounded or not; the most of any weight."""
    tensors = new_tensors(before)

    def holds(tensor: torch.Tensor, weight: torch.Tensor) -> bool:
        is_like = tensor.shape == weight.shape and tensor.is_floating_point()
        return is_like and torch.allclose(tensor.detach().float(), weight.float(), rtol=0.01, atol=1e-3)

    return max(sum(holds(tensor, weight) for tensor in tensors) for weight in weights)


@pytest.mark.slow
@pytest.mark.parametrize("as_on_gpu", [False, True])
def test_a_base_in_bfloat16_samples_and_learns_as_one_in_float32(started: Started, as_on_gpu: bool) -> None:
    """Whose weights have the same values: rounding them at every product or once is the same arithmetic."""
    method = started("--reward", "random", "--beta", "0.05", "--compute_dtype", "bfloat16")
    assert method.adapter is not None and isinstance(method.engine, BuiltinEngine)
    method.engine.as_on_gpu = as_on_gpu
    before = {name: weight.clone() for name, weight in method.adapter.base.named_parameters()}
    metrics = steps(method)
    assert not method.warnings()  # sampler and learner are one policy, within the noise of bfloat16
    assert metrics[0]["kl"] < 1e-3 < metrics[-1]["kl"]
    weights = dict(method.adapter.base.named_parameters())
    assert all(torch.equal(weights[name], weight) for name, weight in before.items())
    assert {w.dtype for n, w in weights.items() if n.endswith("proj.weight")} == {torch.bfloat16}
    assert {weight.dtype for weight in method.adapter.state_dict().values()} == {torch.float32}

    batch = method.next_batch(STEPS)
    loss = method.loss.accumulate_gradient(method.model, batch.trajectories)
    sampled = method.engine.sample(PROMPTS, 3, Sampling(1.0, 6), seed=1)
    for weight in method.model.parameters():
        weight.data = weight.data.float()
    method.model.zero_grad()
    assert loss == method.loss.accumulate_gradient(method.model, batch.trajectories)
    again = method.engine.sample(PROMPTS, 3, Sampling(1.0, 6), seed=1)
    for group, others in zip(sampled, again, strict=True):
        assert all(torch.equal(a.logprobs, b.logprobs) for a, b in zip(group, others, strict=True))


@pytest.mark.slow
def test_the_penalty_is_measured_from_the_model_without_adapters(started: Started) -> None:
    metrics = steps(started("--reward", "random", "--beta", "0.1"))
    assert metrics[0]["kl"] == pytest.approx(0, abs=1e-6) and metrics[-1]["kl"] > 1e-4


@pytest.mark.slow
def test_the_optimizer_holds_adapters_alone(started: Started) -> None:
    method = started("--reward", "random")
    steps(method)
    held = {id(weight) for group in method.optimizer.param_groups for weight in group["params"]}
    assert held == {id(w) for n, w in method.model.named_parameters() if "lora_" in n}
    assert len(method.optimizer.state) == len(held) == 12
    row = dict(method.describe())["adapter"]
    total = sum(weight.numel() for weight in method.model.parameters())
    count = sum(weight.numel() for weight in method.model.parameters() if weight.requires_grad)
    assert f"{count:,} of {total:,} weights are trained" in row


@pytest.mark.slow
def test_the_average_judges_with_adapters_of_its_own(started: Started) -> None:
    method = started("--dual_model", "ema", "--reward", "dual,random", "--ema_decay", "0.5")
    steps(method)
    assert method.ema is not None
    pairs = zip(method.ema.named_parameters(), method.model.parameters(), strict=True)
    for (name, old), new in pairs:
        assert (old is new) == ("lora_" not in name)
        assert old is new or not torch.equal(old, new)


@pytest.mark.slow
def test_recomputed_activations_change_no_gradient(started: Started) -> None:
    options = ("--reward", "random")
    plain, recomputed = started(*options), started(*options, "--gradient_checkpointing")
    steps(plain)
    steps(recomputed)
    again = trained_of(recomputed)
    for name, weight in trained_of(plain).items():
        assert torch.allclose(weight, again[name], atol=1e-6)


@pytest.mark.slow
def test_supervised_training_moves_adapters_alone(untrained: Path) -> None:
    options = [*SMALL[:4], "--method", "sft", "--use_peft", "--lora_dropout", "0.2"]
    method = SFT(parse([*options, "--model_name_or_path", str(untrained), "--learning_rate", "0.01"]))
    method.load()
    method.start()
    assert method.adapter is not None
    before = {name: weight.clone() for name, weight in method.adapter.base.named_parameters()}
    losses = [method.update(method.next_batch(step), step)["loss"] for step in range(8)]
    assert losses[-1] < losses[0]
    assert all(torch.equal(before[n], weight) for n, weight in method.adapter.base.named_parameters())


def test_weights_that_no_gradient_reaches_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an adapter on the head would be, which no option can ask for."""
    world = tiny()
    world.model.requires_grad_(False)
    unused = torch.nn.Parameter(torch.zeros(3))
    world.model.register_parameter("lora_unused", unused)
    with pytest.raises(UserError, match=r"depend on, got 1 weights without a gradient \(lora_unused"):
        reach(world)
    monkeypatch.setattr(adapter_check, "has_experts", lambda model: True)
    reach(world)


def test_a_model_that_fails_with_adapters_is_one_line() -> None:
    """As the router of Phi-3.5-MoE does, which is a linear layer of two results."""
    world = tiny()
    world.model.model.layers[0].mlp.down_proj.forward = lambda hidden: (hidden, hidden)
    with pytest.raises(UserError, match=r"expected layers that Qwen3ForCausalLM can compute with, got TypeE"):
        check_reached(world.model, world.compute)


def reach(world) -> None:
    """The check with one weight that is reached: a graph without any would have no gradient at all."""
    world.model.get_parameter("model.norm.weight").requires_grad_(True)
    check_reached(world.model, world.compute)
