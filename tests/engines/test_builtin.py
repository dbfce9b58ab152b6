"""Sampling: batches, caches and bookkeeping must not change what one prompt alone would give."""

import math

import pytest
import torch

from dupo.engines.builtin import Sampler
from dupo.learning import batches
from dupo.learning import step as learner
from dupo.models import load as policy
from dupo.records import Trajectory
from tests.helpers.worlds import tiny

PROMPTS = ["#321+654=", "@?+654=9750:", "#1", "#001-100="]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_kept_log_probs_are_those_of_the_sampled_ids(temperature):
    model, tokenizer, config = tiny("--temperature", str(temperature), spread=3.0)
    sampler = Sampler(model, tokenizer, config)
    completions = sampler(PROMPTS, 3, temperature, seed=1, max_new_tokens=12)
    for prompt, group in zip(tokenizer.encode(PROMPTS), completions, strict=True):
        for c in group:
            with torch.no_grad():
                logits = model(torch.tensor([prompt + c.ids]), use_cache=False).logits[0].double()
            logp = (logits / temperature).log_softmax(-1)
            expected = [logp[len(prompt) - 1 + i, t].item() for i, t in enumerate(c.ids)]
            assert c.logprobs == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_entropy_and_self_certainty_are_means_over_the_sampled_tokens(temperature):
    options = ("--reward", "entropy,self_certainty", "--temperature", str(temperature))
    model, tokenizer, config = tiny(*options, spread=3.0)
    completions = Sampler(model, tokenizer, config)(PROMPTS, 3, temperature, seed=1, max_new_tokens=12)
    for prompt, group in zip(tokenizer.encode(PROMPTS), completions, strict=True):
        for c in group:
            with torch.no_grad():
                logits = model(torch.tensor([prompt + c.ids]), use_cache=False).logits[0].double()
            drawn_from = (logits / temperature)[len(prompt) - 1 : -1]
            p = drawn_from.softmax(-1)
            entropy = torch.distributions.Categorical(p).entropy().mean().item()
            certainty = (drawn_from.logsumexp(-1) - drawn_from.mean(-1) - math.log(p.shape[-1])).mean().item()
            assert c.entropy == pytest.approx(entropy, abs=1e-5)
            assert c.self_certainty == pytest.approx(certainty, abs=1e-5)


def test_they_cost_nothing_where_no_reward_wants_them():
    model, tokenizer, config = tiny("--reward", "dual,majority")
    ((completion,),) = Sampler(model, tokenizer, config)(["#1"], 1, 1.0, seed=1)
    assert completion.entropy is None and completion.self_certainty is None


def test_a_masked_logit_has_no_part_in_the_entropy():
    model, tokenizer, config = tiny("--reward", "entropy,self_certainty")
    bias = torch.zeros(len(tokenizer))
    bias[3] = -math.inf
    model.lm_head.register_forward_hook(lambda module, args, logits: logits + bias)
    (group,) = Sampler(model, tokenizer, config)(["#1"], 50, 1.0, seed=1)
    assert all(math.isfinite(c.entropy) and c.entropy <= math.log(len(tokenizer) - 1) for c in group)
    assert all(math.isfinite(c.self_certainty) and c.self_certainty >= 0 for c in group)


def test_they_equal_the_training_pass_over_the_packed_batch():
    model, tokenizer, config = tiny(spread=3.0)
    completions = Sampler(model, tokenizer, config)(PROMPTS, 2, 1.0, seed=2, max_new_tokens=9)
    rows = [
        Trajectory(prompt, c.ids, c.logprobs, 1.0)
        for prompt, group in zip(tokenizer.encode(PROMPTS), completions, strict=True)
        for c in group
    ]
    batch = batches.make_batch(rows, model.device)
    with torch.no_grad():
        logprobs, entropy = learner.batch_logprobs(model, batch, config)
    assert (logprobs - batch.old_logprobs).abs().max() < 1e-5
    assert (entropy >= 0).all()


def test_greedy_equals_argmax_one_token_at_a_time():
    model, tokenizer, config = tiny(spread=3.0)
    found = Sampler(model, tokenizer, config)(PROMPTS, 1, 0.0, seed=0, max_new_tokens=8)
    for prompt, (completion,) in zip(tokenizer.encode(PROMPTS), found, strict=True):
        ids = list(prompt)
        for _ in range(8):
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
            if ids[-1] in tokenizer.eos_ids:
                break
        assert completion.ids == ids[len(prompt) :]


def test_a_completion_ends_with_its_end_token():
    model, tokenizer, config = tiny()  # nearly uniform over 20 tokens: end tokens come early
    (group,) = Sampler(model, tokenizer, config)(["#1"], 200, 1.0, seed=3, max_new_tokens=30)
    end = min(tokenizer.eos_ids)
    assert {c.truncated for c in group} == {True, False}
    for c in group:
        assert len(c.ids) == len(c.logprobs) <= 30
        assert (c.ids.count(end), c.ids[-1] == end) == ((0, False) if c.truncated else (1, True))
        assert not c.truncated or len(c.ids) == 30
        assert c.text == tokenizer.decode([c.ids])[0]


def test_the_seed_alone_decides():
    model, tokenizer, config = tiny(spread=2.0)
    sampler = Sampler(model, tokenizer, config)
    first, again, other = (sampler(PROMPTS, 4, 1.0, seed=s) for s in (5, 5, 6))
    assert first == again != other


def test_sampling_follows_the_distribution():
    model, tokenizer, config = tiny("--max_concurrent_sequences", "5000", spread=2.0)
    (group,) = Sampler(model, tokenizer, config)(["#1"], 4000, 1.0, seed=7, max_new_tokens=1)
    with torch.no_grad():
        expected = model(torch.tensor([tokenizer.encode(["#1"])[0]])).logits[0, -1].softmax(-1)
    counts = torch.bincount(torch.tensor([c.ids[0] for c in group]), minlength=len(tokenizer))
    spread = (expected * (1 - expected) / 4000).sqrt()
    assert ((counts / 4000 - expected).abs() < 5 * spread + 1e-9).all()


def test_prompts_in_small_batches_give_the_same_greedy_answers():
    model, tokenizer, config = tiny(spread=3.0)
    small = Sampler(model, tokenizer, tiny("--max_concurrent_sequences", "1")[2])
    whole = Sampler(model, tokenizer, config)
    texts = [[c.text for c in group] for group in whole(PROMPTS, 1, 0.0, seed=0)]
    assert texts == [[c.text for c in group] for group in small(PROMPTS, 1, 0.0, seed=0)]


def test_logits_that_are_not_finite_stop_the_sampling():
    model, tokenizer, config = tiny(spread=float("nan"))
    with pytest.raises(FloatingPointError, match="logits"):
        Sampler(model, tokenizer, config)(["#1"], 1, 1.0, seed=0)


def test_a_model_may_name_more_end_tokens_than_its_tokenizer():
    model, tokenizer, config = tiny()
    assert policy.end_tokens(model) == tokenizer.eos_ids
    model.generation_config.eos_token_id = [1, 9]
    tokenizer.eos_ids |= policy.end_tokens(model)
    (group,) = Sampler(model, tokenizer, config)(["#1"], 100, 1.0, seed=3, max_new_tokens=30)
    assert {c.ids[-1] for c in group if not c.truncated} == {1, 9}
