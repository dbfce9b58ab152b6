"""Held-out metrics, the quality of a reward, and exchanges to read, with an engine of known answers."""

import torch

from dupo.config.options import RewardOptions
from dupo.duality.reconstruct import reconstruct
from dupo.engines.base import Sampling
from dupo.evaluation.held_out import held_out_metrics, reward_order
from dupo.evaluation.samples import exchanges_of, held_out_exchanges
from tests.helpers.engines import FakeEngine
from tests.helpers.options import RUN
from tests.helpers.rollouts import RIGHT, WRONG, rollout_of
from tests.helpers.worlds import solver, task_of

TASK = task_of(RUN.changed(eval_size=40))
GOLD = {problem.text: problem.gold or "" for problem in TASK.held_out}


def test_a_reward_is_judged_by_samples_at_the_training_temperature_for_held_out_problems():
    # Half of the answers are right, a quarter wrong, a quarter cannot be read.
    engine = FakeEngine(lambda prompt, k: (GOLD[prompt], GOLD[prompt], "0000", "wrong")[k])
    judged, sampling = [], Sampling(0.7, 6)

    def reward(rollout):
        judged.extend(rollout.problems)
        return torch.tensor([[1.0, 0.5, 0.5, 0.0]] * len(rollout.problems))

    order = reward_order(engine, TASK, TASK.held_out[:16], reward, 4, sampling, 9)
    # A wrong answer that can be read ties with half of the right ones; one that cannot loses to each.
    assert (order.overall.share, order.overall.pairs) == (0.875, 32 * 32)
    assert (order.readable.share, order.readable.pairs) == (0.75, 32 * 16)
    assert order.facts() == {
        "reward_auc": 0.875,
        "reward_auc_pairs": 1024,
        "readable_reward_auc": 0.75,
        "readable_reward_auc_pairs": 512,
    }
    assert [(len(call.prompts), call.n, call.sampling, call.seed) for call in engine.calls] == [
        (16, 4, sampling, 9)
    ]
    assert judged == list(TASK.held_out[:16])
    assert set(reward_order(engine, TASK, [], reward, 4, sampling, 9).facts().values()) == {None, 0}
    always_right = FakeEngine(lambda prompt, k: GOLD[prompt])
    order = reward_order(always_right, TASK, TASK.held_out[:3], reward, 4, sampling, 9)
    assert (order.overall.share, order.readable.share) == (None, None)


def test_held_out_metrics_are_of_greedy_answers():
    right = {problem.text for problem in TASK.held_out[:10]}
    engine = FakeEngine(lambda prompt, k: GOLD[prompt] if prompt in right else "0000")
    assert held_out_metrics(engine, TASK, TASK.held_out, 6) == {"accuracy": 0.25}
    assert [(call.n, call.sampling) for call in engine.calls] == [(1, Sampling(0.0, 6))]
    assert held_out_metrics(engine, TASK, [], 6) == {} and len(engine.calls) == 1


def test_held_out_exchanges_show_right_and_wrong_answers():
    engine = FakeEngine(lambda prompt, k: GOLD[prompt] if prompt == TASK.held_out[5].text else "0000")
    exchanges = held_out_exchanges(engine, solver, TASK, RewardOptions(), 6, 3)
    assert sorted(exchange.correct is True for exchange in exchanges) == [False, False, True]
    for exchange in exchanges:
        assert exchange.prompt == exchange.problem and exchange.gold == GOLD[exchange.problem]
        assert (exchange.reward == 1) == exchange.correct and exchange.advantage is None
        assert len(exchange.duals) == 2
    without_judge = held_out_exchanges(engine, None, TASK, RewardOptions(), 6, 3)
    assert all(exchange.duals == [] and exchange.reward is None for exchange in without_judge)
    assert all(exchange.score == exchange.correct for exchange in exchanges)
    row = exchanges[0].row(7, held_out=True)
    assert (row["step"], row["held_out"], "advantage" in row, "gold" in row) == (7, True, False, True)


def test_an_exchange_shows_the_first_completion_and_its_duals():
    rollout = rollout_of([WRONG, RIGHT], [None, "9710"])
    engine = FakeEngine(lambda prompt, k: "")
    duals = reconstruct(TASK, rollout.problems, rollout.answers, solver)
    first, second = exchanges_of(TASK, rollout, duals, engine, RewardOptions())
    assert (first.problem, first.answer, first.reward, first.correct) == ("a", WRONG, 0.0, None)
    assert [dual.unknown for dual in first.duals] == ["321", "654"]
    assert all(dual.distance == 1 and dual.prompt.endswith(f"{WRONG}:") for dual in first.duals)
    assert (second.answer, second.reward, second.duals) == (None, None, [])
    row = first.row(3, held_out=False)
    assert not {"gold", "score", "held_out"} & row.keys() and row["advantage"] is None
