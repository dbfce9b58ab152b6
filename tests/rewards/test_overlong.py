"""The soft overlong punishment against values of DAPO's equation 13 that were computed by hand."""

from dataclasses import replace

import pytest
import torch

from dupo.records import Completion, Rollout
from dupo.rewards.overlong import default_cache, overlong_punishment, soft_overlong_punishment
from tests.helpers.rollouts import PROBLEMS, inputs_of

# (tokens, R): the paper's L_max 20,480 and L_cache 4,096, so R falls from 16,384 tokens on.
PAPER = [
    (1, 0.0),
    (16_384, 0.0),
    (16_385, -1 / 4096),
    (17_408, -0.25),
    (18_432, -0.5),
    (20_479, -4095 / 4096),
]
PAPER += [(20_480, -1.0), (20_481, -1.0), (10**6, -1.0)]


@pytest.mark.parametrize(("length", "expected"), PAPER)
def test_the_formula_is_that_of_the_paper(length: int, expected: float) -> None:
    assert overlong_punishment(length, 20_480, 4096) == expected


def test_the_whole_length_may_be_the_cache_and_the_cache_may_be_one_token() -> None:
    assert [overlong_punishment(n, 4, 4) for n in (1, 2, 3, 4)] == [-0.25, -0.5, -0.75, -1.0]
    assert [overlong_punishment(n, 4, 1) for n in (3, 4, 5)] == [0.0, -1.0, -1.0]
    assert [default_cache(n) for n in (20_480, 256, 5, 1)] == [4096, 51, 1, 1]


def rollout(*lengths: tuple[int, bool]) -> Rollout:
    """One group of completions, as (tokens, whether cut)."""
    group = [Completion(torch.ones(n, dtype=torch.int64), torch.zeros(n), "", cut) for n, cut in lengths]
    return Rollout(PROBLEMS[:1], [[1]], [group], [[None] * len(group)])


def test_the_reward_counts_the_tokens_of_a_completion() -> None:
    # Of 10 tokens the last 4 are punished; what was cut early, by whatever limit, has the whole punishment.
    options = ["--max_completion_length", "10", "--soft_punish_cache", "4"]
    inputs = inputs_of(
        rollout((6, False), (7, False), (10, False), (10, True), (3, True)), *options, ask=None
    )
    assert soft_overlong_punishment(inputs).tolist() == [[0.0, -0.25, -1.0, -1.0, -1.0]]
    # none: a fifth of 10 tokens
    plain = replace(inputs, options=replace(inputs.options, soft_punish_cache=None))
    assert soft_overlong_punishment(plain).tolist() == [[0.0, 0.0, -1.0, -1.0, -1.0]]
