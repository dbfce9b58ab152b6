"""From answers to rewards: the rewards that `--reward` names, and their weighted sum."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from dupo.config.catalogue import REWARDS, load
from dupo.config.config import Config
from dupo.config.options import LARGEST_REWARD
from dupo.config.reward_names import is_function, is_model, short_name
from dupo.errors import UserError
from dupo.rewards.base import Reward, RewardInputs, RewardLog
from dupo.rewards.model import ModelReward
from dupo.rewards.user import user_reward


class WeightedReward(NamedTuple):
    """One reward and its weight in the sum.

    Attributes:
        name: under which the reward is logged.
    """

    name: str
    reward: Reward
    weight: float


def load_rewards(config: Config) -> list[WeightedReward]:
    """The rewards that the options name; the weights of reward models are read later.

    Raises:
        UserError: a dotted path names no function, or a folder holds no reward model.
    """
    terms = config.reward.terms
    return [WeightedReward(short_name(name), _load(name, config), weight) for name, weight in terms]


def _load(name: str, config: Config) -> Reward:
    """The reward of a name, the score of a reward model, or the function of the user at a dotted path."""
    if is_model(name):
        return ModelReward(name, config)
    if is_function(name):
        return user_reward(name, config.reward.reward_timeout)
    return load(REWARDS[name].path)


def reward_models(rewards: Iterable[WeightedReward]) -> list[ModelReward]:
    """The rewards that are scores of models."""
    return [reward for _, reward, _ in rewards if isinstance(reward, ModelReward)]


def load_models(rewards: Iterable[WeightedReward], device: torch.device) -> None:
    """Reads the weights of reward models.

    Raises:
        UserError: they cannot be read.
    """
    # Before the first rollout: broken weights must not cost an hour of sampling.
    for scorer in reward_models(rewards):
        scorer.load(device)


class Rewards(NamedTuple):
    """What all rewards say of a rollout.

    Attributes:
        total_PG: (P, G) fp32 on the CPU, the weighted sum; 0 where no reward says anything.
        values: name of a reward -> its (P, G) values, NaN where it says nothing.
        log: what functions of the user logged.
    """

    total_PG: Tensor
    values: Mapping[str, Tensor]
    log: RewardLog

    def metrics(self) -> dict[str, float]:
        """Metrics of each reward by itself.

        Returns:
            `rewards/<name>/mean` and `/std` of each reward, over the completions that it says something
            about; `rewards/<name>/<metric>`, the mean of what a function of the user logged by that name.
        """
        metrics = dict[str, float]()
        for name, values_PG in self.values.items():
            said = values_PG[~values_PG.isnan()]
            if len(said) > 1:  # one value has no standard deviation
                mean, std = said.mean().item(), said.std().item()
                metrics |= {f"rewards/{name}/mean": mean, f"rewards/{name}/std": std}
        logged = self.log.metrics.items()
        return metrics | {f"rewards/{name}": sum(values) / len(values) for name, values in logged}


def all_rewards(rewards: list[WeightedReward], inputs: RewardInputs) -> Rewards:
    """The rewards of every completion, and their weighted sum, as in TRL.

    Raises:
        UserError: the weights make a sum that is too large for float32 to square.
    """
    # A scalar zero takes the shape of the first reward.
    total_PG, values = torch.zeros(()), dict[str, Tensor]()
    for name, reward, weight in rewards:
        values[name] = reward(inputs)
        # NaN stands for no opinion, as None does in TRL.
        total_PG = total_PG + weight * values[name].nan_to_num(0.0)
    # Weights and rewards are bounded alone; their products and sums are seen here only.
    largest = total_PG.abs().max().item()
    if not largest <= LARGEST_REWARD:
        terms = ", ".join(f"{weight:g} x {name}" for name, _, weight in rewards)
        raise UserError(
            f"reward_weights: expected sums of at most {LARGEST_REWARD:g}, got {largest:g} ({terms})"
        )
    return Rewards(total_PG, values, inputs.log)


def weighted_sum(rewards: list[WeightedReward], inputs: RewardInputs) -> tuple[Tensor, dict[str, float]]:
    """rewards_PG and metrics alone, see `Rewards`, where nothing is joined or chosen.

    Raises:
        UserError: as `all_rewards`.
    """
    rewarded = all_rewards(rewards, inputs)
    return rewarded.total_PG, rewarded.metrics()
