"""The rewards that the dual reward is compared with, on answers written by hand."""

import torch

from dupo.records import Rollout
from dupo.rewards.baselines import (
    coin,
    entropy,
    format_only,
    gold,
    majority,
    self_certainty,
    shuffled,
    soft_vote,
)
from dupo.rewards.dual import dual
from tests.helpers.rollouts import PROBLEMS, RIGHT, WRONG, completion, inputs_of, rollout_of


def test_gold_and_majority():
    mixed = inputs_of(rollout_of([RIGHT, WRONG, WRONG, None], ["9710", "0000", "1111", None]), ask=None)
    assert gold(mixed).tolist() == [[1, 0, 0, 0], [1, 0, 0, 0]]
    assert majority(mixed).tolist() == [[0, 1, 1, 0], [1, 0, 0, 0]]
    assert majority(inputs_of(rollout_of([None, None]), ask=None)).tolist() == [[0, 0]]


def test_shuffled_rewards_are_the_same_values_for_other_completions():
    many = inputs_of(rollout_of([RIGHT, *[WRONG] * 3] * 50))
    honest, dealt = dual(many), shuffled(many)
    assert sorted(honest.flatten().tolist()) == sorted(dealt.flatten().tolist())
    assert not torch.equal(honest, dealt)


def test_random_rewards_are_a_fair_coin_that_the_seed_throws():
    def coins(seed=0, answer=RIGHT):
        return coin(inputs_of(rollout_of([answer] * 1000), ask=None, seed=seed))

    first = coins()
    assert set(first.flatten().tolist()) == {0.0, 1.0}
    assert abs(first.mean().item() - 0.5) < 0.08
    assert torch.equal(first, coins()) and not torch.equal(first, coins(seed=1))
    assert torch.equal(first, coins(answer=WRONG))  # the answers do not matter


def test_soft_vote_and_format():
    mixed = inputs_of(rollout_of([RIGHT, WRONG, WRONG, None], [None, None, None, None]), ask=None)
    assert soft_vote(mixed).tolist() == [[0.25, 0.5, 0.5, 0], [0, 0, 0, 0]]
    assert format_only(mixed).tolist() == [[1, 1, 1, 0], [0, 0, 0, 0]]


def test_entropy_and_self_certainty_are_those_of_the_samples():
    measured = [[completion("", h, c) for h, c in ((0.5, 2.0), (1.5, 1.0))]]
    inputs = inputs_of(Rollout(PROBLEMS[:1], [[1]], measured, [[RIGHT, None]]), ask=None)
    assert entropy(inputs).tolist() == [[-0.5, -1.5]]
    assert self_certainty(inputs).tolist() == [[2.0, 1.0]]
