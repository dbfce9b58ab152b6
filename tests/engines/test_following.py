"""Prompts that follow from others in the same call: the completions of two calls, in less time."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from dupo.engines import followed_slots
from dupo.engines.base import FollowUps, Sampling
from dupo.engines.builtin import BuiltinEngine
from dupo.engines.choice import choose
from dupo.engines.draws import draw_by_chunks
from dupo.engines.slot_state import FLAG_EVERY
from dupo.errors import UserError
from dupo.progress import listening
from dupo.records import Completion
from tests.engines.test_slots import watched_steps
from tests.helpers.worlds import World, tiny

PROMPTS = ["#321+654=", "@?+654=9750:", "#1", "#001-100=", "#1"]


@pytest.fixture
def world() -> World:
    return tiny(spread=2.0)


def in_slots(world: World, most: int = 1024) -> BuiltinEngine:
    return BuiltinEngine(world.model, world.tokenizer, max_concurrent_sequences=most, as_on_gpu=True)


class Follower:
    """Asks two prompts after every group, one of them equal for all; remembers what it asked when."""

    def __init__(self, world: World, sampling: Sampling, n: int = 2, long: int = 0) -> None:
        self.world, self.sampling, self.n, self.long = world, sampling, n, long
        self.numbers, self.asked = list[int](), list[list[int]]()

    def after(self, number: int, group: list[Completion]) -> list[list[int]]:
        prompts = [[3, 4, 5], self.world.tokenizer.encode([f"#{len(group[0].ids)}"])[0] + [6] * self.long]
        self.numbers.append(number)
        self.asked += prompts
        return prompts

    def follow_ups(self, seed: int = 5) -> FollowUps:
        return FollowUps(self.after, self.n, self.sampling, seed, "others", 2 * len(PROMPTS))


def contents(groups: Sequence[Sequence[Completion]]) -> list[list[tuple[Any, ...]]]:
    return [[(c.ids.tolist(), c.text, c.truncated) for c in group] for group in groups]


def check(world: World, most: int, n: int, first: Sampling, follower: Follower) -> None:
    """Compares one call with two."""
    engine = in_slots(world, most)
    groups, further = engine.sample_and_follow(PROMPTS, n, first, 3, follower.follow_ups())
    assert sorted(follower.numbers) == list(range(len(PROMPTS)))
    assert contents(groups) == contents(engine.sample(PROMPTS, n, first, 3))
    assert contents(further) == contents(engine.sample(follower.asked, follower.n, follower.sampling, 5))
    expected = [row for group in engine.sample(PROMPTS, n, first, 3) for row in group]
    for row, other in zip([row for group in groups for row in group], expected, strict=True):
        torch.testing.assert_close(row.logprobs, other.logprobs, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("most", "n", "first", "second"),
    [
        (4, 2, Sampling(0.7, 30), Sampling(0.0, 9)),
        (1024, 3, Sampling(1.0, 9), Sampling(1.0, 30)),
        *(
            pytest.param(most, 4, first, second, marks=pytest.mark.full)
            for most in (1, 7)
            for first, second in (
                (Sampling(0.7, 40), Sampling(0.0, 20)),
                (Sampling(0.0, 20), Sampling(0.7, 1)),
                (Sampling(1.0, 1), Sampling(0.5, 40)),
            )
        ),
    ],
    ids=str,
)
def test_completions_are_those_of_two_calls(
    most: int, n: int, first: Sampling, second: Sampling, world: World
) -> None:
    check(world, most, n, first, Follower(world, second))


@pytest.mark.slow
def test_a_prompt_that_no_slot_holds_is_not_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    late, sample_late = list[int](), followed_slots.sample_late

    def noted(*arguments: Any) -> None:
        late.extend(len(prompt.ids) for prompt in arguments[1])
        sample_late(*arguments)

    monkeypatch.setattr(followed_slots, "sample_late", noted)
    check(world, 4, 2, Sampling(0.7, 8), Follower(world, Sampling(0.0, 9), long=40))
    assert len(late) == len(PROMPTS) and min(late) > 40


def passes_of(world: World) -> list[int]:
    """Rows of every pass of the model that decodes."""
    rows = list[int]()

    def note(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if kwargs["input_ids"].shape[1] == 1:
            rows.append(len(kwargs["input_ids"]))

    world.model.register_forward_pre_hook(note, with_kwargs=True)
    return rows


LONG = 12  # tokens: a row ends with its first token before this position, and at its limit behind it


def let_long_rows_run(world: World) -> None:
    """A row with a short prompt ends at once, one with a long prompt goes on to its limit."""
    (end,) = world.tokenizer.eos_ids

    def change(module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
        is_long_B = kwargs["position_ids"][:, -1] >= LONG - 1
        output.logits[..., end] = torch.where(is_long_B, -1e4, 1e4)[:, None].to(output.logits.dtype)
        return output

    world.model.register_forward_hook(change, with_kwargs=True)


TAIL = [*([3, 4, 5, 6 + k] for k in range(7)), [7] * LONG]  # seven answers that end at once, and a long one
ANSWERS, DUALS = Sampling(1.0, 96), Sampling(0.0, 16)


@pytest.mark.slow
def test_what_follows_is_decoded_beside_the_tail(world: World) -> None:
    let_long_rows_run(world)
    engine, rows, asked = in_slots(world, 8), passes_of(world), list[list[int]]()

    def after(number: int, group: list[Completion]) -> list[list[int]]:
        asked.extend([8, number + 3, 9 + k, *[4] * LONG] for k in range(4))
        return asked[-4:]

    groups, further = engine.sample_and_follow(
        TAIL, 1, ANSWERS, 3, FollowUps(after, 1, DUALS, 5, "others", 32)
    )
    together, rows[:] = list(rows), []
    assert [len(group[0].ids) for group in groups] == [1] * 7 + [96]
    assert {len(group[0].ids) for group in further} == {16}
    assert contents(groups) == contents(engine.sample(TAIL, 1, ANSWERS, 3))
    assert contents(further) == contents(engine.sample(asked, 1, DUALS, 5))
    # One after the other: 32 duals in eight slots. Together: 28 of them in the seven slots beside the long
    # answer, which takes longer; the last four follow from the long answer.
    steps_of_duals = 4 * DUALS.max_tokens
    assert len(rows) >= ANSWERS.max_tokens + steps_of_duals
    assert len(together) <= len(rows) - steps_of_duals + DUALS.max_tokens + FLAG_EVERY


@pytest.mark.slow
def test_the_rows_of_a_step_shrink_and_grow_again(world: World) -> None:
    let_long_rows_run(world)
    rows = passes_of(world)
    duals = [[8, k + 3, 9, *[4] * LONG] for k in range(16)]

    def after(number: int, group: list[Completion]) -> list[list[int]]:
        return duals if number == 7 else []

    follow = FollowUps(after, 1, DUALS, 5, "others", 16)
    _, further = in_slots(world).sample_and_follow(TAIL, 1, ANSWERS, 3, follow)
    of_a_step = [count for count, last in zip(rows, [0, *rows], strict=False) if count != last]
    assert of_a_step[-3:] == [8, 1, 16]
    assert contents(further) == contents(in_slots(world).sample(duals, 1, DUALS, 5))


def test_a_fault_of_what_follows_ends_the_call(world: World) -> None:
    def after(number: int, group: list[Completion]) -> list[list[int]]:
        return [[3] * world.model.config.max_position_embeddings]

    follow = FollowUps(after, 1, Sampling(0.0, 6), 5, "others", 5)
    with pytest.raises(UserError, match=r"a prompt of \d+ tokens and a completion of 6 need \d+ positions"):
        in_slots(world).sample_and_follow(PROMPTS, 1, Sampling(1.0, 6), 3, follow)
    assert in_slots(world).sample_and_follow([], 1, Sampling(1.0, 6), 3, follow) == ([], [])


def test_batches_take_no_prompts(world: World) -> None:
    assert not world.engine.features.follow_ups and in_slots(world).features.follow_ups


@pytest.mark.slow
def test_answers_are_counted_first(world: World) -> None:
    heard = list[tuple[str, int, int]]()
    follower = Follower(world, Sampling(0.0, 3))
    with listening(lambda *words: heard.append(words)):
        in_slots(world, 4).sample_and_follow(PROMPTS, 2, Sampling(1.0, 30), 3, follower.follow_ups())
    assert heard[:10] == [("samples", done, 10) for done in range(1, 11)]
    counts = [done for _, done, _ in heard[10:]]
    assert {(unit, total) for unit, _, total in heard[10:]} == {("others", 20)}
    # All of them are known with the last answer.
    assert counts == list(range(counts[0], 21))


def test_each_row_has_its_temperature() -> None:
    logits, uniform = 3 * torch.randn(6, 40), torch.rand(6, 1, dtype=torch.float64)
    temperatures = [0.0, 0.7, 1.0, 0.0, 2.0, 0.1]
    mixed = choose(
        logits,
        torch.tensor(temperatures)[:, None],
        lambda logprobs: draw_by_chunks(logprobs, uniform),
        measure_distributions=True,
    )
    for row, temperature in enumerate(temperatures):
        numbers = uniform[row : row + 1]
        alone = choose(
            logits[row : row + 1],
            temperature,
            lambda logprobs, numbers=numbers: draw_by_chunks(logprobs, numbers),
            measure_distributions=True,
        )
        assert mixed.ids_B[row] == alone.ids_B[0]
        torch.testing.assert_close(mixed.measures_BK[row], alone.measures_BK[0], rtol=0, atol=1e-6)


def test_a_step_of_both_kinds_waits_for_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with watched_steps(monkeypatch) as seen:
        follow_ups = Follower(world, Sampling(0.0, 5)).follow_ups()
        in_slots(world, 3).sample_and_follow(PROMPTS, 1, Sampling(1.0, 9), 3, follow_ups)
    steps = [row for row in seen if row[0] == "step"]
    # Of all that a step reads and writes, only the number of rows and the width ever differ.
    assert len(steps) > 20 and len({row[3:] for row in steps}) == 1
