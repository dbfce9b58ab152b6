"""Advantages: within a group, over a batch, unscaled, and exactly zero where nothing differs."""

import math

import pytest
import torch

from dupo.rewards.advantages import group_advantages


def test_advantages_by_group_batch_and_none():
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    plain, metrics = group_advantages(rewards, "none")
    assert torch.allclose(plain, rewards - rewards.mean(-1, keepdim=True))
    assert metrics["frac_reward_zero_std"] == pytest.approx(1 / 3)
    assert metrics["reward"] == pytest.approx(7 / 12)
    group, _ = group_advantages(rewards, "group")
    assert group[0, 0].item() == pytest.approx(0.5 / (math.sqrt(1 / 3) + 1e-4), rel=1e-5)
    batch, _ = group_advantages(rewards, "batch")
    assert batch[2, 3].item() == pytest.approx(0.75 / (rewards.std().item() + 1e-4), rel=1e-5)
    assert all((advantages[1] == 0).all() for advantages in (plain, group, batch))


def test_equal_rewards_give_exact_zeros_whatever_their_value():
    advantages, metrics = group_advantages(torch.full((3, 8), 0.1), "group")  # 0.1 is no binary fraction
    assert (advantages == 0).all()
    assert metrics["frac_reward_zero_std"] == 1 and metrics["reward_std"] == 0
