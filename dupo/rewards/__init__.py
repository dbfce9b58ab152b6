"""From answers to rewards: the rewards that `--reward` names, and their weighted sum."""

from typing import NamedTuple

import torch
from torch import Tensor

from dupo.config.catalogue import REWARDS, load
from dupo.config.options import LARGEST_REWARD, RewardOptions
from dupo.errors import UserError
from dupo.rewards.base import Reward, RewardInputs
from dupo.rewards.user import user_reward


class WeightedReward(NamedTuple):
    """One reward and its weight in the sum.

    Attributes:
        name: under which the reward is logged.
    """

    name: str
    reward: Reward
    weight: float


def load_rewards(options: RewardOptions) -> list[WeightedReward]:
    """The rewards that the options name.

    Raises:
        UserError: a dotted path names no function.
    """
    return [
        WeightedReward(
            name.rpartition(".")[2], user_reward(name) if "." in name else load(REWARDS[name].path), weight
        )
        for name, weight in options.terms
    ]


def weighted_sum(rewards: list[WeightedReward], inputs: RewardInputs) -> tuple[Tensor, dict[str, float]]:
    """The reward of every completion: the weighted sum of all rewards, as in TRL.

    Returns:
        rewards_PG, (P, G) fp32 on the CPU, 0 where no reward says anything; and the metrics
        `rewards/<name>/mean` and `/std` of each reward, over the completions that it says something about;
        `rewards/<name>/<metric>`, the mean of what a function of the user logged by that name.

    Raises:
        UserError: the weights make a sum that is too large for float32 to square.
    """
    # A scalar zero takes the shape of the first reward.
    total_PG, metrics = torch.zeros(()), dict[str, float]()
    for name, reward, weight in rewards:
        values_PG = reward(inputs)
        # NaN stands for no opinion, as None does in TRL.
        said = values_PG[~values_PG.isnan()]
        if len(said) > 1:  # one value has no standard deviation
            metrics |= {f"rewards/{name}/mean": said.mean().item(), f"rewards/{name}/std": said.std().item()}
        total_PG = total_PG + weight * values_PG.nan_to_num(0.0)
    logged = inputs.log.metrics.items()
    metrics |= {f"rewards/{name}": sum(values) / len(values) for name, values in logged}
    # Weights and rewards are bounded alone; their products and sums are seen here only.
    largest = total_PG.abs().max().item()
    if not largest <= LARGEST_REWARD:
        terms = ", ".join(f"{weight:g} x {name}" for name, _, weight in rewards)
        raise UserError(
            f"reward_weights: expected sums of at most {LARGEST_REWARD:g}, got {largest:g} ({terms})"
        )
    return total_PG, metrics
