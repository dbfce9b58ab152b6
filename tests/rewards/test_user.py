"""Reward functions of the user: what they are given, and what is said of one that is wrong."""

import pytest

from dupo.errors import UserError
from dupo.records import Problem, Rollout
from dupo.rewards import load_rewards, weighted_sum
from tests.helpers.rollouts import completion, inputs_of

SOURCE = """
def length(prompts, completions, completion_ids, **columns):
    assert prompts == ["#321+654="] * 2 + ["#005-123="] * 2 and completion_ids == [[1]] * 4
    pairs = zip(completions, columns["level"], strict=True)
    return [len(text) + int(level or 0) for text, level in pairs]

def silent(prompts, completions, completion_ids, **columns):
    return [None, 1.0, None, 2.0]

def failing(prompts, completions, completion_ids, **columns):
    raise KeyError("no such thing")

def texts(prompts, completions, completion_ids, **columns):
    return ["good"] * 4

def short(prompts, completions, completion_ids, **columns):
    return [1.0]

def infinite(prompts, completions, completion_ids, **columns):
    return [float("inf")] * 4
"""
MODULE = "own_rewards_of_a_test"


@pytest.fixture
def rollout(tmp_path, monkeypatch):
    """A module of the user in the working folder, and a rollout whose data set has a column `level`."""
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    problems = [
        Problem("a", "#321+654=", columns={"level": "10", "prompts": "not these"}),
        Problem("b", "#005-123="),
    ]
    completions = [[completion(text) for text in group] for group in (["x", "xx"], ["xxx", ""])]
    return Rollout(problems, [[1]] * 2, completions, [[None] * 2] * 2)


def summed(rollout, *options):
    inputs = inputs_of(rollout, *options, ask=None)
    return weighted_sum(load_rewards(inputs.options), inputs)


def test_a_function_of_the_user_sees_what_trl_gives_it(rollout):
    rewards, metrics = summed(rollout, "--reward", f"{MODULE}.length")
    assert rewards.tolist() == [[11, 12], [3, 0]]
    assert metrics["rewards/length/mean"] == pytest.approx(26 / 4)


def test_none_says_nothing(rollout):
    names = f"{MODULE}.length,{MODULE}.silent"
    rewards, metrics = summed(rollout, "--reward", names, "--reward_weights", "1,10")
    assert rewards.tolist() == [[11, 22], [3, 20]]
    assert metrics["rewards/silent/mean"] == 1.5  # of the completions that it says something about


def test_a_function_that_is_wrong_is_named(rollout):
    for name, words in (
        ("failing", "failed: KeyError: 'no such thing' .*own_rewards_of_a_test.py, line"),
        ("texts", "failed: ValueError: could not convert string to float"),
        ("short", "expected 4 rewards, one a completion, got 1"),
        ("infinite", "finite"),
    ):
        with pytest.raises(UserError, match=f"{MODULE}.{name}:? .*{words}"):
            summed(rollout, "--reward", f"{MODULE}.{name}")
    with pytest.raises(UserError, match="reward"):
        summed(rollout, "--reward", f"{MODULE}.absent")
