"""From answers to rewards to advantages.

The method is `dual`; the other arms are what it must be compared with, in the same loop. To add one, write a
function of `(rollout, env)` and put it into `ARMS`.
"""

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dupo.config import Config
from dupo.duality import Ask, Reconstructed, dual_figures, reconstruct
from dupo.records import Reconstruction, Rollout
from dupo.tasks import Task


@dataclass(frozen=True, slots=True)
class Env:
    """What an arm may use: the task, the model that answers duals, the settings, a seed of its own."""

    task: Task
    ask: Ask
    config: Config
    seed: int


@dataclass(frozen=True, slots=True)
class Rewarded:
    """rewards: (P, G) fp32 on the CPU. figures: for metrics.jsonl. found: the duals, where any were asked."""

    rewards: Tensor
    figures: dict[str, float]
    found: Reconstructed | None = None


def shape(distance: float | None, config: Config) -> float:
    """Reward of one reconstruction: 1 - d, or exp(-lambda d) (DuPO eq. 2); 0 where nothing could be read."""
    if distance is None:
        return 0.0
    return 1 - distance if config.reward_shape == "linear" else math.exp(-config.reward_lambda * distance)


def answer_reward(duals: list[Reconstruction], config: Config) -> float:
    """Mean over the duals of an answer and their samples; 0 where the problem has no dual."""
    values = [shape(d, config) for r in duals for d in r.distances]
    return sum(values) / len(values) if values else 0.0


def dual(rollout: Rollout, env: Env) -> Rewarded:
    """How well the hidden part of the question is recovered from the answer. No label is read."""
    found = reconstruct(env.task, rollout.problems, rollout.answers, env.ask)
    rewards = [
        [answer_reward(group.get(a, []), env.config) if a is not None else 0.0 for a in answers]
        for group, answers in zip(found, rollout.answers, strict=True)
    ]
    return Rewarded(torch.tensor(rewards), dual_figures(rollout.answers, found), found)


def gold(rollout: Rollout, env: Env) -> Rewarded:
    """The ceiling: the label itself."""
    rows = zip(rollout.problems, rollout.answers, strict=True)
    return Rewarded(torch.tensor([[env.task.score(p, a) for a in group] for p, group in rows]), {})


def majority(rollout: Rollout, env: Env) -> Rewarded:
    """1 for the most frequent readable answer of the group (TTRL); a tie goes to the one seen first."""
    rewards = []
    for group in rollout.answers:
        votes = Counter(a for a in group if a is not None)
        winner = votes.most_common(1)[0][0] if votes else None
        rewards.append([float(a is not None and a == winner) for a in group])
    return Rewarded(torch.tensor(rewards), {})


def coin(rollout: Rollout, env: Env) -> Rewarded:
    """A fair coin for every completion: what the loop does with no signal at all."""
    rng = random.Random(env.seed)
    return Rewarded(torch.tensor([[float(rng.random() < 0.5) for _ in g] for g in rollout.answers]), {})


def shuffled(rollout: Rollout, env: Env) -> Rewarded:
    """The dual rewards dealt out anew over the whole rollout: the same values, about other completions."""
    honest = dual(rollout, env)
    flat = honest.rewards.flatten().tolist()
    random.Random(env.seed).shuffle(flat)
    return Rewarded(torch.tensor(flat).view_as(honest.rewards), honest.figures, honest.found)


ARMS: dict[str, Callable[[Rollout, Env], Rewarded]] = {
    "dual": dual,
    "gold": gold,
    "majority": majority,
    "random": coin,
    "shuffled": shuffled,
}
ASK_DUALS = {"dual", "shuffled"}  # the arms that need a model to answer duals


def group_advantages(rewards: Tensor, scale_rewards: str) -> tuple[Tensor, dict[str, float]]:
    """GRPO's group-relative advantages.

    Args:
        rewards: (P, G), G completions of each of P problems.
        scale_rewards: divide by the standard deviation of the `group`, of the `batch`, or by none.

    Returns:
        (P, G) fp32 advantages, exactly 0 in groups whose rewards are all equal, and the figures
        `reward`, `reward_std` (mean over groups) and `frac_reward_zero_std`, TRL's names.
    """
    rewards = rewards.float()
    equal = (rewards == rewards[:, :1]).all(-1)
    centred = (rewards - rewards.mean(-1, keepdim=True)).masked_fill(equal[:, None], 0.0)
    group_std = rewards.std(-1).masked_fill(equal, 0.0)
    if scale_rewards == "group":
        centred = centred / (group_std[:, None] + 1e-4)
    elif scale_rewards == "batch":
        centred = centred / (rewards.std() + 1e-4)
    return centred, {
        "reward": rewards.mean().item(),
        "reward_std": group_std.mean().item(),
        "frac_reward_zero_std": equal.float().mean().item(),
    }
