"""What the rows of an engine with a copy of the model must be: drawn from the model, and again alike."""

from collections.abc import Sequence

import torch

from dupo.engines.base import Engine, Sampling
from tests.helpers.worlds import World


def check_rows(engine: Engine, world: World, prompts: Sequence[str]) -> None:
    """Compares three rows of each prompt with a forward pass; the first prompt is the last one too."""
    groups = engine.sample(prompts, 3, Sampling(0.7, 5), seed=1)
    assert [len(group) for group in groups] == [3] * len(prompts)
    ends = world.tokenizer.eos_ids
    for prompt, group in zip(world.tokenizer.encode(prompts), groups, strict=True):
        for row in group:
            ids = torch.tensor([prompt + row.ids.tolist()])
            with torch.no_grad():
                logits = world.model(ids).logits[0, len(prompt) - 1 : -1] / 0.7
            expected = logits.log_softmax(-1).gather(-1, row.ids[:, None])[:, 0]
            torch.testing.assert_close(row.logprobs, expected, rtol=1e-4, atol=1e-5)
            assert row.truncated == (int(row.ids[-1]) not in ends) and 1 <= len(row.ids) <= 5
    texts = [[row.text for row in group] for group in groups]
    assert texts[0] != texts[-1], "a prompt that comes twice has draws of its own"
    again = engine.sample(prompts, 3, Sampling(0.7, 5), seed=1)
    assert texts == [[row.text for row in group] for group in again]
