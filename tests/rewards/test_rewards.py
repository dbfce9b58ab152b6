"""Duals, rewards and advantages, on answers written by hand."""

import math
from types import SimpleNamespace

import pytest
import torch

from dupo.config.command_line import parse
from dupo.duality.reconstruct import dual_figures, reconstruct
from dupo.errors import UserError
from dupo.evaluation.held_out import concordance, reward_auc
from dupo.records import Completion, Problem, Rollout
from dupo.rewards.base import ARMS, Env, arms_of, group_advantages, weighted_sum
from dupo.tasks.arithmetic import Arithmetic
from tests.helpers.worlds import said, solver

# 123+456=579 and 500-321=179, in the task's own writing
PROBLEMS = [Problem("a", "#321+654=", gold="9750"), Problem("b", "#005-123=", gold="9710")]
RIGHT, WRONG, OTHER = "9750", "8750", "7750"


def rollout(*groups):
    blank = Completion([1], [0.0], "", False)
    answers = [list(g) for g in groups]
    return Rollout(PROBLEMS[: len(groups)], [[1]] * len(groups), [[blank] * len(g) for g in groups], answers)


def env(ask=solver, *options, seed=0):
    config = parse([*options])
    return Env(Arithmetic(config), ask, config, seed)


def test_a_right_answer_is_recovered_and_a_wrong_one_is_not():
    found = ARMS["dual"](rollout([RIGHT, WRONG, RIGHT, None], ["9710", "0000", None, None]), env())
    assert found.rewards.tolist() == [[1, 0, 1, 0], [1, 0, 0, 0]]


def test_every_different_answer_is_asked_once():
    asked = []

    def ask(prompts):
        asked.extend(prompts)
        return solver(prompts)

    found = ARMS["dual"](rollout([RIGHT, WRONG, RIGHT, RIGHT]), env(ask))
    assert len(asked) == len(set(asked)) == 4  # two answers, two operands each
    assert found.figures["dual/prompts"] == 4
    assert found.figures["dual/cache_hit_rate"] == 0.5


def test_figures_of_duals():
    answers = [[RIGHT, WRONG, None, RIGHT]]
    replies = iter([["321"], ["654"], ["x"], ["999"]])
    found = reconstruct(
        env().task, PROBLEMS[:1], answers, lambda prompts: [[said(t) for t in next(replies)] for _ in prompts]
    )
    assert found[0][RIGHT][0].prompt == f"{PROBLEMS[0].text.replace('#321', '@?')}{RIGHT}:"
    figures = dual_figures(answers, found)
    assert figures["dual/reconstruct_rate"] == 0.5
    assert figures["dual/none_rate"] == 0.25
    assert figures["completions/none_rate"] == 0.25


def test_mean_over_duals_and_samples_and_both_shapes():
    def ask(prompts):  # of four samples: first operand three right, second none (one of them unreadable)
        return [
            [said(t) for t in ("321", "321", "321", "999")]
            if p[0].startswith("@?")
            else [said(t) for t in ("?", "000", "001", "002")]
            for p in prompts
        ]

    options = ["--dual_samples", "4", "--dual_temperature", "1"]
    linear = ARMS["dual"](rollout([RIGHT, RIGHT]), env(ask, *options)).rewards
    assert linear[0, 0].item() == pytest.approx(3 / 8)
    shaped = env(ask, *options, "--reward_shape", "exp", "--reward_lambda", "2")
    expected = (3 + 4 * math.exp(-2)) / 8  # the unreadable sample counts 0, not exp(-lambda)
    assert ARMS["dual"](rollout([RIGHT, RIGHT]), shaped).rewards[0, 0].item() == pytest.approx(expected)


def test_gold_majority_random_and_shuffled():
    mixed = rollout([RIGHT, WRONG, WRONG, None], ["9710", "0000", "1111", None])
    assert ARMS["gold"](mixed, env()).rewards.tolist() == [[1, 0, 0, 0], [1, 0, 0, 0]]
    assert ARMS["majority"](mixed, env()).rewards.tolist() == [[0, 1, 1, 0], [1, 0, 0, 0]]
    assert ARMS["majority"](rollout([None, None]), env()).rewards.tolist() == [[0, 0]]
    many = rollout([RIGHT, *[WRONG] * 3] * 50)
    honest, dealt = ARMS["dual"](many, env()).rewards, ARMS["shuffled"](many, env()).rewards
    assert sorted(honest.flatten().tolist()) == sorted(dealt.flatten().tolist())
    assert not torch.equal(honest, dealt)
    coins = ARMS["random"](rollout([RIGHT] * 1000), env()).rewards
    assert set(coins.flatten().tolist()) == {0.0, 1.0}
    assert abs(coins.mean().item() - 0.5) < 0.08
    assert torch.equal(coins, ARMS["random"](rollout([RIGHT] * 1000), env()).rewards)
    assert not torch.equal(coins, ARMS["random"](rollout([RIGHT] * 1000), env(seed=1)).rewards)


def test_soft_vote_format_and_the_figures_of_the_samples():
    mixed = rollout([RIGHT, WRONG, WRONG, None], [None, None, None, None])
    assert ARMS["soft_vote"](mixed, env()).rewards.tolist() == [[0.25, 0.5, 0.5, 0], [0, 0, 0, 0]]
    assert ARMS["format_only"](mixed, env()).rewards.tolist() == [[1, 1, 1, 0], [0, 0, 0, 0]]
    measured = [[Completion([1], [0.0], "", False, h, c) for h, c in ((0.5, 2.0), (1.5, 1.0))]]
    sampled = Rollout(PROBLEMS[:1], [[1]], measured, [[RIGHT, None]])
    assert ARMS["entropy"](sampled, env()).rewards.tolist() == [[-0.5, -1.5]]
    assert ARMS["self_certainty"](sampled, env()).rewards.tolist() == [[2.0, 1.0]]


def summed(drawn, *options, ask=solver):
    world = env(ask, *options)
    return weighted_sum(arms_of(world.config), drawn, world)


def test_rewards_add_up_with_their_weights_and_each_is_logged():
    drawn = rollout([RIGHT, WRONG, WRONG, None], ["9710", None, "9710", "9710"])
    got = summed(drawn, "--reward", "dual,majority", "--reward_weights", "1,0.5")
    assert got.rewards.tolist() == [[1, 0.5, 0.5, 0], [1.5, 0, 1.5, 1.5]]
    assert got.figures["rewards/dual/mean"] == pytest.approx(4 / 8)
    assert got.figures["rewards/majority/mean"] == pytest.approx(5 / 8)
    assert got.figures["rewards/majority/std"] == pytest.approx(
        torch.tensor([1.0] * 5 + [0.0] * 3).std().item()
    )
    assert got.found is not None and "dual/prompts" in got.figures
    assert summed(drawn, "--reward", "format-only").rewards.tolist() == [[1, 1, 1, 0], [1, 0, 1, 1]]


OWN = """
def length(prompts, completions, completion_ids, **columns):
    assert prompts == ["#321+654="] * 2 + ["#005-123="] * 2 and len(completion_ids) == 4
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


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's in the working folder, and a rollout whose data set has a column `level`."""
    (tmp_path / "own_rewards_of_a_test.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    problems = [
        Problem("a", "#321+654=", columns={"level": "10", "prompts": "not these"}),
        Problem("b", "#005-123="),
    ]
    texts = [["x", "xx"], ["xxx", ""]]
    completions = [[Completion([1], [0.0], text, False) for text in group] for group in texts]
    return Rollout(problems, [[1]] * 2, completions, [[None] * 2] * 2)


def test_a_reward_of_ones_own_sees_what_trl_gives_it(own):
    got = summed(own, "--reward", "own_rewards_of_a_test.length")
    assert got.rewards.tolist() == [[11, 12], [3, 0]]
    assert got.figures["rewards/length/mean"] == pytest.approx(26 / 4)


def test_none_says_nothing(own):
    both = (
        "--reward",
        "own_rewards_of_a_test.length,own_rewards_of_a_test.silent",
        "--reward_weights",
        "1,10",
    )
    got = summed(own, *both)
    assert got.rewards.tolist() == [[11, 22], [3, 20]]
    assert got.figures["rewards/silent/mean"] == 1.5  # of those about which it says something


def test_a_reward_of_ones_own_that_is_wrong_is_named(own):
    for name, words in (
        ("failing", "failed: KeyError: 'no such thing' .*own_rewards_of_a_test.py, line"),
        ("texts", "failed: ValueError: could not convert string to float"),
        ("short", "expected 4 rewards, one a completion, got 1"),
        ("infinite", "finite"),
    ):
        with pytest.raises(UserError, match=f"own_rewards_of_a_test.{name}:? .*{words}"):
            summed(own, "--reward", f"own_rewards_of_a_test.{name}")
    with pytest.raises(UserError, match="reward"):
        summed(own, "--reward", "own_rewards_of_a_test.absent")


def test_random_ignores_the_answers():
    first = ARMS["random"](rollout([RIGHT] * 20), env()).rewards
    assert torch.equal(first, ARMS["random"](rollout([WRONG] * 20), env()).rewards)


def test_advantages_by_group_batch_and_none():
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    plain, figures = group_advantages(rewards, "none")
    assert torch.allclose(plain, rewards - rewards.mean(-1, keepdim=True))
    assert figures["frac_reward_zero_std"] == pytest.approx(1 / 3)
    assert figures["reward"] == pytest.approx(7 / 12)
    group, _ = group_advantages(rewards, "group")
    assert group[0, 0].item() == pytest.approx(0.5 / (math.sqrt(1 / 3) + 1e-4), rel=1e-5)
    batch, _ = group_advantages(rewards, "batch")
    assert batch[2, 3].item() == pytest.approx(0.75 / (rewards.std().item() + 1e-4), rel=1e-5)
    assert all((a[1] == 0).all() for a in (plain, group, batch))


def test_equal_rewards_give_exact_zeros_whatever_their_value():
    advantages, figures = group_advantages(torch.full((3, 8), 0.1), "group")  # 0.1 is no binary fraction
    assert (advantages == 0).all()
    assert figures["frac_reward_zero_std"] == 1 and figures["reward_std"] == 0


def test_concordance_is_the_area_under_the_curve():
    assert concordance([0.9, 0.1], [1, 0]) == 1
    assert concordance([0.1, 0.9], [1, 0]) == 0
    assert concordance([0.5, 0.5], [1, 0]) == 0.5
    assert concordance([1, 1], [1, 1]) is None
    rng = torch.Generator().manual_seed(0)
    reward, quality = (
        torch.rand(60, generator=rng).round(decimals=1),
        torch.rand(60, generator=rng).round(decimals=1),
    )
    pairs = [(i, j) for i in range(60) for j in range(60) if quality[i] > quality[j]]
    wins = sum(float(reward[i] > reward[j]) + 0.5 * float(reward[i] == reward[j]) for i, j in pairs)
    assert concordance(reward.numpy(), quality.numpy()) == pytest.approx(wins / len(pairs))


def test_a_problem_without_duals_is_worth_nothing_and_breaks_nothing():
    class Blank(Arithmetic):
        def duals(self, problem):
            return [] if problem.id == "a" else super().duals(problem)

    config = parse([])
    world = Env(Blank(config), solver, config, 0)
    assert ARMS["dual"](rollout([RIGHT, WRONG], ["9710", None]), world).rewards.tolist() == [[0, 0], [1, 0]]


class Answering:
    """Stands for a sampler: half of its answers to each problem are right."""

    def __init__(self, config, problems):
        self.config, self.problems, self.asked, self.tokenizer = config, problems, [], self

    def encode(self, texts):
        return [[0]] * len(texts)

    def from_ids(self, prompts, n, temperature, seed):
        self.asked.append((len(prompts), n, temperature, seed))
        texts = [[p.gold] * (n // 2) + ["wrong"] * (n // 2) for p in self.problems[: len(prompts)]]
        return [[Completion([1], [0.0], text, False) for text in group] for group in texts]


def test_reward_auc_is_of_samples_at_the_training_temperature_for_held_out_problems():
    config = parse(["--temperature", "0.7", "--eval_size", "40"])
    task = Arithmetic(config)
    sampler, judged = Answering(config, task.held_out), []

    def arm(drawn, rewards=(1.0, 1.0, 0.0, 1.0)):
        judged.extend(drawn.problems)
        return SimpleNamespace(rewards=torch.tensor([rewards] * len(drawn.problems)))

    assert reward_auc(sampler, task, arm, 4, 16, 9) == 0.75  # each wrong answer ties or loses
    assert sampler.asked == [(16, 4, 0.7, 9)]
    assert judged == list(task.held_out[:16])
