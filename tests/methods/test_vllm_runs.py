"""DuPO with an engine whose log-probs are not those of the learner: what the loss gets, and what is told."""

from pathlib import Path

import pytest
import torch

from dupo.config.command_line import parse
from dupo.engines import weight_handover
from dupo.engines.vllm import VllmEngine
from dupo.learning.logprobs import trajectory_logprobs
from dupo.methods.dupo import DuPO
from tests.helpers.fake_vllm import FakeLLM, put_in_place
from tests.helpers.runs import loop
from tests.helpers.worlds import rows

SMALL = ["--engine", "vllm", "--num_threads", "1", "--eval_size", "2", "--generation_batch_size", "8"]
SMALL += ["--num_generations", "2", "--reward", "random", "--max_completion_length", "3"]
OFF = 0.01  # nats that this engine is off, on every token


class OtherKernels(FakeLLM):
    """Gives log-probs that are a little off, as other kernels do."""

    def _row(self, prompt: list[int], of: object, index: int) -> object:
        row = super()._row(prompt, of, index)
        for of_tokens, token in zip(row.logprobs, row.token_ids, strict=True):
            of_tokens[token].logprob -= OFF
        return row


@pytest.fixture
def config(untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put_in_place(monkeypatch, OtherKernels)
    # The comparison of weights is not under test here, and would find these.
    monkeypatch.setattr(weight_handover, "compare_with_own", lambda *arguments: 0.0)
    folders = ["--model_name_or_path", str(untrained), "--output_dir", str(tmp_path / "run")]
    return parse([*SMALL, *folders, "--max_steps", "2"])


@pytest.mark.slow
def test_the_learner_weighs_what_another_engine_sampled(config, capsys):
    loop(config)
    # This engine is further off than rounding.
    assert capsys.readouterr().err.count("not on policy") == 1
    for row in rows(Path(config.run.output_dir)):
        assert row["sampling/sampling_logp_difference/mean"] == pytest.approx(OFF, rel=0.01)
        # Of whole sequences of 1 to 3 tokens, learner over engine.
        low, high = (row[f"sampling/importance_sampling_ratio/{kind}"] for kind in ("min", "max"))
        assert 1 < low <= row["sampling/importance_sampling_ratio/mean"] <= high < 1.04
        assert row["ratio/max"] == pytest.approx(1.0, abs=1e-5)  # learner over learner


def test_old_logprobs_are_those_of_the_learner(config):
    method = DuPO(config)
    method.load()
    method.start()
    assert isinstance(method.engine, VllmEngine)
    trajectories = method.next_batch(0).trajectories
    own = trajectory_logprobs(method.model, trajectories, method.compute)
    for t, expected in zip(trajectories, own, strict=True):
        torch.testing.assert_close(t.logprobs, expected)
        torch.testing.assert_close(t.sampling_logprobs, expected - OFF, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_the_built_in_engine_is_weighed_by_nothing(config):
    method = DuPO(config.changed(engine="builtin"))
    method.load()
    method.start()
    assert all(t.sampling_logprobs is None for t in method.next_batch(0).trajectories)


def adapted(config, *options: str):
    """A method with adapters that is ready for its first step."""
    folders = ["--model_name_or_path", config.model.model_name_or_path]
    method = DuPO(parse([*SMALL, *folders, "--use_peft", "--reward", "dual,random", *options]))
    method.load()
    method.start()
    return method


@pytest.mark.parametrize("judge", ["frozen", pytest.param("ema", marks=pytest.mark.slow)])
def test_policy_and_judge_share_one_vllm_where_adapters_are_trained(config, judge: str):
    method = adapted(config, "--dual_model", judge)
    assert isinstance(method.engine, VllmEngine) and method.judge is not None
    assert isinstance(method.judge.engine, VllmEngine)
    assert method.judge.engine.instance is method.engine.instance
    assert method.judge.engine.handover.model is (method.reference if judge == "frozen" else method.ema)
    assert "gets adapters alone" in dict(method.describe())["engine"]
    for step in range(2):
        assert method.update(method.next_batch(step), step)["ratio/max"] == pytest.approx(1.0, abs=1e-5)
    calls = method.engine.instance.llm.calls
    assert calls.count("reload_weights") == 1 and calls.count("add_lora 3") == 1


@pytest.mark.slow
def test_merged_weights_are_said_and_sent(config):
    method = adapted(config, "--vllm_merge_adapters")
    assert "whole weights, adapters merged" in dict(method.describe())["engine"]
    assert isinstance(method.engine, VllmEngine) and method.judge is not None
    assert isinstance(method.judge.engine, VllmEngine)
    assert method.judge.engine.instance is not method.engine.instance
    for step in range(2):
        method.update(method.next_batch(step), step)
    calls = method.engine.instance.llm.calls
    assert calls == 2 * ["reload_weights", "reset_prefix_cache"]
