"""From answers to rewards to advantages.

The method is `dual`; the other arms are what it must be compared with, in the same loop. To add one, write a
function of `(rollout, env)` and put it into `ARMS`. Functions of the user's own come by dotted path, with the
signature of TRL's reward functions.
"""

import math
import random
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dupo.config import options
from dupo.config.options import Config, reward_terms
from dupo.duality.reconstruct import Ask, Reconstructed, dual_figures, reconstruct
from dupo.errors import UserError
from dupo.plugins import load_function
from dupo.records import Completion, Reconstruction, Rollout
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
    """rewards: (P, G) fp32 on the CPU; NaN where an arm says nothing. figures: for metrics.jsonl. found: the
    duals, where any were asked."""

    rewards: Tensor
    figures: dict[str, float]
    found: Reconstructed | None = None


Arm = Callable[[Rollout, Env], Rewarded]


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
    """1 for the most frequent readable answer of the group (TTRL, arXiv 2504.16084); a tie goes to the one
    seen first."""
    winners = [winner(votes(group)) for group in rollout.answers]
    rows = zip(winners, rollout.answers, strict=True)
    return Rewarded(
        torch.tensor([[float(a is not None and a == best) for a in group] for best, group in rows]), {}
    )


def soft_vote(rollout: Rollout, env: Env) -> Rewarded:
    """The share of the group that gave the same answer (EMPO, arXiv 2504.05812, without its entropy band)."""
    counts = [votes(group) for group in rollout.answers]
    rows = zip(counts, rollout.answers, strict=True)
    return Rewarded(
        torch.tensor(
            [[count[a] / len(group) if a is not None else 0.0 for a in group] for count, group in rows]
        ),
        {},
    )


def votes(group: Iterable[str | None]) -> Counter[str]:
    """How often each readable answer was given."""
    return Counter(a for a in group if a is not None)


def winner(counts: Counter[str]) -> str | None:
    """The most frequent one, the first of several; None without any."""
    return counts.most_common(1)[0][0] if counts else None


def self_certainty(rollout: Rollout, env: Env) -> Rewarded:
    """KL from uniform of the sampled distributions, mean over tokens (Intuitor, arXiv 2505.19590)."""
    return Rewarded(per_completion(rollout, lambda c: c.self_certainty), {})


def entropy(rollout: Rollout, env: Env) -> Rewarded:
    """Minus the entropy of the sampled distributions, mean over tokens (RENT, arXiv 2505.22660)."""
    return Rewarded(-per_completion(rollout, lambda c: c.entropy), {})


def per_completion(rollout: Rollout, figure: Callable[[Completion], float | None]) -> Tensor:
    return torch.tensor([[figure(c) for c in group] for group in rollout.completions], dtype=torch.float32)


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


def format_only(rollout: Rollout, env: Env) -> Rewarded:
    """1 for any readable answer, right or wrong."""
    return Rewarded(torch.tensor([[float(a is not None) for a in group] for group in rollout.answers]), {})


ARMS: dict[str, Arm] = {
    "dual": dual,
    "gold": gold,
    "majority": majority,
    "soft_vote": soft_vote,
    "self_certainty": self_certainty,
    "entropy": entropy,
    "random": coin,
    "shuffled": shuffled,
    "format_only": format_only,
}
assert tuple(ARMS) == options.ARMS


def own_arm(path: str) -> Arm:
    """A reward function of the user's, with TRL's signature: `f(prompts, completions, completion_ids,
    **columns) -> list[float | None]`, one entry a completion; None says nothing about it.

    `prompts`, `completions`: texts; `completion_ids`: lists of ids; `columns`: those of the data set, labels
    among them, one value a completion; numbers of a JSON file are texts ("0.10"), as they stand in it.
    """
    function = load_function("reward", path)

    def arm(rollout: Rollout, env: Env) -> Rewarded:
        pairs = [(p, c) for p, g in zip(rollout.problems, rollout.completions, strict=True) for c in g]
        given: dict[str, list[Any]] = {
            name: [p.columns.get(name) for p, _ in pairs] for p in rollout.problems for name in p.columns
        }
        given["prompts"] = [env.task.prompt(p) for p, _ in pairs]
        given["completions"] = [c.text for _, c in pairs]
        given["completion_ids"] = [c.ids for _, c in pairs]
        try:
            values = list(function(**given))
            flat = [math.nan if v is None else float(v) for v in values]
        except Exception as problem:  # anything can go wrong in a function of the user's
            last = traceback.extract_tb(problem.__traceback__)[-1]
            where = f"{last.filename}, line {last.lineno}"
            raise UserError(f"{path} failed: {type(problem).__name__}: {problem} ({where})") from problem
        if len(flat) != len(pairs):
            raise UserError(f"{path}: expected {len(pairs)} rewards, one a completion, got {len(flat)}")
        if any(map(math.isinf, flat)):
            raise UserError(f"{path}: expected finite rewards or None, got an infinite one")
        return Rewarded(torch.tensor(flat).view(len(rollout.problems), -1), {})

    return arm


def arms_of(config: Config) -> dict[str, tuple[Arm, float]]:
    """Name -> arm and weight of everything that `reward` names. Raises UserError for a path that is none."""
    terms = reward_terms(config)
    return {name: (own_arm(name) if "." in name else ARMS[name], weight) for name, weight in terms}


def weighted_sum(arms: dict[str, tuple[Arm, float]], rollout: Rollout, env: Env) -> Rewarded:
    """The reward of every completion: the sum of what the arms say of it, as in TRL; 0 where none says
    anything. Figures: those of the arms, and `rewards/<name>/mean` and `/std` of each."""
    total, figures, found = torch.zeros(()), dict[str, float](), None
    for name, (arm, weight) in arms.items():
        got = arm(rollout, env)
        said = got.rewards[~got.rewards.isnan()]
        short = name.rpartition(".")[2]
        figures |= got.figures
        if len(said) > 1:
            figures |= {
                f"rewards/{short}/mean": said.mean().item(),
                f"rewards/{short}/std": said.std().item(),
            }
        total = total + weight * got.rewards.nan_to_num(0.0)
        found = got.found if found is None else found
    return Rewarded(total, figures, found)


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
