"""What a policy method prepares: which labels reach it, and how long prompts and answers may be."""

import pytest

from dupo.config.options import RewardOptions
from dupo.duality.length_check import Lengths
from dupo.errors import UserError
from dupo.methods.policy import lengths_of, rollout_metrics, training_problems
from dupo.records import Problem
from dupo.tasks.arithmetic import Arithmetic
from tests.helpers.options import RUN
from tests.helpers.rollouts import RIGHT, rollout_of

TASK = Arithmetic(RUN.task, 0)
TASK.train = [Problem("a", "#321+654=", "9750", {"x": "1"}), Problem("b", "#005-123=", "9710", {"x": "2"})]


def test_labels_are_taken_off_unless_the_reward_is_gold():
    for reward in ("dual", "majority,random", "entropy"):
        problems = training_problems(TASK, RewardOptions(reward=reward))
        assert [(p.id, p.text, p.gold, p.columns) for p in problems] == [
            ("a", "#321+654=", None, {}),
            ("b", "#005-123=", None, {}),
        ]
    gold = training_problems(TASK, RewardOptions(reward="dual,gold"))
    assert [(p.gold, p.columns) for p in gold] == [("9750", {}), ("9710", {})]


def test_a_function_of_the_user_gets_the_columns():
    problems = training_problems(TASK, RewardOptions(reward="my.function"))
    assert [(p.gold, p.columns) for p in problems] == [(None, {"x": "1"}), (None, {"x": "2"})]


def test_gold_needs_every_label():
    task = Arithmetic(RUN.task, 0)
    task.train = [TASK.train[0], Problem("c", "#005-123=")]
    with pytest.raises(UserError, match=r"gold needs the answer of every training problem, c has none$"):
        training_problems(task, RewardOptions(reward="gold"))


def test_which_labels_are_read_is_said_in_words():
    assert RewardOptions().labels_read == "no label"
    assert RewardOptions(reward="gold").labels_read == "the labels of its problems"
    assert "your reward function" in RewardOptions(reward="my.function").labels_read


def test_the_lengths_of_the_options():
    config = RUN.changed(max_completion_length=7, token_budget=100)
    assert lengths_of(config) == Lengths(7, 7, 100)
    assert lengths_of(config.changed(dual_max_completion_length=9)) == Lengths(7, 9, 100)
    assert lengths_of(config.changed(reward="random")) == Lengths(7, None, 100)


def test_metrics_of_a_rollout():
    metrics = rollout_metrics(TASK, rollout_of([RIGHT, None], [None, None]))
    assert metrics == {
        "completions/refused/unreadable": 0.75,
        "completions/mean_length": 1,
        "completions/min_length": 1,
        "completions/max_length": 1,
        "completions/clipped_ratio": 0,
    }
