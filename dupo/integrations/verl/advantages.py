"""Advantages of rewards that compare the answers of a group: the majority, and the share of each answer.

verl hands an estimator one number for each completion. So the score of a completion is a number that
stands for its answer (`scores.answer_score`), and the estimator makes rewards of the numbers of a group.
Then verl's own GRPO follows.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dupo.duality.votes import majority_rewards, soft_vote_rewards
from dupo.errors import UserError

LARGEST_NUMBER = 2**24 - 1  # verl holds scores in fp32
Advantage = Callable[..., tuple[Tensor, Tensor]]


def advantages() -> dict[str, Advantage]:
    """By name, what verl's registry takes."""
    return {"dupo_majority": _advantage(majority_rewards), "dupo_soft_vote": _advantage(soft_vote_rewards)}


def _advantage(rewards_of: Callable[[list[str | None]], list[float]]) -> Advantage:
    def advantage(
        token_level_rewards: Tensor, response_mask: Tensor, index: Any, config: Any = None, **_: Any
    ) -> tuple[Tensor, Tensor]:
        """Advantages and returns of GRPO.

        Args:
            token_level_rewards, response_mask: (B, T); a row sums to the number of its answer.
            index: (B,), the group of each row.

        Raises:
            UserError: the scores are no numbers of answers.
        """
        numbers = token_level_rewards.sum(-1)
        whole = numbers.round()
        # A penalty inside the reward would make another answer of every completion.
        if not (torch.equal(numbers, whole) and bool(((whole >= 0) & (whole <= LARGEST_NUMBER)).all())):
            expected = "the scores of dupo.integrations.verl.scores.answer_score, and use_kl_in_reward=False"
            raise UserError(f"rewards: expected {expected}, got {numbers[:4].tolist()}")
        answers = [str(int(number)) if number else None for number in whole.tolist()]
        rewards = torch.zeros_like(token_level_rewards)
        for group in np.unique(np.asarray(index)):
            places = np.flatnonzero(np.asarray(index) == group)
            values = rewards_of([answers[place] for place in places])
            rewards[places, -1] = torch.tensor(values, dtype=rewards.dtype, device=rewards.device)
        grpo = import_module("verl.trainer.ppo.core_algos").compute_grpo_outcome_advantage
        scales = True if config is None else config.get("norm_adv_by_std_in_grpo", True)
        return grpo(rewards, response_mask, np.asarray(index), norm_adv_by_std_in_grpo=scales)

    return advantage
