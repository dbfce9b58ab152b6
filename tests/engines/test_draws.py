"""Draws depend on the row alone, and are as random as independent uniform numbers."""

import math

import pytest
import torch

from dupo.engines.base import Sampling
from dupo.engines.builtin import BuiltinEngine
from dupo.engines.draws import draw, draw_by_chunks, row_keys, uniform
from dupo.seeds import derive, prompt_keys
from tests.helpers.worlds import CPU, tiny

PROMPTS = ["#321+654=", "@?+654=9750:", "#1", "#001-100="]
MASK = 2**64 - 1


def splitmix(state: int) -> int:
    """SplitMix64 in Python integers, as its authors give it: one step from a state."""
    z = (state + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_the_mixer_is_splitmix64():
    keys = [0, 1, 2**62 + 12345, derive(0, "primal", 3)]
    rows = row_keys(keys, 3, CPU)
    golden = 0x9E3779B97F4A7C15
    expected = [splitmix((key + sample * golden) & MASK) for key in keys for sample in range(3)]
    assert [row % 2**64 for row in rows.tolist()] == expected
    for t in (0, 1, 1000):
        numbers = [(splitmix((row + t * golden) & MASK) >> 11) / 2**53 for row in expected]
        assert uniform(rows, t, 1)[:, 0].tolist() == numbers


@pytest.mark.parametrize("axis", ["prompts", "samples", "time"])
def test_numbers_are_uniform_and_neighbours_are_independent(axis):
    count = 20_000
    if axis == "prompts":
        numbers = uniform(row_keys(prompt_keys(7, [[i, 2] for i in range(count)]), 1, CPU), 0, 1)[:, 0]
    elif axis == "samples":
        numbers = uniform(row_keys([123456789], count, CPU), 5, 1)[:, 0]
    else:
        numbers = uniform(row_keys([42], 1, CPU), 0, count)[0]
    assert numbers.min() >= 0 and numbers.max() < 1
    # Kolmogorov-Smirnov distance: above 1.95 / sqrt(n) once in a thousand
    ordered, grid = numbers.sort().values, torch.arange(1, count + 1) / count
    assert (ordered - grid).abs().max() < 1.95 / math.sqrt(count)
    centred = numbers - 0.5
    for lag in (1, 2, 3):
        correlation = (centred[lag:] * centred[:-lag]).mean() * 12
        assert abs(correlation) < 4 / math.sqrt(count)


def test_keys_depend_on_seed_and_prompt_and_tell_equal_prompts_apart():
    alone, other = prompt_keys(5, [[1, 2]]), prompt_keys(6, [[1, 2]])
    several = prompt_keys(5, [[9], [1, 2], [1, 2], [12]])
    assert several[1] == alone[0] != other[0]
    assert len(set(several)) == 4 and all(0 <= key < 2**63 for key in several)


def test_a_completion_is_the_same_whatever_shares_its_batch():
    model, tokenizer, engine, _ = tiny(spread=3.0)
    sampling = Sampling(1.0, 12)
    together = engine.sample(PROMPTS, 6, sampling, seed=3)
    small = BuiltinEngine(model, tokenizer, max_concurrent_sequences=1)
    for prompts in (PROMPTS[::-1], [PROMPTS[2]], [*PROMPTS, "#9"]):
        for engine_of_another_size in (engine, small):
            groups = dict(
                zip(prompts, engine_of_another_size.sample(prompts, 6, sampling, seed=3), strict=True)
            )
            for prompt, group in zip(PROMPTS, together, strict=True):
                for first, again in zip(group, groups.get(prompt, group), strict=True):
                    assert first.ids.tolist() == again.ids.tolist()
                    torch.testing.assert_close(first.logprobs, again.logprobs, rtol=0, atol=1e-5)


def test_the_first_samples_are_the_same_however_many_are_drawn():
    engine = tiny(spread=3.0).engine
    few, many = (engine.sample(PROMPTS, n, Sampling(1.0, 9), seed=8) for n in (2, 7))
    for short, long in zip(few, many, strict=True):
        assert [c.ids.tolist() for c in short] == [c.ids.tolist() for c in long[:2]]


def test_the_same_block_gives_the_same_bytes():
    engine = tiny(spread=3.0).engine
    one, two = (engine.sample(PROMPTS, 4, Sampling(0.7, 9), seed=1) for _ in range(2))
    for first, second in zip(one, two, strict=True):
        for c, d in zip(first, second, strict=True):
            assert torch.equal(c.ids, d.ids) and torch.equal(c.logprobs, d.logprobs)


def test_numbers_of_rows_at_different_tokens_are_those_of_each_row():
    keys = row_keys([5, 6, 7], 1, CPU)
    together = uniform(keys, torch.tensor([[0], [9], [400]]), 4)
    for row, start in enumerate((0, 9, 400)):
        assert torch.equal(together[row], uniform(keys, start, 4)[row])


def random_logprobs(rows, vocabulary, spread):
    generator = torch.Generator().manual_seed(vocabulary)
    return (torch.randn(rows, vocabulary, generator=generator) * spread).log_softmax(-1)


@pytest.mark.slow
@pytest.mark.parametrize(("vocabulary", "chunk"), [(7, 3), (12, 4), (5, 512), (1500, 64)])
def test_draws_by_chunks_follow_the_distribution(vocabulary, chunk):
    count = 40_000
    logprobs = random_logprobs(1, vocabulary, 2.0)
    numbers = uniform(row_keys([3], count, CPU), 0, 1)
    ids = draw_by_chunks(logprobs.expand(count, -1), numbers, chunk)
    expected = logprobs[0].double().exp() * count
    counts = torch.bincount(ids, minlength=vocabulary)
    # Rare tokens share a cell, as chi-square needs about five draws in each.
    is_often = expected >= 5
    pairs = [*zip(counts[is_often].tolist(), expected[is_often].tolist(), strict=True)]
    if not is_often.all():
        pairs.append((counts[~is_often].sum().item(), expected[~is_often].sum().item()))
    statistic = sum((seen - mean) ** 2 / mean for seen, mean in pairs)
    freedom = len(pairs) - 1
    assert statistic < freedom + 4 * math.sqrt(2 * freedom)  # once in some ten thousand


@pytest.mark.parametrize("vocabulary", [20, 151_936])
def test_draws_by_chunks_are_those_of_one_exact_sum(vocabulary):
    rows = 8
    logprobs = random_logprobs(rows, vocabulary, 3.0)
    numbers = uniform(row_keys([8], rows, CPU), 0, 1)
    cdf = logprobs.double().exp().cumsum(-1)
    expected = (cdf <= numbers * cdf[:, -1:]).sum(-1)
    assert draw_by_chunks(logprobs, numbers).tolist() == expected.tolist()
    assert draw(logprobs, numbers).tolist() == expected.tolist()


def test_draws_by_chunks_never_take_what_has_no_probability():
    logits = torch.full((6,), -math.inf)
    logits[[1, 4]] = torch.tensor([0.0, 3.0])
    numbers = torch.tensor([[0.0], [2.0**-53], [0.5], [1 - 2.0**-53], [1.0]], dtype=torch.float64)
    for chunk in (1, 2, 3, 4, 512):
        ids = draw_by_chunks(logits.log_softmax(-1).expand(5, -1), numbers, chunk)
        assert ids.tolist() == [1, 1, 4, 4, 4]
