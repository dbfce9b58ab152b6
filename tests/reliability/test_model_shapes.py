"""Packed and sampled log-probs of many model types against the model's own forward pass: right, or refused.

A model that is wrong in silence fails here. The truth shares no code with what it checks: transformers' own
model with its own attention, float32, one whole sequence at a time.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from dupo.engines.base import Sampling
from dupo.errors import UserError
from dupo.learning.batches import make_batch
from dupo.learning.logprobs import batch_logprobs
from dupo.records import Trajectory
from tests.helpers import model_shapes
from tests.helpers.model_shapes import (
    BORDER,
    BOUNDED,
    COMPUTE,
    REFUSED,
    SOUND,
    TOKENIZER,
    WINDOW,
    Opened,
    own_logprobs,
    own_model,
    save_model,
)
from tests.helpers.worlds import CPU

pytestmark = pytest.mark.slow


def every_sixth(names: Iterable[str]) -> list[Any]:
    """All names; .ci/run tries every sixth, .ci/full the others."""
    return [pytest.param(n, marks=pytest.mark.full if i % 6 else ()) for i, n in enumerate(names)]


# Tokens of prompt and completion of eight sequences of unlike lengths, in no order.
SHORT = [(9, 7), (1, 2), (3, 5), (1, 5), (7, 7), (4, 6), (2, 3), (5, 7)]
LONG = [(13, 14), (2, 3), (40, 7), (4, 5), (25, 15), (9, 11), (20, 13), (6, 6)]
# Tokens of prompts, and most tokens of their completions.
SHORT_PROMPTS, LONG_PROMPTS = ([6, 1, 10, 3], 6), ([14, 3, 30, 9, 25], 14)
LONGEST = 48
CASES = {WINDOW: [(SHORT, SHORT_PROMPTS)], LONGEST: [(SHORT, SHORT_PROMPTS), (LONG, LONG_PROMPTS)]}
# Nats. Right models are off by 5e-6 at most, wrong ones by 0.1 and more.
TOLERANCE = 2e-5


def random_ids(count: int, seed: int) -> list[int]:
    """Ids of bytes, the same for the same seed."""
    draws = torch.Generator().manual_seed(seed)
    return torch.randint(3, len(TOKENIZER), (count,), generator=draws).tolist()


def packed_differences(opened: Opened, own, lengths: list[tuple[int, int]]) -> torch.Tensor:
    trajectories, expected = [], []
    for seed, (prompt, completion) in enumerate(lengths):
        ids = random_ids(prompt + completion, seed)
        logprobs = torch.zeros(completion)
        trajectories.append(Trajectory(ids[:prompt], torch.tensor(ids[prompt:]), logprobs, 0.0))
        expected.append(own_logprobs(own, ids)[prompt - 1 :])
    with torch.no_grad():
        logprobs, _ = batch_logprobs(opened.model, make_batch(trajectories, CPU), COMPUTE)
    return (logprobs - torch.cat(expected)).abs()


def sampled_differences(opened: Opened, own, prompts: tuple[list[int], int]) -> torch.Tensor:
    lengths, most_tokens = prompts
    ids = [random_ids(length, seed) for seed, length in enumerate(lengths)]
    differences = []
    for prompt, group in zip(
        ids, opened.engine.sample(ids, 2, Sampling(1.0, most_tokens), seed=0), strict=True
    ):
        for completion in group:
            expected = own_logprobs(own, prompt + completion.ids.tolist())[len(prompt) - 1 :]
            differences.append((completion.logprobs - expected).abs())
    return torch.cat(differences)


def verdict(folder: Path, longest: int) -> str:
    """What a run with sequences of at most `longest` tokens would do with a model."""
    try:
        opened = model_shapes.open_and_check(folder, longest)
    except UserError as error:
        assert "\n" not in str(error)
        return f"refused: {error}"
    own = own_model(folder)
    wrong = []
    for sequences, prompts in CASES[longest]:
        packed = packed_differences(opened, own, sequences)
        sampled = sampled_differences(opened, own, prompts)
        # The largest but one: two experts can be tied to the last bit of the router, and one token then
        # differs. A wrong path shows in many tokens.
        off = {"packed": packed.sort().values[-2], "sampled": sampled.sort().values[-2]}
        wrong += [f"{path} log-probs off by {by:.2g} nats" for path, by in off.items() if not by <= TOLERANCE]
    return " and ".join(wrong) or "right"


@pytest.mark.parametrize("name", every_sixth(SOUND))
def test_a_sound_model_is_right_at_any_length(name, tmp_path):
    assert verdict(save_model(SOUND[name], tmp_path), LONGEST) == "right"


@pytest.mark.parametrize("name", every_sixth(BOUNDED))
def test_a_model_with_a_bound_is_right_within_and_refused_beyond(name, tmp_path):
    assert WINDOW < BORDER < LONGEST
    folder = save_model(BOUNDED[name], tmp_path)
    assert verdict(folder, WINDOW) == "right"
    assert verdict(folder, LONGEST).startswith("refused: ")


@pytest.mark.parametrize("name", every_sixth(REFUSED))
def test_a_model_that_would_be_wrong_is_refused_by_name(name, tmp_path):
    folder = save_model(REFUSED[name], tmp_path)
    refusal = verdict(folder, WINDOW)
    assert refusal.startswith("refused: ")
    # The class is named, or the folder whose class it is.
    assert any(word in refusal for word in ("ForCausalLM", "LMHeadModel", "model_name_or_path")), refusal
