"""Sampling: batches, caches and bookkeeping must not change what one prompt alone would give."""

import math

import pytest
import torch

from dupo.engines.base import EngineFeatures, Sampling, sample_answers
from dupo.engines.builtin import BuiltinEngine
from dupo.errors import UserError
from dupo.learning.batches import make_batch
from dupo.learning.logprobs import batch_logprobs
from dupo.models.load import end_tokens
from dupo.records import Completion, Trajectory
from tests.helpers.worlds import CPU, World, task_of, tiny

PROMPTS = ["#321+654=", "@?+654=9750:", "#1", "#001-100="]


def logits_after(world: World, prompt: list[int], completion: Completion) -> torch.Tensor:
    """(T, V) float64 logits from which the tokens of a completion were drawn, by one forward pass."""
    ids = torch.cat([torch.tensor(prompt), completion.ids])
    with torch.no_grad():
        logits = world.model(ids[None], use_cache=False).logits[0].double()
    return logits[len(prompt) - 1 : -1]


def contents(groups: list[list[Completion]]) -> list[tuple]:
    return [(c.ids.tolist(), c.logprobs.tolist(), c.text, c.truncated) for group in groups for c in group]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_kept_log_probs_are_those_of_the_sampled_ids(temperature):
    world = tiny("--temperature", str(temperature), spread=3.0)
    groups = world.engine.sample(PROMPTS, 3, Sampling(temperature, 12), seed=1)
    for prompt, group in zip(world.tokenizer.encode(PROMPTS), groups, strict=True):
        for c in group:
            logp = (logits_after(world, prompt, c) / temperature).log_softmax(-1)
            expected = logp.gather(-1, c.ids.long()[:, None])[:, 0].tolist()
            assert c.ids.dtype == torch.int32 and c.logprobs.dtype == torch.float32
            assert c.logprobs.tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_entropy_and_self_certainty_are_means_over_the_sampled_tokens(temperature):
    options = ("--reward", "entropy,self_certainty", "--temperature", str(temperature))
    world = tiny(*options, spread=3.0)
    groups = world.engine.sample(PROMPTS, 3, Sampling(temperature, 12), seed=1)
    for prompt, group in zip(world.tokenizer.encode(PROMPTS), groups, strict=True):
        for c in group:
            drawn_from = logits_after(world, prompt, c) / temperature
            p = drawn_from.softmax(-1)
            entropy = torch.distributions.Categorical(p).entropy().mean().item()
            certainty = (drawn_from.logsumexp(-1) - drawn_from.mean(-1) - math.log(p.shape[-1])).mean().item()
            assert c.entropy == pytest.approx(entropy, abs=1e-5)
            assert c.self_certainty == pytest.approx(certainty, abs=1e-5)


def test_they_cost_nothing_where_no_reward_wants_them():
    engine = tiny("--reward", "dual,majority").engine
    ((completion,),) = engine.sample(["#1"], 1, Sampling(1.0, 6), seed=1)
    assert completion.entropy is None and completion.self_certainty is None


def test_an_engine_says_what_it_can_do():
    plain, measuring = tiny().engine, tiny("--reward", "entropy").engine
    expected = EngineFeatures(logprobs=True, distributions=False, new_weights=True, exact=True)
    assert plain.features == expected
    assert measuring.features == expected._replace(distributions=True)


def test_a_masked_logit_has_no_part_in_the_entropy():
    world = tiny("--reward", "entropy,self_certainty")
    bias = torch.zeros(len(world.tokenizer))
    bias[3] = -math.inf
    world.model.lm_head.register_forward_hook(lambda module, args, logits: logits + bias)
    (group,) = world.engine.sample(["#1"], 50, Sampling(1.0, 6), seed=1)
    most = math.log(len(world.tokenizer) - 1)
    assert all(math.isfinite(c.entropy) and c.entropy <= most for c in group)
    assert all(math.isfinite(c.self_certainty) and c.self_certainty >= 0 for c in group)


def test_they_equal_the_training_pass_over_the_packed_batch():
    world = tiny(spread=3.0)
    groups = world.engine.sample(PROMPTS, 2, Sampling(1.0, 9), seed=2)
    trajectories = [
        Trajectory(prompt, c.ids, c.logprobs, 1.0)
        for prompt, group in zip(world.tokenizer.encode(PROMPTS), groups, strict=True)
        for c in group
    ]
    batch = make_batch(trajectories, CPU)
    with torch.no_grad():
        logprobs, entropy = batch_logprobs(world.model, batch, world.compute)
    assert (logprobs - batch.old_logprobs).abs().max() < 1e-5
    assert (entropy >= 0).all()


def test_greedy_equals_argmax_one_token_at_a_time():
    world = tiny(spread=3.0)
    groups = world.engine.sample(PROMPTS, 1, Sampling(0.0, 8), seed=0)
    for prompt, (completion,) in zip(world.tokenizer.encode(PROMPTS), groups, strict=True):
        ids = list(prompt)
        for _ in range(8):
            with torch.no_grad():
                ids.append(int(world.model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
            if ids[-1] in world.tokenizer.eos_ids:
                break
        assert completion.ids.tolist() == ids[len(prompt) :]


def test_a_completion_ends_with_its_end_token():
    world = tiny()  # nearly uniform over 20 tokens: end tokens come early
    (group,) = world.engine.sample(["#1"], 200, Sampling(1.0, 30), seed=3)
    end = min(world.tokenizer.eos_ids)
    assert {c.truncated for c in group} == {True, False}
    for c in group:
        ids = c.ids.tolist()
        assert len(ids) == len(c.logprobs) <= 30
        assert (ids.count(end), ids[-1] == end) == ((0, False) if c.truncated else (1, True))
        assert not c.truncated or len(ids) == 30
        assert c.text == world.tokenizer.decode([ids])[0]


def test_the_seed_alone_decides():
    engine = tiny(spread=2.0).engine
    first, again, other = (contents(engine.sample(PROMPTS, 4, Sampling(1.0, 6), seed=s)) for s in (5, 5, 6))
    assert first == again != other


def test_texts_and_their_ids_give_the_same_samples():
    world = tiny(spread=2.0)
    ids = world.tokenizer.encode(PROMPTS)
    texts, encoded = (world.engine.sample(prompts, 2, Sampling(1.0, 6), seed=5) for prompts in (PROMPTS, ids))
    assert contents(texts) == contents(encoded)


def test_sampling_follows_the_distribution():
    world = tiny("--max_concurrent_sequences", "5000", spread=2.0)
    (group,) = world.engine.sample(["#1"], 4000, Sampling(1.0, 1), seed=7)
    with torch.no_grad():
        prompt = torch.tensor(world.tokenizer.encode(["#1"]))
        expected = world.model(prompt).logits[0, -1].softmax(-1)
    counts = torch.bincount(torch.cat([c.ids for c in group]), minlength=len(world.tokenizer))
    spread = (expected * (1 - expected) / 4000).sqrt()
    assert ((counts / 4000 - expected).abs() < 5 * spread + 1e-9).all()


def test_prompts_in_small_batches_give_the_same_greedy_answers():
    world = tiny(spread=3.0)
    small = BuiltinEngine(world.model, world.tokenizer, max_concurrent_sequences=1)
    at_once, one_by_one = (e.sample(PROMPTS, 1, Sampling(0.0, 6), seed=0) for e in (world.engine, small))
    assert [c.text for (c,) in at_once] == [c.text for (c,) in one_by_one]


def test_new_weights_are_sampled_from():
    world, other = tiny(spread=3.0), tiny("--seed", "1", spread=3.0)
    before = contents(world.engine.sample(PROMPTS, 2, Sampling(1.0, 6), seed=0))
    world.engine.load_weights(other.model)
    after = contents(world.engine.sample(PROMPTS, 2, Sampling(1.0, 6), seed=0))
    assert after == contents(other.engine.sample(PROMPTS, 2, Sampling(1.0, 6), seed=0)) != before


def test_logits_that_are_not_finite_stop_the_sampling():
    engine = tiny(spread=float("nan")).engine
    with pytest.raises(FloatingPointError, match="logits"):
        engine.sample(["#1"], 1, Sampling(1.0, 6), seed=0)


def test_a_model_may_name_more_end_tokens_than_its_tokenizer():
    world = tiny()
    assert end_tokens(world.model) == world.tokenizer.eos_ids
    world.model.generation_config.eos_token_id = [1, 9]
    world.tokenizer.eos_ids |= end_tokens(world.model)
    (group,) = world.engine.sample(["#1"], 100, Sampling(1.0, 30), seed=3)
    assert {int(c.ids[-1]) for c in group if not c.truncated} == {1, 9}


def test_sampled_answers_stand_beside_their_problems():
    world = tiny(spread=2.0)
    task = task_of(world.config)
    problems = list(task.train[:3])
    rollout = sample_answers(world.engine, task, problems, 4, Sampling(1.0, 6), seed=1)
    assert rollout.problems == problems
    assert rollout.prompt_ids == world.tokenizer.encode([problem.text for problem in problems])
    alone = world.engine.sample(rollout.prompt_ids, 4, Sampling(1.0, 6), seed=1)
    assert contents(rollout.completions) == contents(alone)
    for problem, completions, answers in zip(problems, rollout.completions, rollout.answers, strict=True):
        assert answers == [task.answer(problem, completion.text) for completion in completions]


def test_a_prompt_without_room_for_its_completion_is_refused():
    engine = tiny().engine
    engine.model.config.max_position_embeddings = 12
    ids = [[3] * 8, [3] * 2]
    assert engine.max_positions == 12 and len(engine.sample(ids, 1, Sampling(1.0, 4), seed=0)) == 2
    with pytest.raises(UserError, match=r"8 tokens .* completion of 5 need 13 positions; the model has 12"):
        engine.sample(ids, 1, Sampling(1.0, 5), seed=0)
