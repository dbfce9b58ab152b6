"""What the rows of an engine with a copy of the model must be: drawn from the model, and again alike."""

from collections.abc import Sequence

import torch

from dupo.engines.base import Engine, FollowingEngine, FollowUps, Sampling
from dupo.records import Completion
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
            expected = logits.log_softmax(-1).gather(-1, row.ids.long()[:, None])[:, 0]
            torch.testing.assert_close(row.logprobs, expected, rtol=1e-4, atol=1e-5)
            assert row.truncated == (int(row.ids[-1]) not in ends) and 1 <= len(row.ids) <= 5
    texts = [[row.text for row in group] for group in groups]
    assert texts[0] != texts[-1], "a prompt that comes twice has draws of its own"
    again = engine.sample(prompts, 3, Sampling(0.7, 5), seed=1)
    assert texts == [[row.text for row in group] for group in again]


def check_followed(engine: FollowingEngine, prompts: Sequence[str]) -> None:
    """Compares one call in which prompts follow with two calls."""
    asked = list[str]()

    def after(number: int, group: list[Completion]) -> list[str]:
        # Equal groups have equal ones, and the last of them comes first or last.
        further = [f"{prompts[number][:-1]}+{number // 2}", "#9"]
        asked.extend(further)
        return further

    answers, others = Sampling(0.7, 5), Sampling(1.0, 3)
    follow = FollowUps(after, 2, others, 5, "others", 2 * len(prompts))
    groups, further = engine.sample_and_follow(prompts, 3, answers, 1, follow)
    assert texts_of(groups) == texts_of(engine.sample(prompts, 3, answers, 1))
    assert texts_of(further) == texts_of(engine.sample(asked, 2, others, 5))
    assert [len(group) for group in further] == [2] * (2 * len(prompts))


def texts_of(groups: Sequence[Sequence[Completion]]) -> list[list[str]]:
    return [[row.text for row in group] for group in groups]
