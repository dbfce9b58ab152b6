"""DuPO by itself: what a rollout gives, with engines whose answers are known, and steps of the real model."""

import pytest
import torch
from safetensors.torch import load_file

from dupo.config.command_line import parse
from dupo.duality.judge import Judge
from dupo.engines.base import Sampling
from dupo.learning.order import EpochOrder
from dupo.methods.dupo import DuPO
from dupo.tasks.arithmetic import Arithmetic
from tests.helpers.engines import FakeEngine, FollowedEngine
from tests.helpers.learning import trajectories
from tests.helpers.runs import SMALL, loop
from tests.helpers.worlds import rows, solver, tiny

OPTIONS = ["--num_generations", "4", "--generation_batch_size", "12", "--eval_size", "10"]


def scripted(*options: str, kind: type[DuPO] = DuPO) -> DuPO:
    """DuPO with a policy that answers right at its first two samples of four, and a perfect judge."""
    method = kind(parse([*OPTIONS, *options]))
    gold = {problem.text: problem.gold or "" for problem in method.task.train}
    method.engine = FakeEngine(lambda prompt, k: gold[prompt] if k < 2 else "0" * 4)  # type: ignore[assignment]
    judge = FakeEngine(lambda prompt, k: solver([prompt])[0][0].text)
    method.judge = Judge(judge, 1, Sampling(0.0, 6)) if method.asks_duals else None
    return method


def test_a_rollout_becomes_batches_with_advantages():
    method = scripted("--train_batch_size", "6")
    batches = method.new_rollout(0)
    assert [len(batch.trajectories) for batch in batches] == [6, 6]
    advantages = [t.advantage for batch in batches for t in batch.trajectories]
    std = torch.tensor([1.0, 1.0, 0.0, 0.0]).std().item()
    assert advantages == pytest.approx([x / (std + 1e-4) for x in (0.5, 0.5, -0.5, -0.5)] * 3, rel=1e-5)
    assert len({t.problem for batch in batches for t in batch.trajectories}) == 3
    metrics = batches[0].metrics
    assert metrics == batches[1].metrics
    assert metrics["reward"] == metrics["dual/reconstruct_rate"] == metrics["rewards/dual/mean"] == 0.5
    assert metrics["dual/prompts"] == 12 and metrics["completions/mean_length"] == 5
    assert metrics["num_tokens"] == method.num_tokens == 12 * (9 + 5)
    assert method.new_rollout(0)[0].metrics["num_tokens"] == 2 * 12 * (9 + 5)


@pytest.mark.slow
def test_a_rollout_is_that_of_two_calls_where_the_policy_judges_beside_its_answers(monkeypatch):
    # Random text that can be read.
    monkeypatch.setattr(Arithmetic, "answer", lambda task, problem, text: text[:1] or None)
    batches, engines = [], []
    for follows in (False, True):
        config = parse([*OPTIONS, "--dual_model", "policy", "--dual_temperature", "1", "--num_threads", "1"])
        method = DuPO(config)
        method.load()
        method.engine.as_on_gpu = True  # type: ignore[attr-defined]
        method.engine = FollowedEngine(method.engine, follows=follows)
        method.start()
        batches.append(method.new_rollout(0))
        engines.append(method.engine)
        assert {"answers", "duals", "rewards"} <= set(method.phases.take())
    for two_calls, together in zip(*batches, strict=True):
        assert two_calls.metrics == pytest.approx(together.metrics, abs=1e-5)
        for one, other in zip(two_calls.trajectories, together.trajectories, strict=True):
            assert one.completion_ids.tolist() == other.completion_ids.tolist()
            assert (one.problem, one.advantage) == (other.problem, other.advantage)
    assert engines[0].num_followed == 0
    assert 0 < engines[1].num_followed == batches[1][0].metrics["dual/prompts"]


def test_the_start_up_table_says_where_there_is_no_evaluation():
    asked = dict(scripted("--eval_steps", "7").describe())["evaluation"]
    assert asked == "greedy answers to 10 held-out problems, every 7 steps"
    assert dict(scripted("--eval_size", "0").describe())["evaluation"] == "none: --eval_size 0"


def test_only_the_first_batch_of_a_rollout_has_exchanges():
    method = scripted("--train_batch_size", "6", "--num_exchanges_to_log", "2")
    first, second = method.new_rollout(0)
    assert second.exchanges == [] and len(first.exchanges) == 2
    for exchange in first.exchanges:
        assert (exchange.reward, exchange.correct, exchange.gold) == (1.0, None, None)
        assert exchange.advantage == first.trajectories[0].advantage and len(exchange.duals) == 2


def test_a_rollout_is_trained_on_as_often_as_the_options_say():
    batches = scripted("--train_batch_size", "6", "--num_iterations", "3").new_rollout(0)
    assert len(batches) == 6
    assert batches[0].trajectories is batches[2].trajectories is batches[4].trajectories
    assert [len(batch.exchanges) for batch in batches] == [3, 0, 0, 0, 0, 0]


def test_completions_beyond_the_trained_ones_vote_and_no_more():
    # The policy answers right twice and wrong four times: the vote goes against the first two.
    options = ["--num_generations", "6", "--num_trained_generations", "3", "--reward", "majority"]
    method = scripted(*options, "--train_batch_size", "3")
    batches = method.new_rollout(0)
    assert [len(batch.trajectories) for batch in batches] == [3, 3]
    # Of the trained completions the third alone has the answer of the four.
    std = torch.tensor([0.0, 0.0, 1.0]).std().item()
    advantages = [t.advantage for batch in batches for t in batch.trajectories]
    assert advantages == pytest.approx([x / (std + 1e-4) for x in (-1 / 3, -1 / 3, 2 / 3)] * 2, rel=1e-5)
    assert batches[0].metrics["rewards/majority/mean"] == pytest.approx(4 / 6)
    assert batches[0].metrics["num_tokens"] == 12 * (9 + 5)


def test_without_a_reward_that_needs_duals_none_are_asked():
    method = scripted("--reward", "majority")
    (batch,) = method.new_rollout(0)
    assert method.judge is None and not any(name.startswith("dual/") for name in batch.metrics)
    assert all(exchange.duals == [] for exchange in batch.exchanges)


def test_every_draw_is_its_own():
    seen = []

    class Recording(DuPO):
        def seed_for(self, purpose: str, index: int = 0) -> int:
            seen.append(super().seed_for(purpose, index))
            return seen[-1]

    method = scripted(kind=Recording)
    for _ in range(4):
        method.new_rollout(0)
    assert len(seen) == 12 and len(set(seen)) == 12
    other = scripted("--seed", "1")
    assert not {method.seed, other.seed_for("auc"), *(other.seed_for("primal", k) for k in range(4))} & set(
        seen
    )
    assert method.seed_for("auc") not in seen[:-1]


def test_one_epoch_visits_every_problem_once():
    method = scripted("--reward", "random")
    method.problems = method.problems[:24]
    method.order = EpochOrder(method.seed, 24)
    visited = [t.problem for _ in range(16) for t in method.new_rollout(0)[0].trajectories[::4]]
    assert len(set(visited[:24])) == len(set(visited[24:])) == 24
    assert visited[:24] != visited[24:48]
    assert all(problem.gold is None for problem in method.problems)


def test_the_state_brings_the_waiting_batches_back():
    method = scripted("--train_batch_size", "6", "--num_iterations", "2")
    method.pending = method.new_rollout(0)[1:]
    again = scripted("--train_batch_size", "6", "--num_iterations", "2")
    again.tell_engines = lambda: None  # type: ignore[method-assign]  # no weights were loaded
    again.load_state(method.state())
    assert (again.num_rollouts, again.num_tokens) == (method.num_rollouts, method.num_tokens)
    assert [batch.metrics for batch in again.pending] == [batch.metrics for batch in method.pending]
    for after, before in zip(again.pending, method.pending, strict=True):
        assert after.exchanges == [] and len(after.trajectories) == len(before.trajectories)
        for x, y in zip(after.trajectories, before.trajectories, strict=True):
            assert torch.equal(x.completion_ids, y.completion_ids) and torch.equal(x.logprobs, y.logprobs)
            assert (x.prompt_ids, x.advantage, x.problem) == (y.prompt_ids, y.advantage, y.problem)
    assert again.next_batch(1) is again.pending[0] is again.current_batch(0)


def test_a_batch_waits_until_its_step_is_made(untrained):
    config = parse([*SMALL, "--model_name_or_path", str(untrained), "--reward", "random"])
    method = DuPO(config)
    method.load()
    method.start()
    batch = method.next_batch(0)
    assert method.current_batch(0) is batch is method.next_batch(0)
    rows_of_world = trajectories(tiny(spread=2.0))
    broken = [t._replace(advantage=float("nan")) for t in rows_of_world]
    with pytest.raises(FloatingPointError):
        method.update(batch._replace(trajectories=broken), 0)
    assert method.current_batch(0) is batch  # a step that failed leaves its batch to the report
    metrics = method.update(batch, 0)
    assert metrics.keys() >= batch.metrics.keys() | {"loss", "grad_norm", "learning_rate"}
    assert method.current_batch(0) is None


@pytest.mark.slow
def test_the_average_model_moves(untrained, tmp_path):
    options = ["--max_steps", "3", "--dual_model", "ema", "--ema_decay", "0.5", "--reward", "random"]
    folder = ["--model_name_or_path", str(untrained), "--output_dir", str(tmp_path / "ema")]
    config = parse([*SMALL, *folder, *options])
    method = DuPO(config)
    loop(config, method)
    assert method.ema is not None and len(rows(tmp_path / "ema")) == 3
    policy = method.model.get_input_embeddings().weight
    average = method.ema.get_input_embeddings().weight
    before = load_file(untrained / "model.safetensors")["model.embed_tokens.weight"]
    assert (average - before).abs().max() > 1e-5 < (average - policy).abs().max()


@pytest.mark.slow
def test_the_reference_and_the_judge_are_the_policy_before_training(untrained):
    options = ["--model_name_or_path", str(untrained), "--beta", "0.1", *SMALL]
    method = DuPO(parse(options))
    method.load()
    method.start()
    assert method.reference is not None and method.judge is not None
    assert method.judge.engine.model is method.reference is not method.model  # type: ignore[attr-defined]
    batch = method.next_batch(0)
    assert all(t.ref_logprobs is not None for t in batch.trajectories)
    for t in batch.trajectories:
        torch.testing.assert_close(t.ref_logprobs, t.logprobs, rtol=0, atol=1e-4)
    live = DuPO(method.config.changed(dual_model="policy", beta=0.0))
    live.load()
    live.start()
    assert live.judge is not None and live.judge.engine.model is live.model  # type: ignore[attr-defined]
    assert live.reference is None and live.ema is None
