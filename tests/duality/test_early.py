"""Duals that are asked beside answers give what they give after all answers."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from dupo.config.options import SelectOptions
from dupo.duality.early import sample_with_duals
from dupo.duality.judge import Judge, cached
from dupo.duality.reconstruct import reconstruct
from dupo.engines.base import PromptRefused, Sampling
from dupo.errors import UserError
from dupo.phases import Phases
from dupo.records import Problem
from dupo.tasks.base import Task
from dupo.trust.dual_filter import TrialQuestions, try_duals
from tests.helpers.engines import FollowingFake
from tests.helpers.options import RUN
from tests.helpers.worlds import task_of

ANSWERS, DUALS = Sampling(0.7, 6), Sampling(1.0, 4)


def say(text: str, draw: random.Random) -> str:
    """Few answers, so that several problems have the same one; nearly any answer to a dual."""
    return draw.choice(["0000", "1111", "no"]) if text.startswith("#") else str(draw.randrange(100, 1000))


@pytest.fixture(scope="module")
def task() -> Task:
    return task_of(RUN)


@pytest.fixture
def problems(task: Task) -> list[Problem]:
    """Problems of which some come several times: their dual prompts are equal."""
    return [task.train[place] for place in (0, 1, 0, 2, 1, 0, 3)]


def engines(positions: int | None = None) -> list[FollowingFake]:
    """One that samples in two calls, and one that takes duals beside answers."""
    both = [FollowingFake(say, follows=follows) for follows in (False, True)]
    for engine in both:
        engine.max_positions = positions
    return both


@pytest.mark.parametrize("positions", [None, 16, 15])
def test_reconstructions_are_those_of_two_calls(
    positions: int | None, task: Task, problems: list[Problem]
) -> None:
    results = []
    for engine in engines(positions):
        ask = Judge(engine, 2, DUALS).asking(7)
        rollout, ask = sample_with_duals(engine, task, problems, 4, ANSWERS, 3, ask)
        results.append((rollout.answers, reconstruct(task, problems, rollout.answers, ask)))
        assert rollout.prompt_ids == engine.tokenizer.encode([task.prompt(p) for p in problems])
    assert results[0] == results[1]
    asked = [r for by_answer in results[0][1] for rs in by_answer.values() for r in rs]
    assert len(engine.calls) == 1 and len(engine.followed) == sum(r.tokens > 0 for r in asked)
    assert {r.tokens > 0 for r in asked} == {positions != 15}


def trials(task: Task, problems: list[Problem], engine: FollowingFake, *, once: bool) -> Any:
    """What select does, or audit, which asks no dual twice."""
    options, golds = SelectOptions(), [problem.gold for problem in problems] if once else None
    ask, questions = Judge(engine, 2, DUALS).asking(7), TrialQuestions(task, problems, options, 3, golds)
    rollout, ask = sample_with_duals(
        engine, task, problems, 4, ANSWERS, 3, ask, questions=questions, once=once
    )
    ask = cached(ask) if once else ask
    tried = try_duals(task, rollout, ask, options, 3, golds)
    return tried, reconstruct(task, problems, rollout.answers, ask) if once else None


@pytest.mark.parametrize("once", [False, True])
def test_trials_are_those_of_two_calls(once: bool, task: Task, problems: list[Problem]) -> None:
    (two_calls, together) = engines()
    assert trials(task, problems, two_calls, once=once) == trials(task, problems, together, once=once)
    asked: Sequence[Any] = two_calls.calls[1].prompts
    assert len(together.followed) == len(asked)
    assert sorted(together.followed) == sorted(together.tokenizer.encode(asked))


def test_another_engine_is_asked_after_all_answers(task: Task, problems: list[Problem]) -> None:
    policy, judge = (FollowingFake(say, follows=True) for _ in range(2))
    ask = Judge(judge, 2, DUALS).asking(7)
    assert sample_with_duals(policy, task, problems, 4, ANSWERS, 3, ask)[1] is ask
    assert not policy.followed and not judge.calls
    assert sample_with_duals(policy, task, problems, 4, ANSWERS, 3, None)[1] is None
    assert sample_with_duals(judge, task, [], 4, ANSWERS, 3, ask)[1] is ask


def test_a_refused_dual_names_its_problem(task: Task, problems: list[Problem]) -> None:
    engine = FollowingFake(say, follows=True)
    groups, dual = engine._groups, task.dual_prompt(problems[3], task.duals(problems[3])[1], "1111")

    def refusing(prompts: Sequence[Any], *arguments: Any) -> Any:
        (refused,) = engine.tokenizer.encode([dual])
        if refused in prompts:
            raise PromptRefused("refused", refused)
        return groups(prompts, *arguments)

    engine._groups = refusing  # type: ignore[method-assign]
    ask = Judge(engine, 1, DUALS).asking(7)
    with pytest.raises(UserError, match=f"^{problems[3].id}: refused$"):
        sample_with_duals(engine, task, problems, 8, ANSWERS, 3, ask)


def test_seconds_are_those_of_answers_until_the_last_one(task: Task, problems: list[Problem]) -> None:
    engine, phases, told = FollowingFake(say, follows=True), Phases(), list[int]()

    def answered() -> None:
        told.append(len(engine.followed))
        phases.turn_to("duals")

    with phases("answers"):
        ask = Judge(engine, 1, DUALS).asking(7)
        sample_with_duals(engine, task, problems, 4, ANSWERS, 3, ask, answered=answered)
    # Told once, before the duals of the last problem are asked.
    assert len(told) == 1 and 0 < told[0] < len(engine.followed)
    seconds = phases.take()
    assert list(seconds) == ["answers", "duals"] and min(seconds.values()) > 0
    assert phases.take() == {}
