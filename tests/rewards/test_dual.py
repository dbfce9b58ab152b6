"""The reward of DuPO, on answers written by hand."""

import math

import pytest

from dupo.config.options import RewardOptions
from dupo.rewards.dual import answer_reward, dual, sample_reward
from dupo.tasks.arithmetic import Arithmetic
from tests.helpers.options import RUN
from tests.helpers.rollouts import RIGHT, WRONG, inputs_of, rollout_of
from tests.helpers.worlds import said


def test_a_right_answer_is_recovered_and_a_wrong_one_is_not():
    rewards = dual(inputs_of(rollout_of([RIGHT, WRONG, RIGHT, None], ["9710", "0000", None, None])))
    assert rewards.tolist() == [[1, 0, 1, 0], [1, 0, 0, 0]]


def test_mean_over_duals_and_samples_and_both_shapes():
    def ask(prompts):  # of four samples: first operand three right, second none (one of them unreadable)
        return [
            [said(t) for t in ("321", "321", "321", "999")]
            if p[0].startswith("@?")
            else [said(t) for t in ("?", "000", "001", "002")]
            for p in prompts
        ]

    linear = dual(inputs_of(rollout_of([RIGHT, RIGHT]), ask=ask))
    assert linear[0, 0].item() == pytest.approx(3 / 8)
    shaped = inputs_of(rollout_of([RIGHT, RIGHT]), "--reward_shape", "exp", "--reward_lambda", "2", ask=ask)
    expected = (3 + 4 * math.exp(-2)) / 8  # the unreadable sample counts 0, not exp(-lambda)
    assert dual(shaped)[0, 0].item() == pytest.approx(expected)


def test_a_problem_without_duals_is_worth_nothing_and_breaks_nothing():
    class Blank(Arithmetic):
        def duals(self, problem):
            return [] if problem.id == "a" else super().duals(problem)

    inputs = inputs_of(rollout_of([RIGHT, WRONG], ["9710", None]), task=Blank(RUN.task, 0))
    assert dual(inputs).tolist() == [[0, 0], [1, 0]]


def test_the_reward_of_one_sample():
    linear, exponential = RewardOptions(), RewardOptions(reward_shape="exp", reward_lambda=2.0)
    assert [sample_reward(d, linear) for d in (0.0, 0.25, 1.0, None)] == [1, 0.75, 0, 0]
    assert sample_reward(0.25, exponential) == pytest.approx(math.exp(-0.5))
    assert sample_reward(None, exponential) == 0
    assert answer_reward([], linear) == 0
