"""Dynamic sampling: which groups are replaced, by which problems, and that a resumed method goes on alike."""

from pathlib import Path
from typing import Any

import pytest
import torch

from dupo.config.command_line import parse
from dupo.learning.order import EpochOrder
from dupo.methods.dupo import DuPO
from dupo.methods.dynamic_sampling import refill_size
from dupo.records import StepBatch
from tests.helpers.engines import FakeEngine
from tests.helpers.project import RunPython
from tests.helpers.runs import SMALL, killed, resume, same_files, start
from tests.helpers.worlds import rows

OPTIONS = ["--num_generations", "4", "--generation_batch_size", "12", "--eval_size", "10", "--reward", "gold"]


def differs(prompt: str) -> bool:
    """Whether the policy of these tests answers a problem now right, now wrong: of about a third."""
    return sum(map(ord, prompt)) % 3 == 0


def scripted(*options: str, spreads: Any = differs) -> DuPO:
    """Right answers to all samples of a problem, or to one of four."""
    method = DuPO(parse([*OPTIONS, *options]))
    gold = {problem.text: problem.gold or "" for problem in method.task.train}
    reply = lambda prompt, k: "0" * 4 if spreads(prompt) and k else gold[prompt]  # noqa: E731
    method.engine = FakeEngine(reply)  # type: ignore[assignment]
    return method


def order_of(method: DuPO, count: int) -> list[Any]:
    """The first problems of the endless order."""
    return EpochOrder(method.seed, len(method.problems)).take(method.problems, 0, count)


def trained(batches: list[StepBatch]) -> list[str]:
    """The problems that are trained on, one for each group."""
    return [t.problem for batch in batches for t in batch.trajectories][::4]


def metrics_of(batches: list[StepBatch]) -> dict[str, float]:
    """The metrics of dynamic sampling by their short names."""
    named = batches[0].metrics.items()
    return {name.split("/")[1]: value for name, value in named if name.startswith("dynamic_sampling/")}


def test_groups_without_spread_are_replaced_by_the_next_that_have_some() -> None:
    method = scripted("--dynamic_sampling")
    first, second = method.new_rollout(0), method.new_rollout(1)
    asked = order_of(method, method.num_asked)
    for batches, start_place, end_place in (
        (first, 0, int(metrics_of(first)["drawn_groups"])),
        (second, int(metrics_of(first)["drawn_groups"]), method.num_asked),
    ):
        candidates = [p.id for p in asked[start_place:end_place] if differs(p.text)]
        assert len(candidates) >= 3 and trained(batches) == candidates[:3]
        assert all(t.advantage for batch in batches for t in batch.trajectories)
        assert metrics_of(batches)["kept_groups"] == 3 and metrics_of(batches)["limit_reached"] == 0
    # Problems are asked one after another in their order, none twice, each rollout with seeds of its own.
    calls = method.engine.calls  # type: ignore[attr-defined]
    prompts = [method.engine.tokenizer.decode([ids])[0] for call in calls for ids in call.prompts]
    assert prompts == [p.text for p in asked] and len({call.seed for call in calls}) == len(calls)
    assert len(calls) == metrics_of(first)["gen_batches"] + metrics_of(second)["gen_batches"]
    assert method.num_rollouts == len(calls)


def test_metrics_are_those_of_all_that_was_sampled() -> None:
    method = scripted("--dynamic_sampling")
    batches = method.new_rollout(0)
    asked = order_of(method, method.num_asked)
    means = [0.25 if differs(p.text) else 1.0 for p in asked]
    assert batches[0].metrics["reward"] == pytest.approx(sum(means) / len(means))
    assert batches[0].metrics["rewards/gold/mean"] == pytest.approx(sum(means) / len(means))
    share = sum(not differs(p.text) for p in asked) / len(asked)
    assert batches[0].metrics["frac_reward_zero_std"] == pytest.approx(share)
    assert batches[0].metrics["num_tokens"] == method.num_tokens == 4 * len(asked) * (9 + 5)


def test_exchanges_are_those_of_groups_that_are_trained_on() -> None:
    batches = scripted("--dynamic_sampling", "--num_exchanges_to_log", "3").new_rollout(0)
    assert [exchange.problem for exchange in batches[0].exchanges] == trained(batches)
    # The first completion is the right one of four.
    assert [exchange.reward for exchange in batches[0].exchanges] == [1.0] * 3
    assert [e.advantage for e in batches[0].exchanges] == [t.advantage for t in batches[0].trajectories[::4]]


def test_at_the_limit_the_step_goes_on_with_what_there_is() -> None:
    # One problem alone differs, the fifth of the order, so groups without spread fill the rollout up.
    fifth = order_of(scripted(), 5)[4].text
    method = scripted("--dynamic_sampling", "--max_num_gen_batches", "3", spreads=lambda p: p == fifth)
    batches = method.new_rollout(0)
    asked = order_of(method, method.num_asked)
    assert trained(batches) == [asked[4].id, asked[0].id, asked[1].id]
    assert metrics_of(batches) == {
        "gen_batches": 3, "drawn_groups": 9, "kept_groups": 1, "limit_reached": 1,
    }  # fmt: skip
    assert sum(bool(t.advantage) for t in batches[0].trajectories) == 4


def test_where_nothing_has_spread_the_rollout_is_the_one_without_dynamic_sampling() -> None:
    def same(prompt: str) -> bool:
        return False

    batches = scripted("--dynamic_sampling", "--max_num_gen_batches", "2", spreads=same).new_rollout(0)
    (plain,) = scripted(spreads=same).new_rollout(0)
    assert metrics_of(batches) == {
        "gen_batches": 2, "drawn_groups": 6, "kept_groups": 0, "limit_reached": 1,
    }  # fmt: skip
    assert trained(batches) == trained([plain])
    assert [t.advantage for t in batches[0].trajectories] == [0.0] * 12
    assert plain.metrics["frac_reward_zero_std"] == batches[0].metrics["frac_reward_zero_std"] == 1


def test_without_the_option_nothing_is_replaced_and_no_metric_tells_of_it() -> None:
    method = scripted()
    batches = method.new_rollout(0)
    assert trained(batches) == [p.id for p in order_of(method, 3)] and not metrics_of(batches)
    assert (method.num_rollouts, method.num_asked) == (1, 3)


def test_votes_beyond_the_trained_completions_make_no_spread() -> None:
    # The fourth completion alone is wrong, and the first two are trained on: no group can teach.
    options = ["--dynamic_sampling", "--num_trained_generations", "2", "--max_num_gen_batches", "2"]
    method = scripted(*options)
    gold = {problem.text: problem.gold or "" for problem in method.task.train}
    method.engine = FakeEngine(lambda p, k: "0" * 4 if k == 3 else gold[p])  # type: ignore[assignment]
    assert metrics_of(method.new_rollout(0))["kept_groups"] == 0


def test_a_method_that_is_stopped_and_goes_on_draws_the_same() -> None:
    whole, first, second = (scripted("--dynamic_sampling") for _ in range(3))
    expected = [whole.new_rollout(step) for step in range(3)]
    first.new_rollout(0)
    second.tell_engines = lambda: None  # type: ignore[method-assign]  # no weights were loaded
    second.load_state(first.state())
    for step in (1, 2):
        (batch,), (same,) = second.new_rollout(step), expected[step]
        assert batch.metrics == same.metrics and batch.exchanges == same.exchanges
        for x, y in zip(batch.trajectories, same.trajectories, strict=True):
            assert (x.problem, x.advantage, x.prompt_ids) == (y.problem, y.advantage, y.prompt_ids)
            assert torch.equal(x.completion_ids, y.completion_ids)
    assert second.state() == whole.state()


def test_a_batch_is_as_large_as_the_spread_so_far_lets_hope() -> None:
    # (groups with spread, groups asked, groups wanted) -> problems to ask
    assert refill_size(0, 8, 8) == 8  # nothing is known: as many again
    assert refill_size(8, 8, 8) == refill_size(9, 16, 8) == 0
    assert refill_size(4, 8, 8) == 8  # half of them have spread, four are missing
    assert refill_size(7, 8, 8) == 2  # 8 / 7 problems, rounded up
    assert refill_size(1, 8, 8) == 8  # 56 would be more than a rollout


def test_logged_columns_follow_their_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "logging_rewards.py").write_text(
        "def seen(completions, prompts, log_extra, log_metric, **kwargs):\n"
        "    log_extra('prompt', prompts)\n"
        "    log_metric('count', len(completions))\n"
        "    return [0.0] * len(completions)\n"
    )
    monkeypatch.chdir(tmp_path)
    options = ["--dynamic_sampling", "--reward", "gold,logging_rewards.seen"]
    method = scripted(*options, "--num_exchanges_to_log", "3")
    (batch,) = method.new_rollout(0)
    assert [e.logged["seen/prompt"] for e in batch.exchanges] == [e.prompt for e in batch.exchanges]
    sizes = [len(call.prompts) * 4 for call in method.engine.calls]  # type: ignore[attr-defined]
    assert len(sizes) > 1 and batch.metrics["rewards/seen/count"] == sum(sizes) / len(sizes)


@pytest.mark.slow
@pytest.mark.full
def test_a_killed_run_goes_on_to_the_same_bytes(
    untrained: Path, tmp_path: Path, run_python: RunPython
) -> None:
    options = ["--reward", "gold", "--max_steps", "8", "--dynamic_sampling", "--max_num_gen_batches", "3"]
    whole = start(untrained, tmp_path / "whole", *options)
    folder = ["--model_name_or_path", str(untrained)]
    cut = killed(run_python, tmp_path / "cut", *SMALL, *folder, *options)
    assert resume(cut) == 0
    same_files(whole, cut, "metrics.jsonl", "samples.jsonl")
    assert any(row["dynamic_sampling/gen_batches"] > 1 for row in rows(whole))
