"""`--engine transformers`: it draws tokens and log-probs of the model, and loses no request."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dupo.engines.base import Sampling
from dupo.engines.continuous import ContinuousEngine
from dupo.errors import UserError
from dupo.models import attention
from dupo.train import main
from tests.helpers.runs import SMALL
from tests.helpers.worlds import World, rows, save_tiny, tiny

PROMPTS = [[3, 9, 4, 17], [2, 11, 5, 7, 1, 12, 3, 8, 8, 2], [6], [5, 5, 4]]


@pytest.fixture(scope="module")
def world() -> World:
    return tiny("--seed", "0")


def engine_of(world: World, rows_at_once: int = 64) -> ContinuousEngine:
    return ContinuousEngine(
        world.model, world.tokenizer, dtype="float32", max_concurrent_sequences=rows_at_once
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("temperature", "rows_at_once"),
    [(0.6, 2), (0.6, 64), (1.0, 64)],
)
def test_log_probs_are_those_of_the_distribution_that_was_drawn_from(world, temperature, rows_at_once):
    groups = engine_of(world, rows_at_once).sample(PROMPTS, 3, Sampling(temperature, 7), seed=5)
    assert [len(group) for group in groups] == [3] * len(PROMPTS)
    for prompt, group in zip(PROMPTS, groups, strict=True):
        for completion in group:
            ids = prompt + completion.ids.tolist()
            with torch.no_grad():
                logits = world.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double()
            truth = (logits[len(prompt) - 1 : -1] / temperature).log_softmax(-1)
            truth = truth.gather(-1, completion.ids.long()[:, None])[:, 0]
            torch.testing.assert_close(completion.logprobs.double(), truth, atol=1e-5, rtol=0)
            # An end token, or the limit: nothing is cut in between.
            ends = [int(token) in world.tokenizer.eos_ids for token in completion.ids]
            assert not any(ends[:-1]) and completion.truncated == (not ends[-1])
            assert ends[-1] or len(completion.ids) == 7


@pytest.mark.slow
def test_greedy_takes_the_likeliest_token(world):
    groups = engine_of(world).sample(PROMPTS, 2, Sampling(0.0, 5), seed=0)
    for prompt, (first, second) in zip(PROMPTS, groups, strict=True):
        assert torch.equal(first.ids, second.ids)
        with torch.no_grad():
            ids = torch.tensor([prompt + first.ids.tolist()])
            logits = world.model(input_ids=ids, use_cache=False).logits[0]
        assert torch.equal(logits[len(prompt) - 1 : -1].argmax(-1), first.ids)


@pytest.mark.slow
def test_the_seed_decides_and_the_generator_of_the_process_stays(world):
    engine = engine_of(world)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    draws = [engine.sample(PROMPTS, 2, Sampling(1.0, 6), seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    ids = [[c.ids.tolist() for group in groups for c in group] for groups in draws]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.slow
def test_the_model_is_as_it_was(world):
    engine_of(world).sample(PROMPTS, 1, Sampling(1.0, 3), seed=0)
    assert world.model.config._attn_implementation == attention.NAME
    assert all(weight.dtype == torch.float32 for weight in world.model.parameters())


@pytest.mark.slow
def test_a_request_that_is_lost_is_an_error(world, monkeypatch):
    engine = engine_of(world)
    whole = world.model.generate_batch

    def loses_one(*args: Any, **kwargs: Any) -> dict[str, Any]:
        return dict(list(whole(*args, **kwargs).items())[1:])

    def fails_one(*args: Any, **kwargs: Any) -> dict[str, Any]:
        outputs = whole(*args, **kwargs)
        return outputs | {next(iter(outputs)): SimpleNamespace(error="no page left")}

    for broken in (loses_one, fails_one):
        monkeypatch.setattr(world.model, "generate_batch", broken)
        with pytest.raises(RuntimeError, match=r"transformers gave 3 of 4 completions"):
            engine.sample(PROMPTS, 1, Sampling(1.0, 3), seed=0)


@pytest.mark.slow
def test_log_probs_of_other_weights_are_refused_at_the_start(world, monkeypatch):
    whole = world.model.generate_batch

    def shifted(*args: Any, **kwargs: Any) -> dict[str, Any]:
        outputs = whole(*args, **kwargs)
        for output in outputs.values():
            output.logprobs = [logprob - 0.1 for logprob in output.logprobs]
        return outputs

    monkeypatch.setattr(world.model, "generate_batch", shifted)
    with pytest.raises(UserError, match=r"engine: transformers cannot sample .* differ by 0\.1"):
        engine_of(world)


def test_a_model_with_a_softcap_is_refused(world, monkeypatch):
    monkeypatch.setattr(world.model.config, "attn_logit_softcapping", 50.0, raising=False)
    with pytest.raises(UserError, match="engine: transformers pages no softcap and no sinks, which Qwen3"):
        engine_of(world)


@pytest.mark.slow
def test_a_prompt_without_room_is_refused(world):
    with pytest.raises(UserError, match=r"a prompt of 4096 tokens and a completion of 5 need 4101 positions"):
        engine_of(world).sample([[3] * 4096], 1, Sampling(1.0, 5), seed=0)


@pytest.mark.slow
def test_logits_that_are_not_finite_are_told_as_such(world, monkeypatch):
    engine = engine_of(world)
    weight = world.model.get_input_embeddings().weight
    with torch.no_grad():
        before = weight[3].clone()
        weight[3] = float("nan")
    try:
        with pytest.raises(FloatingPointError, match="logits are not finite"):
            engine.sample(PROMPTS, 1, Sampling(1.0, 3), seed=0)
    finally:
        with torch.no_grad():
            weight[3] = before


@pytest.mark.slow
@pytest.mark.full
def test_training_samples_from_the_newest_weights(tmp_path: Path):
    untrained, run = save_tiny(tmp_path / "untrained"), tmp_path / "run"
    options = ["--engine", "transformers", "--reward", "random", "--learning_rate", "0.01"]
    options += ["--max_steps", "3", "--model_name_or_path", str(untrained), "--output_dir", str(run)]
    assert main([*SMALL, *options]) == 0
    for row in rows(run):
        # The learner computes the log-probs again: weights of before would differ at this learning rate.
        assert row["sampling/sampling_logp_difference/max"] < 1e-4
