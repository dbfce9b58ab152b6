"""Several rewards become one: weights, names, metrics, and which reward needs what."""

import pytest
import torch

from dupo.config.catalogue import REWARDS, load
from dupo.config.config import Config
from dupo.config.options import RewardOptions
from dupo.rewards import load_rewards, weighted_sum
from dupo.rewards.dual import dual
from dupo.rewards.refusals import refusal_metrics
from tests.helpers.rollouts import RIGHT, WRONG, inputs_of, rollout_of


def test_rewards_add_up_with_their_weights_and_each_is_logged():
    rollout = rollout_of([RIGHT, WRONG, WRONG, None], ["9710", None, "9710", "9710"])
    inputs = inputs_of(rollout, "--reward", "dual,majority", "--reward_weights", "1,0.5")
    rewards, metrics = weighted_sum(load_rewards(Config(reward=inputs.options)), inputs)
    assert rewards.tolist() == [[1, 0.5, 0.5, 0], [1.5, 0, 1.5, 1.5]]
    assert metrics["rewards/dual/mean"] == pytest.approx(4 / 8)
    assert metrics["rewards/majority/mean"] == pytest.approx(5 / 8)
    assert metrics["rewards/majority/std"] == pytest.approx(torch.tensor([1.0] * 5 + [0.0] * 3).std().item())
    plain = inputs_of(rollout, "--reward", "format-only", ask=None)
    assert weighted_sum(load_rewards(Config(reward=plain.options)), plain)[0].tolist() == [
        [1, 1, 1, 0],
        [1, 0, 1, 1],
    ]


def test_every_reward_of_the_catalogue_is_there_and_gives_one_number_a_completion():
    assert load(REWARDS["dual"].path) is dual
    rollout = rollout_of([RIGHT, WRONG], ["9710", None])
    for name, entry in REWARDS.items():
        (term,) = load_rewards(Config(reward=RewardOptions(reward=name)))
        assert (term.name, term.weight) == (name, 1.0)
        if entry.needs != "distributions":
            rewards = term.reward(inputs_of(rollout))
            assert rewards.shape == (2, 2) and rewards.dtype == torch.float32, name


def test_what_a_reward_needs_is_known_before_it_is_loaded():
    assert RewardOptions().needs("duals") and not RewardOptions().needs("gold")
    mixed = RewardOptions(reward="majority,entropy", reward_weights="1,0.5")
    assert mixed.needs("distributions") and not mixed.needs("duals")
    assert mixed.terms == [("majority", 1.0), ("entropy", 0.5)]
    assert RewardOptions(reward="gold").needs("gold") and not RewardOptions(reward="random").needs("gold")
    assert RewardOptions(reward="a.b,dual").has_user_function and not RewardOptions().has_user_function


def test_refusals_are_counted_by_their_reason():
    rollout = rollout_of([RIGHT, None, None, None], ["9710", None, "9710", "9710"])
    metrics = refusal_metrics(inputs_of(rollout).task, rollout)
    assert metrics == {"completions/refused/unreadable": 4 / 8}
