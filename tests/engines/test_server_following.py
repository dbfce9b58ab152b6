"""Servers: a dual is asked while an answer is still under way, and nothing is asked twice."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from dupo.engines import connection, in_flight
from dupo.engines.base import Followed, FollowUps, Sampling
from dupo.engines.in_flight import run_all
from dupo.engines.server import ServerEngine
from dupo.errors import ServerError
from dupo.progress import listening
from dupo.records import Completion
from dupo.storage.kept_answers import KeptAnswers
from tests.engines.test_server import engine_of, say
from tests.helpers.stub_server import Reply, StubServer, serving

ANSWERS, OTHERS = Sampling(0.7, 32), Sampling(0.0, 8)
PROMPTS = ["a", "bb", "a", "dddd"]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0.005)
    monkeypatch.setattr(in_flight, "GRACE", 0.5)


@pytest.fixture
def stub() -> Iterator[StubServer]:
    with serving(StubServer(say)) as server:
        yield server


def text_of(body: dict[str, Any]) -> str:
    return body["messages"][-1]["content"]


def sample(engine: ServerEngine, asked: list[str]) -> Followed:
    """Two prompts follow from every group; equal groups have equal ones."""

    def after(number: int, group: list[Completion]) -> list[str]:
        prompts = [f"dual of {len(PROMPTS[number])}", "dual"]
        asked.extend(prompts)
        return prompts

    return engine.sample_and_follow(PROMPTS, 3, ANSWERS, 1, FollowUps(after, 2, OTHERS, 2, "others", 8))


def texts(groups: list[list[Completion]]) -> list[list[str]]:
    return [[c.text for c in group] for group in groups]


def test_a_dual_arrives_before_the_last_answer_is_given(stub: StubServer) -> None:
    arrived, waited = Event(), list[bool]()

    def before(route: str, body: dict[str, Any]) -> Reply | None:
        if text_of(body).startswith("dual"):
            arrived.set()
        if text_of(body) == "dddd":
            waited.append(arrived.wait(10))
        return None

    engine, asked = engine_of(stub), list[str]()
    stub.before = before
    groups, further = sample(engine, asked)
    assert waited == [True] * 3
    assert texts(groups) == texts(engine.sample(PROMPTS, 3, ANSWERS, 1))
    assert texts(further) == texts(engine.sample(asked, 2, OTHERS, 2))


def test_what_is_kept_is_not_asked_again_by_either_way(stub: StubServer, tmp_path: Path) -> None:
    kept = KeptAnswers(tmp_path / "server.jsonl")
    asked = list[str]()
    groups, further = sample(engine_of(stub, kept=kept), asked)
    count = len(stub.asked)
    assert count == len(kept) == 4 * 3 + 8 * 2 and set(stub.counts().values()) == {1}
    again = engine_of(stub, kept=KeptAnswers(kept.file))
    assert texts(again.sample(PROMPTS, 3, ANSWERS, 1)) == texts(groups)
    assert texts(again.sample(asked, 2, OTHERS, 2)) == texts(further)
    assert texts(sample(again, []).groups) == texts(groups) and len(stub.asked) == count


def test_a_server_that_dies_among_duals_loses_nothing(stub: StubServer, tmp_path: Path) -> None:
    engine = engine_of(stub, "--max_concurrent_requests", "1", kept=KeptAnswers(tmp_path / "server.jsonl"))
    stub.before = lambda route, body: Reply(0, None) if len(stub.asked) >= 15 else None
    with pytest.raises(ServerError, match="15 of 28 answers of this batch had come, all 15 are kept"):
        sample(engine, [])
    stub.before = lambda route, body: None
    kept = KeptAnswers(tmp_path / "server.jsonl")
    groups, further = sample(engine_of(stub, kept=kept), [])
    assert len(stub.asked) == 28 and set(stub.counts().values()) == {1}
    # One thread asks in order: all answers, then the duals.
    assert [text_of(body) for body in stub.asked[:12]] == [text for text in PROMPTS for _ in range(3)]
    assert [len(group) for group in groups + further] == [3] * 4 + [2] * 8


def test_answers_are_counted_before_what_follows(stub: StubServer) -> None:
    engine, heard = engine_of(stub), list[tuple[str, int, int]]()
    with listening(lambda *words: heard.append(words)):
        sample(engine, [])
    assert heard[:12] == [("samples", done, 12) for done in range(1, 13)]
    assert heard[-1] == ("others", 16, 16) and {unit for unit, *_ in heard[12:]} == {"others"}


def test_calls_follow_from_calls() -> None:
    """Three calls, each of which leads to two others, which lead to none."""
    results = dict[int, int]()

    def follow(number: int) -> list[in_flight.Call[int]]:
        return [lambda stop: 10 * number, lambda stop: 10 * number + 1] if number < 3 else []

    run_all([lambda stop: 1] * 3, 2, results.__setitem__, lambda problem: False, follow)
    assert len(results) == 9 and sorted(results[number] for number in range(3, 9)) == [0, 1, 10, 11, 20, 21]


def test_a_fault_of_what_follows_ends_all_calls() -> None:
    started = list[int]()

    def follow(number: int) -> list[in_flight.Call[int]]:
        raise ValueError("cannot follow")

    with pytest.raises(ValueError, match="cannot follow"):
        run_all([lambda stop: started.append(1) or 1] * 50, 1, lambda *_: None, lambda problem: False, follow)
    assert len(started) < 50
