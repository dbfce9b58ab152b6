"""Groups that are kept: what was sampled is not sampled again, and nothing else changes."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from dupo.engines.base import FollowUps, Sampling
from dupo.engines.builtin import BuiltinEngine
from dupo.engines.kept import Group, KeptEngine
from dupo.records import Completion
from tests.helpers.slow import with_slow
from tests.helpers.worlds import World, tiny

SAMPLED, N = Sampling(1.0, 12), 3
PROMPTS = ["#321+654=", "#1", "#001-100=", "#1", "#987-123="]  # one of them twice


class Kept:
    """Groups in memory; forgets what does not fit into `most` names, as a killed run would."""

    def __init__(self) -> None:
        self.groups: dict[str, list[Group]] = {}

    def get(self, name: str) -> list[Group] | None:
        return self.groups.get(name)

    def put(self, name: str, groups: Sequence[Group]) -> None:
        assert name not in self.groups or equal(self.groups[name], groups)
        self.groups[name] = list(groups)


class Watched(BuiltinEngine):
    """Remembers how many prompts it was asked."""

    asked = 0

    def sample(self, prompts: Any, *rest: Any) -> list[Group]:
        self.asked += len(prompts)
        return super().sample(prompts, *rest)

    def sample_and_follow(self, prompts: Any, *rest: Any) -> Any:
        self.asked += len(prompts)
        return super().sample_and_follow(prompts, *rest)


def equal(first: Sequence[Group], second: Sequence[Group]) -> bool:
    def content(groups: Sequence[Group]) -> list[list[tuple[list[int], str]]]:
        return [[(c.ids.tolist(), c.text) for c in group] for group in groups]

    def logprobs(groups: Sequence[Group]) -> torch.Tensor:
        return torch.cat([c.logprobs for group in groups for c in group])

    # Slots that others share may give other last digits.
    return content(first) == content(second) and torch.allclose(logprobs(first), logprobs(second), atol=1e-5)


@pytest.fixture(scope="module")
def world() -> World:
    return tiny(spread=3.0)


def engine_of(world: World, slots: bool) -> Watched:
    return Watched(world.model, world.tokenizer, as_on_gpu=slots, max_concurrent_sequences=6)


@pytest.mark.parametrize("slots", [False, True], ids=["batches", "slots"])
def test_a_call_is_that_of_the_engine_and_is_not_made_twice(slots: bool, world: World) -> None:
    groups, engine = Kept(), engine_of(world, slots)
    expected = world.engine.sample(PROMPTS, N, SAMPLED, 7)
    assert equal(KeptEngine(engine, groups).sample(PROMPTS, N, SAMPLED, 7), expected)
    assert len(groups.groups) == (len(PROMPTS) if slots else 1)
    again = engine_of(world, slots)
    assert equal(KeptEngine(again, groups).sample(PROMPTS, N, SAMPLED, 7), expected) and again.asked == 0
    # Other draws are none of these.
    other = KeptEngine(again, groups).sample(PROMPTS, N, SAMPLED, 8)
    assert again.asked == len(PROMPTS) and not equal(other, expected)


SOME_LOST = [pytest.param(*case, marks=pytest.mark.slow) for case in (([0], 1), ([1], 2), (range(5), 5))]


@pytest.mark.parametrize(("lost", "asked"), [([3], 2), ([0, 3, 4], 4), *SOME_LOST])
def test_missing_groups_are_sampled_alone(lost: Sequence[int], asked: int, world: World) -> None:
    """Of equal prompts both: the second alone would get the draws of the first."""
    groups = Kept()
    expected = KeptEngine(engine_of(world, True), groups).sample(PROMPTS, N, SAMPLED, 7)
    assert not equal([expected[1]], [expected[3]])
    for name in list(groups.groups):
        if any(groups.groups[name][0] is expected[i] for i in lost):
            del groups.groups[name]
    again = engine_of(world, True)
    assert equal(KeptEngine(again, groups).sample(PROMPTS, N, SAMPLED, 7), expected)
    assert again.asked == asked


@pytest.mark.parametrize("lost", with_slow([[], [2], [0, 4], [1, 3], range(5)], quick=([0, 4],)))
def test_what_follows_is_asked_with_the_same_draws(lost: Sequence[int], world: World) -> None:
    def following(engine: Any) -> tuple[list[Group], dict[int, list[Group]]]:
        order: list[int] = []

        def after(number: int, group: list[Completion]) -> list[str]:
            order.append(number)
            return ["#5", f"@{len(group[0].ids)}+{number}:"]

        follow = FollowUps(after, 2, Sampling(1.0, 6), 3, "samples of duals", 10)
        followed = engine.sample_and_follow(PROMPTS, N, SAMPLED, 7, follow)
        pairs = [followed.further[i : i + 2] for i in range(0, len(followed.further), 2)]
        assert sorted(order) == list(range(len(PROMPTS)))
        return followed.groups, dict(zip(order, pairs, strict=True))

    groups = Kept()
    expected, further = following(KeptEngine(engine_of(world, True), groups))
    plain, plain_further = following(engine_of(world, True))
    assert equal(plain, expected)
    for name in list(groups.groups):
        if any(groups.groups[name][0] is expected[i] for i in lost):
            del groups.groups[name]
    again, again_further = following(KeptEngine(engine_of(world, True), groups))
    assert equal(again, expected)
    for number in range(len(PROMPTS)):
        # Its own prompt; that of all has other draws each time, in the order in which it is asked.
        assert equal(again_further[number][1:], further[number][1:])
        assert equal(again_further[number][1:], plain_further[number][1:])

    def shared(all_of: dict[int, list[Group]]) -> set[str]:
        return {" ".join(c.text for c in pair[0]) for pair in all_of.values()}

    assert shared(again_further) == shared(further) == shared(plain_further)
