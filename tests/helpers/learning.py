"""Sampled trajectories with made-up advantages, and one step on them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dupo.engines.base import Sampling
from dupo.learning.logprobs import with_reference
from dupo.learning.optimizer import make_optimizer
from dupo.learning.policy_loss import PolicyLoss, objective_of
from dupo.learning.step import optimizer_step
from dupo.records import Trajectory
from tests.helpers.worlds import World, tiny

PROMPTS = ["#321+654=", "@?+654=9750:", "#1", "#001-100="]
NO_UPDATE = ("--learning_rate", "0", "--max_grad_norm", "1e9")
MakeTrajectories = Callable[[World], list[Trajectory]]


def trajectories(world: World, zero_first: bool = False) -> list[Trajectory]:
    """Eight sampled completions of different lengths with made-up advantages."""
    groups = world.engine.sample(PROMPTS, 2, Sampling(1.0, 7), seed=1)
    rows = zip(world.tokenizer.encode(PROMPTS), groups, strict=True)
    flat = [Trajectory(prompt, c.ids, c.logprobs, 0.0) for prompt, group in rows for c in group]
    return [
        t._replace(advantage=0.0 if zero_first and i < 2 else (-1) ** i * (1 + i / 3))
        for i, t in enumerate(flat)
    ]


def loss_of(world: World) -> PolicyLoss:
    """The policy loss that the options of a world ask for."""
    config = world.config
    return PolicyLoss(objective_of(config.loss), world.compute, config.rollout.max_completion_length)


def step_on(
    world: World,
    batch: list[Trajectory],
    step: int = 0,
    optimizer: torch.optim.Optimizer | None = None,
) -> dict[str, float]:
    """One optimizer step of the policy loss; a new optimizer unless one is handed in."""
    loss, options = loss_of(world), world.config.optimizer
    optimizer = optimizer or make_optimizer(world.model, options)

    def accumulate(model: Any) -> tuple[Tensor, dict[str, float]]:
        return loss.accumulate_gradient(model, batch)

    seed = world.config.run.seed
    return optimizer_step(world.model, optimizer, accumulate, options, step, seed, dropout=False)


def gradients(
    make: MakeTrajectories, *options: str, old_shift: float = 0.0, **replaced: Any
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Metrics and gradients of one step whose learning rate is 0."""
    world = tiny(*NO_UPDATE, *options, spread=2.0)
    batch = make(world)
    if world.config.loss.beta:
        batch = with_reference(tiny("--seed", "5", spread=2.0).model, batch, world.compute)
    batch = [t._replace(logprobs=t.logprobs + old_shift, **replaced) for t in batch]
    metrics = step_on(world, batch)
    return metrics, {n: p.grad.clone() for n, p in world.model.named_parameters() if p.grad is not None}
