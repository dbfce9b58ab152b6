"""What following the rewards would give: over all completions, and among readable ones.

A refused completion has reward 0 and quality 0. A reward that only keeps from such completions gains quality
too, so what a reward knows of answers shows among readable ones only.

Shape letters: P problems, G completions of each.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np
import torch

from dupo.rewards.advantages import group_advantages
from dupo.trust.agreement import Judged


@dataclass(frozen=True, slots=True)
class Guidance:
    """What the rewards choose and reinforce; None where there was nothing to measure.

    Attributes:
        compared: number of completions.
        accuracy: mean quality of the completions.
        reward_accuracy: share of completions with reward and quality on the same side of 0.5.
        best_of_n: mean quality of the completions with the highest reward of their problem.
        best_of_n_problems: number of problems with a completion.
        signal: push of the policy gradient towards quality, as a share of what gold rewards would give.
        signal_problems: number of problems whose completions differ in quality; no other problem has a push.
    """

    compared: int = 0
    accuracy: float | None = None
    reward_accuracy: float | None = None
    best_of_n: float | None = None
    best_of_n_problems: int = 0
    signal: float | None = None
    signal_problems: int = 0

    def to_json(self, prefix: str = "") -> dict[str, Any]:
        """The figures as audit.json holds them, each name behind `prefix`."""
        return {f"{prefix}{name}": value for name, value in asdict(self).items()}


def guidance_of(groups: Sequence[Judged], scale_rewards: str) -> Guidance:
    """What the rewards of some problems give; a problem may have any number of completions.

    Args:
        scale_rewards: how rewards become advantages, see `group_advantages`.
    """
    judged = [group for group in groups if len(group.rewards)]
    if not judged:
        return Guidance()
    rewards = np.concatenate([group.rewards for group in judged])
    quality = np.concatenate([group.quality for group in judged])
    differing = sum(max(group.quality) > min(group.quality) for group in judged)
    return Guidance(
        compared=len(rewards),
        accuracy=float(quality.mean()),
        reward_accuracy=float(((rewards >= 0.5) == (quality >= 0.5)).mean()),
        best_of_n=fmean(_quality_of_best(group) for group in judged),
        best_of_n_problems=len(judged),
        signal=_signal(judged, scale_rewards) if differing else None,
        signal_problems=differing,
    )


def _quality_of_best(group: Judged) -> float:
    # Where several answers share the highest reward, any of them might be chosen.
    best = max(group.rewards)
    return fmean(
        quality for reward, quality in zip(group.rewards, group.quality, strict=True) if reward == best
    )


def _signal(groups: Sequence[Judged], scale_rewards: str) -> float | None:
    """The push towards quality, as a share of the push of gold rewards in the same groups."""
    rewards_PG = _filled([group.rewards for group in groups])
    quality_PG = _filled([group.quality for group in groups])
    # What gold rewards would give is the most that any reward can.
    gold_push = _push_to_quality(quality_PG, quality_PG, scale_rewards)
    return _push_to_quality(rewards_PG, quality_PG, scale_rewards) / gold_push if gold_push else None


def _filled(groups: Sequence[Sequence[float]]) -> np.ndarray:
    """(P, G) values. A completion that is missing takes the mean of its group, and so pushes nowhere."""
    width = max(map(len, groups))
    return np.array([[*group, *[fmean(group)] * (width - len(group))] for group in groups], float)


def _push_to_quality(rewards_PG: np.ndarray, quality_PG: np.ndarray, scale_rewards: str) -> float:
    """Mean over completions of advantage x (quality - mean quality of the group)."""
    advantages_PG, _ = group_advantages(torch.tensor(rewards_PG), scale_rewards)
    # Centred within the group, as advantages are: an easy problem pushes towards nothing.
    centred_PG = quality_PG - quality_PG.mean(-1, keepdims=True)
    return float((advantages_PG.numpy() * centred_PG).mean())
