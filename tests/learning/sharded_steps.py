"""What ranks do in test_sharding.py: they share one model out, beside one process that has all of it."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from transformers import AutoModelForCausalLM, Qwen3Config

from dupo.config.lora_options import LoraOptions
from dupo.config.options import OptimizerOptions
from dupo.distributed.ranks import ALONE, Ranks
from dupo.engines.base import Sampling
from dupo.engines.ranked import RankedEngine
from dupo.learning.logprobs import Compute, trajectory_logprobs, with_reference
from dupo.learning.optimizer import make_optimizer
from dupo.learning.policy_loss import PolicyLoss
from dupo.learning.preference_loss import PreferenceLoss, Singles, answer_logprobs
from dupo.learning.step import optimizer_step
from dupo.learning.supervised import supervised_gradient, supervised_loss
from dupo.models import attention
from dupo.models.adapter import Adapter
from dupo.models.sharding import shard, unsharded_weights
from dupo.models.weights import frozen_copy
from dupo.records import Completion, Trajectory
from dupo_kernels import PolicyObjective, PreferenceObjective
from tests.helpers.worlds import tiny

STEPS, BUDGET, VOCABULARY, LONGEST = 20, 48, 61, 20
# In float32 the order of a sum is 1e-6 of a metric, which would hide a small fault.
DTYPE = torch.float64
OPTIONS = OptimizerOptions(learning_rate=1e-3, max_steps=STEPS, warmup_steps=0)
Step = Callable[[Any, torch.optim.Optimizer, int], dict[str, float]]


def model(*, tied: bool = True, lora: bool = False) -> Any:
    """A small model with random weights, the same on every rank."""
    attention.register()
    torch.manual_seed(0)
    shape = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        tie_word_embeddings=tied,
        initializer_range=0.2,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    new = AutoModelForCausalLM.from_config(shape, dtype=DTYPE, attn_implementation=attention.NAME).eval()
    if lora:
        Adapter(new, LoraOptions(use_peft=True, lora_r=4), seed=0)
        generator = torch.Generator().manual_seed(1)
        for name, weight in new.named_parameters():
            if "lora_B" in name:  # zero at the start, where the gradient of lora_A would be zero as well
                torch.nn.init.normal_(weight, std=0.1, generator=generator)
    return new


def rows(seed: int, count: int = 8, zero: tuple[int, ...] = (1, 2)) -> list[Trajectory]:
    """Ragged made-up completions; those at `zero` have no advantage."""
    generator = torch.Generator().manual_seed(seed)

    def ids(least: int) -> Tensor:
        length = int(torch.randint(least, LONGEST, (1,), generator=generator))
        return torch.randint(2, VOCABULARY, (length,), generator=generator)

    drawn = [(ids(3).tolist(), ids(1), torch.randn(1, generator=generator).item()) for _ in range(count)]
    return [
        Trajectory(prompt, answer, torch.full((len(answer),), -4.0), 0.0 if i in zero else advantage)
        for i, (prompt, answer, advantage) in enumerate(drawn)
    ]


def policy_step(objective: PolicyObjective, ranks: Ranks, steps: list[list[Trajectory]]) -> Step:
    """A step of the policy loss on the batch of its number."""
    loss = PolicyLoss(objective, Compute(1.0, "float32", BUDGET, ranks=ranks), LONGEST)

    def step(model: Any, optimizer: torch.optim.Optimizer, number: int) -> dict[str, float]:
        return optimizer_step(
            model,
            optimizer,
            lambda model: loss.accumulate_gradient(model, steps[number]),
            OPTIONS,
            number,
            0,
            dropout=False,
        )

    return step


def supervised_step(ranks: Ranks, steps: list[list[Trajectory]]) -> Step:
    """A step of the supervised loss on the batch of its number."""
    compute = Compute(1.0, "float32", BUDGET, ranks=ranks)

    def step(model: Any, optimizer: torch.optim.Optimizer, number: int) -> dict[str, float]:
        return optimizer_step(
            model,
            optimizer,
            lambda model: supervised_gradient(model, steps[number], compute),
            OPTIONS,
            number,
            0,
            dropout=False,
        )

    return step


def preference_step(ranks: Ranks, steps: list[list[Trajectory]]) -> Step:
    """A step of DPO with the NLL of the chosen answer, on the batch of its number cut into pairs."""
    objective = PreferenceObjective(loss_type=("sigmoid", "sft"), loss_weights=(1.0, 0.5))
    loss = PreferenceLoss(objective, Compute(1.0, "float32", 2 * BUDGET, ranks=ranks))

    def step(model: Any, optimizer: torch.optim.Optimizer, number: int) -> dict[str, float]:
        pairs = list(zip(steps[number][::2], steps[number][1::2], strict=True))
        references = -4.0 * torch.tensor([[len(t.completion_ids) for t in pair] for pair in pairs]).double()
        learn = partial(loss.accumulate_gradient, groups=pairs, references=references)
        return optimizer_step(model, optimizer, learn, OPTIONS, number, 0, dropout=False)

    return step


def label_step(ranks: Ranks, steps: list[list[Trajectory]]) -> Step:
    """A step of KTO, with labels in turn and the batch turned by one as the answers to other prompts."""
    compute = Compute(1.0, "float32", BUDGET, ranks=ranks)
    loss = PreferenceLoss(PreferenceObjective(loss_type="kto"), compute)

    def step(model: Any, optimizer: torch.optim.Optimizer, number: int) -> dict[str, float]:
        groups = [(t,) for t in steps[number]]
        references = -4.0 * torch.tensor([[len(t.completion_ids)] for (t,) in groups]).double()
        desirable = torch.arange(len(groups)) % 2 == 0

        def learn(model: Any) -> tuple[torch.Tensor, dict[str, float]]:
            others = [
                (t._replace(completion_ids=o.completion_ids, logprobs=o.logprobs),)
                for (t,), (o,) in zip(groups, groups[-1:] + groups[:-1], strict=True)
            ]
            kl = answer_logprobs(model, others, compute).mean().abs() / 10
            return loss.accumulate_gradient(model, groups, references, Singles(desirable, kl))

        return optimizer_step(model, optimizer, learn, OPTIONS, number, 0, dropout=False)

    return step


def train(model: Any, step: Step) -> list[dict[str, float]]:
    """The metrics of all steps."""
    optimizer = make_optimizer(model, OPTIONS)
    return [step(model, optimizer, number) for number in range(STEPS)]


def compare(ranks: Ranks, per_node: int | None, make: Callable[[Ranks], Step], **kind: bool) -> None:
    """Trains one model alone, and one shared out; metrics and weights have to agree."""
    whole, parts = model(**kind), model(**kind)
    shard(parts, ranks, ranks_per_node=per_node)
    # On the first rank alone, for which the others wait.
    expected = train(whole, make(ALONE)) if ranks.is_first else []
    metrics = train(parts, make(ranks))
    gathered = dict(unsharded_weights(parts))
    if not ranks.is_first:
        return
    for one, other in zip(expected, metrics, strict=True):
        assert one.keys() == other.keys(), (one, other)
        for name, value in one.items():
            # Losses and entropies of passes are added up in float32.
            assert abs(value - other[name]) <= 2e-7 * max(1, abs(value)), (name, value, other[name])
    for name, weight in whole.named_parameters():
        worst = ((weight - gathered[name]).norm() / weight.norm()).item()
        assert worst <= 1e-12, (name, worst)


def with_references(steps: list[list[Trajectory]]) -> list[list[Trajectory]]:
    """The same with the log-probs of another model as those of the reference."""
    reference = frozen_copy(model())
    with torch.no_grad():
        reference.get_input_embeddings().weight.mul_(0.7)
    return [with_reference(reference, step, Compute(1.0, "float32", 10_000)) for step in steps]


def losses(ranks: Ranks, per_node: int | None) -> None:
    """Every way of a step, twenty times."""
    fresh = [rows(100 + step) for step in range(STEPS)]
    again = [rows(200 + step // 2) for step in range(STEPS)]  # num_iterations 2
    # No rank, one rank, or all of them have something to do.
    uneven = [rows(300 + step, count=step % 5 * 4, zero=(0,) * (step % 2)) for step in range(STEPS)]
    uneven[3] = [row._replace(advantage=0.0) for row in rows(1)]
    masked = [[t._replace(masked=i % 3 == 0) for i, t in enumerate(step)] for step in fresh]
    gspo = PolicyObjective("grpo", importance_sampling_level="sequence")
    mixes: list[tuple[PolicyObjective, list[list[Trajectory]], dict[str, bool]]] = [
        (PolicyObjective("dapo"), fresh, {}),
        (PolicyObjective("grpo", beta=0.1, entropy_coef=0.02), with_references(masked), {"tied": False}),
        (gspo, again, {}),
        (PolicyObjective("dapo"), again, {"lora": True}),
        (PolicyObjective("dapo"), uneven, {}),
    ]
    for objective, steps, kind in mixes:
        compare(ranks, per_node, lambda who: policy_step(objective, who, steps), **kind)  # noqa: B023
    compare(ranks, per_node, lambda who: supervised_step(who, fresh))
    # One pair is for one rank alone.
    pairs = [rows(500 + step, count=2 if step % 5 == 0 else 10) for step in range(STEPS)]
    compare(ranks, per_node, lambda who: preference_step(who, pairs))
    compare(ranks, per_node, lambda who: label_step(who, pairs))


def hybrid(ranks: Ranks, per_node: int | None) -> None:
    """Shards within a node, repeated over nodes."""
    fresh = [rows(400 + step, count=13) for step in range(STEPS)]
    compare(ranks, per_node, lambda who: policy_step(PolicyObjective("dapo"), who, fresh))


def passes(ranks: Ranks, per_node: int | None) -> None:
    """Log-probs and the held-out loss, as one process gives them."""
    whole, parts, some = model(), model(), rows(5)
    shard(parts, ranks, ranks_per_node=per_node)
    alone, shared = (Compute(1.0, "float32", BUDGET, ranks=who) for who in (ALONE, ranks))
    for one, other in zip(
        trajectory_logprobs(whole, some, alone), trajectory_logprobs(parts, some, shared), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
    assert abs(supervised_loss(whole, some, alone) - supervised_loss(parts, some, shared)) < 1e-6


def sampling(ranks: Ranks, per_node: int | None) -> None:
    """The completions of one process, whichever rank draws them; new weights arrive; a fault ends all."""
    world = tiny("--learning_rate", "1e-3", spread=2.0)
    prompts = ["#321+654=", "#1", "#001-100=", "#321+654=", "#9-9=", "#321+654="]
    engine = RankedEngine(world.engine, ranks, world.model)
    policy = frozen_copy(world.model).requires_grad_(True)
    shard(policy, ranks, ranks_per_node=per_node)

    def check(expected: list[list[Completion]]) -> None:
        for group, alone in zip(engine.sample(prompts, 3, Sampling(1.0, 6), seed=4), expected, strict=True):
            for one, other in zip(group, alone, strict=True):
                assert torch.equal(one.ids, other.ids)
                torch.testing.assert_close(one.logprobs, other.logprobs, rtol=1e-5, atol=1e-5)

    check(world.engine.sample(prompts, 3, Sampling(1.0, 6), seed=4))
    with torch.no_grad():
        for weight in policy.parameters():
            weight.mul_(1.3)
    changed = tiny("--learning_rate", "1e-3", spread=2.0)
    with torch.no_grad():
        for weight in changed.model.parameters():
            weight.mul_(1.3)
    engine.load_weights(policy)
    check(changed.engine.sample(prompts, 3, Sampling(1.0, 6), seed=4))

    def fail_on_the_last() -> None:
        if ranks.rank == ranks.size - 1:
            raise ValueError("no more")

    try:
        ranks.together(fail_on_the_last)
    except ValueError as problem:
        assert problem.__notes__ == [f"raised on rank {ranks.size - 1} of {ranks.size}"]
    else:
        raise AssertionError("nothing was raised")


CASES = {"losses": losses, "hybrid": hybrid, "passes": passes, "sampling": sampling}


def program(cases: list[str], per_node: int | None) -> int:
    """The life of a rank: the exit code."""
    warnings.simplefilter("error")
    dist.init_process_group("gloo")
    ranks = Ranks(dist.get_rank(), dist.get_world_size())
    for case in cases:
        CASES[case](ranks, per_node)
    dist.destroy_process_group()
    return 0
